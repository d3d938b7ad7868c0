"""Connectivity: covalent bonds by distance, molecules, and a hash that all conformers of a molecule share."""

from typing import Final

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from mlff_distiller.data.blocks import owners
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.similarity.hashes import Hashes, mixed, summed
from mlff_distiller.data.similarity.pairs import Pairs, find_pairs

Indices = NDArray[np.int64]

RADII: Final[NDArray[np.float64]] = covalent_radii
"""Covalent radius of atomic number Z at index Z, Angstrom (Cordero et al., doi:10.1039/b801115j)."""

_STRETCH: Final = 1.3  # longest bond over the sum of the radii: room for hot vibrations, not for other contacts
_LOST: Final = 1.6  # the same for a hydrogen that has no shorter bond: it still belongs to its nearest heavy atom
_NONMETALS: Final = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 32, 33, 34, 35, 51, 52, 53)
_REACH: Final = 2 * _STRETCH * float(max(RADII[z] for z in _NONMETALS))
_ROUNDS: Final = 10  # each atom of the hash knows its surroundings this many bonds far


def find_bonds(columns: Columns, pairs: Pairs | None = None) -> Pairs:
    """Return the covalent bonds of a block, each in both directions.

    Atoms are bonded that are closer than 1.3 times the sum of their covalent radii; a hydrogen without such a bond is
    bonded to its nearest heavy atom within 1.6 times. Bonds of metal atoms are not counted: their number changes with
    every vibration.

    Parameters
    ----------
    columns : Columns
        A block.
    pairs : Pairs, optional
        All pairs within 3.7 Angstrom or more, if they are known already.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> water = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    >>> find_bonds(pack([0], [water])).centers.tolist()
    [0, 0, 1, 2]
    """
    pairs = pairs or find_pairs(columns, _REACH)
    numbers = columns.arrays["numbers"]
    covalent = np.isin(numbers, _NONMETALS)
    near = pairs.where(covalent[pairs.centers] & covalent[pairs.neighbors])
    near = near.where(relative_lengths(columns, near) < _LOST)
    is_bond = relative_lengths(columns, near) < _STRETCH
    bonds = near.where(is_bond)
    has_bond = np.bincount(bonds.centers, minlength=len(numbers)) > 0
    lost = near.where((numbers[near.centers] == 1) & ~has_bond[near.centers] & (numbers[near.neighbors] > 1))
    if not len(lost):
        return bonds
    order = np.lexsort((lost.distances, lost.centers))
    found = lost.where(order[np.unique(lost.centers[order], return_index=True)[1]])
    return _joined(bonds, found, Pairs(found.neighbors, found.centers, -found.vectors, found.distances))


def relative_lengths(columns: Columns, pairs: Pairs) -> NDArray[np.float64]:
    """Return distances over the sums of covalent radii (E,)."""
    radii = RADII[columns.arrays["numbers"]]
    lengths: NDArray[np.float64] = pairs.distances / (radii[pairs.centers] + radii[pairs.neighbors])
    return lengths


def find_molecules(columns: Columns, bonds: Pairs) -> tuple[Indices, NDArray[np.bool_]]:
    """Return the molecule of each atom (A,), and of each molecule whether it is endless through the cell boundary.

    A network such as diamond is one endless "molecule"; an atom without bonds is one of its own.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = columns.n_atoms
    graph = coo_array((np.ones(len(bonds)), (bonds.centers, bonds.neighbors)), shape=(n, n))
    count, molecule = connected_components(graph, directed=False)
    endless = np.zeros(count, dtype=bool)
    if (columns.arrays["pbc"] != 0).any():
        places = _unwrapped(n, molecule, bonds)
        gaps = np.linalg.norm(places[bonds.neighbors] - places[bonds.centers] - bonds.vectors, axis=1)
        endless[molecule[bonds.centers[gaps > 0.1]]] = True
    return molecule.astype(np.int64), endless


def molecule_keys(columns: Columns) -> Hashes:
    """Return a hash (S,) of which different molecules a structure consists of, however many of each.

    Two structures have the same key if they consist of the same molecules, told apart by the graph of their bonds
    (Weisfeiler-Lehman colors): conformers, clusters and boxes of the same molecules, supercells. An endless network
    counts by the ratio of its elements alone, a metal atom by its element. Charge, spin and handedness do not count.

    Examples
    --------
    >>> import ase.build
    >>> from mlff_distiller.atoms.conversion import from_ase
    >>> from mlff_distiller.data.columns import pack
    >>> names = ("CH3CH2OH", "CH3OCH3", "CH3CH2OH")
    >>> keys = molecule_keys(pack(range(3), [from_ase(ase.build.molecule(name)) for name in names]))
    >>> bool(keys[0] == keys[1]), bool(keys[0] == keys[2])
    (False, True)
    """
    owner, names = _contents(columns)[:2]
    return summed(mixed(names), owner, len(columns))


def shared_molecules(columns: Columns) -> tuple[Indices, Hashes]:
    """Return structures (M,) and hashes (M,) of the different molecules in them: equal hashes, the same molecule.

    Molecules are told apart as by :func:`molecule_keys`. Single atoms (ions, metals, atoms that came off) are in data
    of many kinds and make no two structures alike: they count only in structures that hold nothing else, all together
    as one molecule.

    Examples
    --------
    >>> import ase.build
    >>> from mlff_distiller.atoms.conversion import from_ase
    >>> from mlff_distiller.data.columns import pack
    >>> water, both = ase.build.molecule("H2O"), ase.build.molecule("H2O")
    >>> both.extend(ase.Atoms("CO", [[9, 0, 0], [9, 0, 1.1]]))
    >>> rows, names = shared_molecules(pack([0, 1], [from_ase(water), from_ase(both)]))
    >>> rows.tolist(), len(set(names.tolist()))
    ([0, 1, 1], 2)
    """
    owner, names, is_atom = _contents(columns)
    has_more = np.bincount(owner[~is_atom], minlength=len(columns)) > 0
    atoms_only = np.flatnonzero(~has_more)
    as_one = summed(mixed(names), owner, len(columns))[atoms_only]
    return np.concatenate([owner[~is_atom], atoms_only]), np.concatenate([names[~is_atom], as_one])


def _contents(columns: Columns) -> tuple[Indices, Hashes, NDArray[np.bool_]]:
    """Return structures, hashes of the different molecules in each, and which of these are single atoms (M,)."""
    bonds = find_bonds(columns)
    molecule, endless = find_molecules(columns, bonds)
    names = summed(mixed(_colors(columns, bonds)), molecule, len(endless))
    for number in np.flatnonzero(endless):
        names[number] = _ratio(columns.arrays["numbers"][molecule == number])
    n_atoms = np.bincount(molecule, minlength=len(endless))
    is_atom = ((n_atoms == 1) & ~endless)[molecule].astype(np.uint64)
    content = np.unique(np.stack([owners(columns).astype(np.uint64), names[molecule], is_atom], axis=1), axis=0)
    return content[:, 0].astype(np.int64), content[:, 1], content[:, 2] != 0


def _colors(columns: Columns, bonds: Pairs) -> Hashes:
    """Return a hash of each atom's element and surroundings (A,)."""
    colors = mixed(columns.arrays["numbers"])
    for _ in range(_ROUNDS):
        around = summed(mixed(colors)[bonds.neighbors], bonds.centers, len(colors))
        colors = mixed(colors ^ mixed(around))
    return colors


def _ratio(numbers: NDArray[np.generic]) -> np.uint64:
    elements, counts = np.unique(numbers, return_counts=True)
    ratio = counts // np.gcd.reduce(counts)
    return np.uint64(mixed(mixed(elements) ^ mixed(ratio + 1000)).sum())


def _unwrapped(n: int, molecule: Indices, bonds: Pairs) -> NDArray[np.float64]:
    """Return places (n, 3) of atoms that follow the bonds from the first atom of each molecule."""
    places, known = np.zeros((n, 3)), np.zeros(n, dtype=bool)
    known[np.unique(molecule, return_index=True)[1]] = True
    while True:
        edge = known[bonds.centers] & ~known[bonds.neighbors]
        if not edge.any():
            return places
        places[bonds.neighbors[edge]] = places[bonds.centers[edge]] + bonds.vectors[edge]
        known[bonds.neighbors[edge]] = True


def _joined(*parts: Pairs) -> Pairs:
    arrays = [np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])]
    order = np.argsort(arrays[0], kind="stable")
    return Pairs(*(array[order] for array in arrays))
