"""Answers of a potential for geometries of which it may refuse some."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.potentials.base import Potential


def answers(potential: Potential, structures: Sequence[Structure], properties: Collection[str]) -> list[Labels | None]:
    """Return labels, None for structures that could not be evaluated.

    Raises
    ------
    UnsupportedStructureError, PropertyError
        As the potential does.
    """
    found: list[Labels | None] = [None] * len(structures)
    left = list(range(len(structures)))
    while left:
        try:
            labels = potential.predict([structures[k] for k in left], properties)
        except PredictionError as error:
            del left[error.index]
            continue
        for k, own in zip(left, labels, strict=True):
            found[k] = own
        return found
    return found


def energies(potential: Potential, structures: Sequence[Structure]) -> NDArray[np.float64]:
    """Return energies (S,), eV; NaN for structures that could not be evaluated.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import morse
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> energies(morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0), [h2]).round(3).tolist()
    [-4.5]
    """
    found = answers(potential, structures, ("energy",))
    return np.array([np.nan if own is None or own.energy is None else own.energy for own in found], dtype=np.float64)


def stresses(potential: Potential, structures: Sequence[Structure]) -> NDArray[np.float64]:
    """Return stresses (S, 3, 3), eV/Angstrom^3; NaN for structures that could not be evaluated."""
    found = answers(potential, structures, ("stress",))
    missing = np.full((3, 3), np.nan)
    return np.array([missing if own is None or own.stress is None else own.stress for own in found]).reshape(-1, 3, 3)
