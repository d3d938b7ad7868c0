"""Dimer curves: the energy of two atoms alone, from short range to where they part."""

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import UnsupportedStructureError
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.observables.answers import energies

Floats = NDArray[np.float64]
_SHORTEST = 0.6  # of the sum of the covalent radii


def dimer_distances(a: int, b: int, *, longest: float, n_points: int) -> Floats:
    """Return distances (P,) for two elements, evenly spaced from 0.6 of their covalent distance on, Angstrom.

    Examples
    --------
    >>> dimer_distances(1, 1, longest=5.0, n_points=3).round(3).tolist()
    [0.372, 2.686, 5.0]
    """
    shortest = _SHORTEST * float(covalent_radii[a] + covalent_radii[b])
    return np.linspace(shortest, max(longest, 2 * shortest), n_points)


def dimer_curve(potential: Potential, a: int, b: int, distances: Floats) -> Floats:
    """Return the energies of two neutral atoms at distances (P,), eV; NaN where they could not be evaluated.

    The lowest multiplicity that the electrons allow is asked for, and a singlet of a potential that covers only those.
    """
    for spin in dict.fromkeys((1 + (a + b) % 2, 1)):
        pairs = [Structure([a, b], [[0, 0, 0], [0, 0, distance]], spin=spin) for distance in distances]
        try:
            return energies(potential, pairs)
        except UnsupportedStructureError:
            continue
    return np.full(len(distances), np.nan)


def curve_error(student: Floats, teacher: Floats, most: float) -> float:
    """Return the largest deviation of two curves (P,), each from its value at the teacher's longest distance, eV.

    Distances where the teacher is more than ``most`` eV above its minimum, or could not be evaluated, do not count. A
    point that the student cannot evaluate is infinitely wrong; NaN where the teacher has none.

    Examples
    --------
    >>> curve_error(np.array([9.0, -1.0, 0.5]), np.array([5.0, -1.1, 0.5]), 2.0).__round__(6)
    0.1
    """
    known = np.flatnonzero(np.isfinite(teacher))
    if not len(known):
        return float("nan")
    with np.errstate(invalid="ignore"):
        counts = teacher - np.nanmin(teacher) <= most
    error = (student - student[known[-1]]) - (teacher - teacher[known[-1]])
    return float(np.abs(np.where(np.isnan(error[counts]), np.inf, error[counts])).max())
