"""Covalent bonds of a structure, followed while its atoms move."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.structure import Structure

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BONDED: Final = 1.3
"""Longest bond over the sum of covalent radii: room for hot vibrations, not for other contacts."""

_NONMETALS: Final = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 32, 33, 34, 35, 51, 52, 53)


@dataclass(frozen=True, eq=False)
class Bonds:
    """Covalent bonds of one structure of N atoms, B of them.

    Attributes
    ----------
    pairs : (B, 2) int64
        Atoms, the smaller index first unless an atom is bonded to its own image.
    offsets : (B, 3)
        What is added to r(second) - r(first): a sum of cell vectors, Angstrom.
    covalent : (B,)
        Sum of the covalent radii, Angstrom (Cordero et al. 2008, doi:10.1039/b801115j).

    Examples
    --------
    >>> bonds = find_bonds(Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))
    >>> bonds.pairs.tolist(), bonds.names(Structure([8, 1, 1], np.zeros((3, 3))).numbers)
    ([[0, 1], [0, 2]], ['O0-H1', 'O0-H2'])
    """

    pairs: Integers
    offsets: Floats
    covalent: Floats

    def __len__(self) -> int:
        return len(self.pairs)

    def lengths(self, positions: Floats) -> Floats:
        """Return the lengths (..., B) at positions (..., N, 3) that were followed without being wrapped, Angstrom."""
        first, second = self.pairs.T
        vectors = positions[..., second, :] - positions[..., first, :] + self.offsets
        return np.asarray(np.linalg.norm(vectors, axis=-1))

    def names(self, numbers: Integers) -> list[str]:
        """Return bonds as "C0-H4", from atomic numbers (N,)."""
        return [pair_name(numbers, (int(i), int(j))) for i, j in self.pairs]


def pair_name(numbers: Integers, pair: tuple[int, int]) -> str:
    """Return two atoms as "C0-H4": symbols and indices that count from 0.

    Examples
    --------
    >>> pair_name(np.array([6, 1]), (0, 1))
    'C0-H1'
    """
    return "-".join(f"{SYMBOLS[int(numbers[atom])]}{atom}" for atom in pair)


def covalent_length(numbers: Integers, first: Integers, second: Integers) -> Floats:
    """Return sums of covalent radii for pairs of atoms, Angstrom.

    Examples
    --------
    >>> covalent_length(np.array([6, 1]), np.array([0]), np.array([1])).round(2).tolist()
    [1.07]
    """
    from ase.data import covalent_radii

    return np.asarray(covalent_radii[numbers[first]] + covalent_radii[numbers[second]])


def find_bonds(structure: Structure, stretch: float = BONDED) -> Bonds:
    """Return pairs of nonmetal atoms that are closer than ``stretch`` times the sum of their covalent radii.

    Bonds of metal atoms are not counted: their number changes with every vibration.
    """
    from mlff_distiller.atoms.neighbors import find_pairs  # loads torch, which reading a recipe must not

    near = find_pairs(structure, stretch * _longest(structure))
    first, second = near.centers.astype(np.int64), near.neighbors.astype(np.int64)
    offsets = near.shifts @ structure.cell
    covalent = covalent_length(structure.numbers, first, second)
    distances = np.linalg.norm(structure.positions[second] - structure.positions[first] + offsets, axis=1)
    nonmetal = np.isin(structure.numbers, _NONMETALS)
    once = (first < second) | ((first == second) & _is_positive(near.shifts))
    bonded = once & nonmetal[first] & nonmetal[second] & (distances < stretch * covalent)
    return Bonds(np.stack([first[bonded], second[bonded]], axis=1), offsets[bonded], covalent[bonded])


def _longest(structure: Structure) -> float:
    from ase.data import covalent_radii

    return float(2 * covalent_radii[structure.numbers].max())


def _is_positive(shifts: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return whether the first shift (E, 3) that is not zero is positive: one of each pair of images."""
    weights = np.array([9, 3, 1]) * 2
    return np.asarray(np.sign(shifts) @ weights > 0)
