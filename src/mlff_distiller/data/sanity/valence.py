"""Valences of molecules with carbon: hydrogens that a file left out, and atoms with too many bonds.

Which atoms are bonded follows from distances and covalent radii, the order of a bond between heavy atoms from its
length d by Pauling's rule, order = exp((d(1) - d) / 0.26 Angstrom) (doi:10.1021/ja01195a024), where d(1), the length of
a single bond, is the sum of the radii; no bond counts less than one, so that a stretched molecule has no free valences.
Ethanol without its hydrogens, C-C-O with single bonds, has 3 + 2 + 1 of them; the short bonds of CO2, CO, HCN or an
aromatic ring use all valences up.

A molecule may have two free valences (a carbene, carbon monoxide, a biradical), one for each unit of charge, one for
each unpaired electron and one for each unbound hydrogen of its structure; beyond that it is the number for each heavy
atom that counts, because bond lengths of a hot molecule leave doubts. Pure carbon is a special claim: the edge of a
bare flake, the ends of a chain and the atoms of a ring lack a valence each, and a benzene without hydrogens cannot be
told from a carbon ring. So pure carbon is accused only where atoms lack 1.5 valences on average, as in alkanes.
Structures with other than the usual elements of organic chemistry, and endless networks, make no such claim.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.data.blocks import owners
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.similarity.connectivity import RADII, find_bonds, find_molecules, relative_lengths
from mlff_distiller.data.similarity.pairs import Pairs

Floats = NDArray[np.float64]

_USUAL: Final = {6: 4, 7: 3, 8: 2, 9: 1, 14: 4, 15: 3, 16: 2, 17: 1, 34: 2, 35: 1, 53: 1}
_MOST: Final = {1: 2, 6: 4, 7: 4, 8: 3, 9: 1, 14: 6, 15: 6, 16: 6, 17: 4, 34: 6, 35: 5, 53: 7}
_PAULING: Final = 0.26  # Angstrom for a factor e in the bond order
_SURE: Final = 1.15  # a bond beyond doubt is shorter than this times the sum of the radii
_CARBON_ALONE: Final = 1.5


def missing_hydrogens(columns: Columns, pairs: Pairs) -> Floats:
    """Return free valences per heavy atom of the worst molecule (S,), 0 where they can be explained.

    NaN where nothing claims to be an organic molecule.
    """
    numbers, owner = columns.arrays["numbers"], owners(columns)
    bonds = find_bonds(columns, pairs)
    molecule, endless = find_molecules(columns, bonds)
    n = len(endless)
    free = np.bincount(molecule, _free_valences(numbers, bonds), minlength=n)
    size, heavy, carbon = (
        np.bincount(molecule, some, minlength=n) for some in (numbers > 0, numbers > 1, numbers == 6)
    )
    structure = np.zeros(n, dtype=np.int64)
    structure[molecule] = owner
    lone_hydrogens = np.bincount(structure, (size == 1) & (heavy == 0), minlength=len(columns))
    charge, spin = (columns.arrays[name].astype(np.int64) for name in ("charge", "spin"))
    explained = 2 + np.abs(charge) + spin - 1 + lone_hydrogens
    ratio = free / np.maximum(heavy, 1)
    ratio[(free <= explained[structure]) | ((carbon == size) & (ratio < _CARBON_ALONE))] = 0
    judged = (carbon > 0) & (size > 1) & ~endless & _is_organic(columns)[structure]
    return _largest(ratio[judged], structure[judged], len(columns))


def excess_bonds(columns: Columns, pairs: Pairs) -> Floats:
    """Return by how many bonds an atom exceeds what its element can have (S,); NaN for all but organic molecules.

    Only bonds beyond doubt count, and an ion may have one more (CH5+).
    """
    numbers, owner = columns.arrays["numbers"], owners(columns)
    bonds = find_bonds(columns, pairs)
    sure = bonds.where(relative_lengths(columns, bonds) < _SURE)
    count = np.bincount(sure.centers, minlength=len(numbers))
    excess = count - _table(_MOST)[numbers] - (columns.arrays["charge"] != 0)[owner]
    has_carbon = np.bincount(owner, numbers == 6, minlength=len(columns)) > 0
    molecule, endless = find_molecules(columns, bonds)
    judged = (_is_organic(columns) & has_carbon & (columns.sizes > 1))[owner] & ~endless[molecule]
    return _largest(np.maximum(excess[judged], 0), owner[judged], len(columns))


def _free_valences(numbers: NDArray[np.uint8], bonds: Pairs) -> Floats:
    """Return how many single bonds each atom (A,) still waits for, a whole number."""
    left, right = numbers[bonds.centers], numbers[bonds.neighbors]
    orders = np.exp((RADII[left] + RADII[right] - bonds.distances) / _PAULING)
    orders = np.where((left == 1) | (right == 1), 1.0, np.maximum(orders, 1.0))
    used = np.bincount(bonds.centers, orders, minlength=len(numbers))
    lacking = np.maximum(_table(_USUAL)[numbers] - used, 0)
    return np.asarray(np.floor(lacking + 0.3), dtype=np.float64)


def _is_organic(columns: Columns) -> NDArray[np.bool_]:
    """Return whether a structure (S,) has no other elements than those of organic chemistry."""
    foreign = ~np.isin(columns.arrays["numbers"], list(_MOST))
    return np.asarray(np.bincount(owners(columns), foreign, minlength=len(columns)) == 0)


def _largest(values: Floats, structure: NDArray[np.int64], n: int) -> Floats:
    largest = np.full(n, -np.inf)
    np.maximum.at(largest, structure, values)
    return np.where(np.isfinite(largest), largest, np.nan)


def _table(valences: dict[int, int]) -> NDArray[np.int64]:
    table = np.zeros(119, dtype=np.int64)
    table[list(valences)] = list(valences.values())
    return table
