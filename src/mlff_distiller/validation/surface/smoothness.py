"""Paths along which energy and forces must be smooth: a bond stretched, and two parts drawn through the cutoff."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.neighbors import find_edges
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.validation.surface.paths import Path

Floats = NDArray[np.float64]

_REACH: Final = 4.0  # Angstrom: every bond is shorter
_SHORTEST: Final = 2.5  # Angstrom between two molecules at the start of a scan
_POINTS: Final = 60
_MOST_ATOMS: Final = 200


def stretched_bond(structure: Structure) -> Path | None:
    """Return the path of an atom away from its nearest neighbor, from 0.85 to 1.5 times their distance.

    Examples
    --------
    >>> path = stretched_bond(Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]]))
    >>> round(path.length, 2), path.at(0.0).positions.round(2).tolist()
    (0.65, [[0.0, 0.0, 0.15], [0.0, 0.0, 1.0]])
    """
    found = _closest(structure)
    if found is None:
        return None
    atom, vector = found
    distance = float(np.linalg.norm(vector))
    tangent = np.zeros((len(structure), 3))
    tangent[atom] = -vector / distance
    start = structure.moved(structure.positions - 0.15 * distance * tangent)
    return Path("a bond stretched", start, tangent, 0.65 * distance, 0.65 * distance / _POINTS)


def through_cutoff(structure: Structure, cutoff: float) -> Path:
    """Return the path of two copies of a molecule, or of two atoms of a crystal, out of each other's reach.

    Of large molecules too two atoms are taken.

    Examples
    --------
    >>> path = through_cutoff(Structure([10], [[0, 0, 0]]), 6.0)
    >>> path.start.formula, path.length
    ('Ne2', 4.0)
    """
    end = cutoff + 0.5
    large = structure.pbc.any() or 2 * len(structure) > _MOST_ATOMS
    start = _pair_of(structure, end) if large else _two_copies(structure)
    tangent = np.zeros((len(start), 3))
    tangent[len(start) // 2 :, 0] = 1.0
    return Path("two parts drawn apart", start, tangent, end - _SHORTEST, max(0.1, (end - _SHORTEST) / 2 / _POINTS))


def _closest(structure: Structure) -> tuple[int, Floats] | None:
    """Return an atom with its nearest neighbor, of all the closest pair, and the vector to it."""
    edges = find_edges(structure, _REACH)
    own = edges.centers != edges.neighbors
    if not own.any():
        return None
    lengths = np.where(own, np.linalg.norm(edges.vectors, axis=1), np.inf)
    nearest = int(lengths.argmin())
    return int(edges.centers[nearest]), edges.vectors[nearest]


def _two_copies(structure: Structure) -> Structure:
    """Return a molecule twice, the gap between the copies along x."""
    width = float(np.ptp(structure.positions[:, 0]))
    shift = np.array([width + _SHORTEST, 0.0, 0.0])
    return Structure(
        np.tile(structure.numbers, 2),
        np.concatenate([structure.positions, structure.positions + shift]),
        charge=2 * structure.charge,
        spin=2 * structure.spin - 1,
    )


def _pair_of(structure: Structure, end: float) -> Structure:
    """Return two atoms of a crystal in a large box, with the boundary conditions of the crystal."""
    numbers = structure.numbers[[0, -1]]
    box = np.diag([2 * end + 5.0, end + 5.0, end + 5.0])
    return Structure(numbers, [[0.0, 0.0, 0.0], [_SHORTEST, 0.0, 0.0]], cell=box, pbc=structure.pbc)
