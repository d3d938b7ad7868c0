"""Solids: equation of state, elastic constants and pressure, atoms kept at their places in the cell."""

from typing import Final

import numpy as np
from ase import units
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.units import BOLTZMANN
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.observables.answers import energies, stresses

Floats = NDArray[np.float64]

GPA: Final = float(1 / units.GPa)
"""One eV/Angstrom^3 in GPa."""

_VOIGT: Final = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def strained(structure: Structure, deformation: Floats) -> Structure:
    """Return a structure whose cell and positions are deformed by a matrix (3, 3)."""
    return structure.moved(structure.positions @ deformation.T, cell=structure.cell @ deformation.T)


def equation_of_state(
    potential: Potential, structure: Structure, *, largest_strain: float, n_points: int
) -> tuple[Floats, Floats]:
    """Return volumes (P,), Angstrom^3, and energies (P,), eV, of a cell whose volume is changed evenly."""
    changes = np.linspace(-largest_strain, largest_strain, n_points)
    cells = [strained(structure, (1 + change) ** (1 / 3) * np.eye(3)) for change in changes]
    return structure.volume * (1 + changes), energies(potential, cells)


def birch_murnaghan(volumes: Floats, found: Floats) -> tuple[float, float]:
    """Return the volume of lowest energy, Angstrom^3, and the bulk modulus there, GPa; NaN where there is none near.

    Birch and Murnaghan's third-order equation is a cubic polynomial in V^(-2/3), so it is fitted without a first guess.
    A minimum further from the volumes than their range is wide is not believed. Source: Birch 1947,
    doi:10.1103/PhysRev.71.809.

    Examples
    --------
    >>> volumes = np.linspace(36.0, 44.0, 7)
    >>> [round(x, 2) for x in birch_murnaghan(volumes, 40.0 * (volumes ** (-2 / 3) - 40.0 ** (-2 / 3)) ** 2)]
    [40.0, 1.04]
    """
    if not np.isfinite(found).all():
        return float("nan"), float("nan")
    middle = float(volumes.mean())
    x = (volumes / middle) ** (-2 / 3)
    polynomial = np.polynomial.Polynomial.fit(x, found, 3).convert()
    slope, curvature = polynomial.deriv(1), polynomial.deriv(2)
    width = float(np.ptp(volumes))
    for root in np.asarray(slope.roots(), dtype=np.complex128):
        place = float(root.real)
        if abs(root.imag) > 1e-9 or place <= 0 or curvature(place) <= 0:
            continue
        volume = middle * place**-1.5
        if volumes.min() - width < volume < volumes.max() + width:
            derivative = -2 / 3 * place / volume  # dx/dV
            return volume, float(volume * curvature(place) * derivative**2) * GPA
    return float("nan"), float("nan")


def elastic_constants(potential: Potential, structure: Structure, *, strain: float) -> Floats:
    """Return the elastic constants (6, 6), GPa, in Voigt's order, atoms kept at their places in the cell.

    Central differences of the stress with engineering strains, made symmetric; NaN where a cell could not be evaluated.

    Raises
    ------
    PropertyError
        If the potential gives no stress.
    """
    cells = [strained(structure, np.eye(3) + sign * strain * _unit(pair)) for pair in _VOIGT for sign in (-1, 1)]
    found = stresses(potential, cells)
    rows, columns = np.transpose(_VOIGT)
    voigt = found[:, rows, columns].reshape(6, 2, 6)
    constants = (voigt[:, 1] - voigt[:, 0]) / (2 * strain) * GPA
    return np.asarray((constants + constants.T) / 2)


def _unit(pair: tuple[int, int]) -> Floats:
    """Return the strain matrix of one of Voigt's components of size 1."""
    unit = np.zeros((3, 3))
    unit[pair] += 0.5
    unit[pair[::-1]] += 0.5
    return unit


def pressures(potential: Potential, frames: list[Structure], temperature_K: float) -> Floats:
    """Return the pressure of each frame (F,), GPa: from the stress, and of an ideal gas at the temperature of the bath.

    Raises
    ------
    PropertyError
        If the potential gives no stress.
    """
    virial = -np.trace(stresses(potential, frames), axis1=1, axis2=2) / 3
    thermal = np.array([len(frame) * BOLTZMANN * temperature_K / frame.volume for frame in frames])
    return np.asarray((virial + thermal) * GPA)
