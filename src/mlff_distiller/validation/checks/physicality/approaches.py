"""Approaches: two atoms on their way into each other, in isolation and within a molecule."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Final

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.neighbors import find_edges
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.validation.surface.subject import name_of

Floats = NDArray[np.float64]
Pair = tuple[int, int]
Kind = tuple[int, int, bool]
"""Two elements, and whether their atoms are bonded."""

BONDED: Final = 1.3
"""Atoms closer than this many sums of covalent radii are bonded."""

_REACH: Final = 4.0  # Angstrom: how far apart atoms of a molecule begin
_CLEAR: Final = 0.75  # sums of covalent radii that third atoms stay away
_FAR: Final = 2.5  # sums of covalent radii at which an isolated pair begins
_SLACK: Final = 0.15  # by which a thermal bond is longer or shorter than that at rest
_SHORTEST: Final = (0.7, 0.85, 1.0)
"""Sums of covalent radii that no bond comes near to, by its number of hydrogen atoms: a tenth less than those of the
shortest bonds, which are 0.77 for triple bonds, 0.97 for bonds to hydrogen and 1.19 for that of H2."""


@dataclass(frozen=True, eq=False)
class Approach:
    """Two atoms that come nearer to each other, all others at rest.

    Parameters
    ----------
    label : str
        Which, in words.
    structures : sequence of Structure
        On the way in.
    distances : (G,) array
        Of the two, falling, Angstrom.
    window : tuple of float
        Between which distances equilibrium is looked for, Angstrom.
    wall : float
        Below this there is no equilibrium, only the wall, Angstrom; infinite where it begins at the equilibrium.
    """

    label: str
    structures: Sequence[Structure]
    distances: Floats
    window: tuple[float, float]
    wall: float


def approaches(structures: Sequence[Structure], *, fraction: float, closest: float, n_points: int) -> list[Approach]:
    """Return the ways in of every pair of elements: isolated, along a bond, and of two atoms that are not bonded.

    Parameters
    ----------
    structures : sequence of Structure
        Where pairs are taken from.
    fraction : float
        Of the sum of covalent radii, down to which they are pushed.
    closest : float
        Down to which in any case, Angstrom.
    n_points : int
        Of each way.

    Examples
    --------
    >>> water = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    >>> [way.label for way in approaches([water], fraction=0.4, closest=0.4, n_points=40)]
    ['H-H alone', 'H-O alone', 'O-O alone', 'H-O in H2O, bonded']
    """
    elements = sorted({int(z) for structure in structures for z in structure.numbers})
    ways = []
    for pair in combinations_with_replacement(elements, 2):
        start = _FAR * _sum_of_radii(pair)
        grid = np.linspace(start, max(fraction * _sum_of_radii(pair), closest), n_points)
        ways.append(_isolated(pair, grid, _model(structures, pair)))
    for kind, found in sorted(_best_contacts(structures, fraction, closest).items()):
        end = max(fraction * _sum_of_radii(kind), closest)
        ways.append(_within(kind, found, np.linspace(found.start, end, n_points)))
    return ways


def with_lowest_spin(structure: Structure) -> Structure:
    """Return the neutral structure with the lowest spin multiplicity that its number of electrons allows.

    Examples
    --------
    >>> with_lowest_spin(Structure([6, 1], [[0, 0, 0], [1.1, 0, 0]])).spin
    2
    """
    return Structure(
        structure.numbers,
        structure.positions,
        cell=structure.cell,
        pbc=structure.pbc,
        spin=1 + int(structure.numbers.sum() % 2),
    )


def _sum_of_radii(pair: Sequence[int]) -> float:
    return float(covalent_radii[pair[0]] + covalent_radii[pair[1]])


def _name(pair: Sequence[int]) -> str:
    return "-".join(sorted(SYMBOLS[z] for z in pair[:2]))


def _shortest_bond(pair: Sequence[int]) -> float:
    return _SHORTEST[list(pair[:2]).count(1)] * _sum_of_radii(pair)


def _model(structures: Sequence[Structure], pair: Pair) -> Structure:
    """Return a structure whose charge and spin a pair may have: one that holds both elements, if any."""
    return next((s for s in structures if set(pair) <= set(s.numbers.tolist())), structures[0])


def _isolated(pair: Pair, grid: Floats, model: Structure) -> Approach:
    structures = [Structure(pair, [[0.0, 0.0, 0.0], [r, 0.0, 0.0]], charge=model.charge, spin=model.spin) for r in grid]
    wall = _shortest_bond(pair)
    return Approach(f"{_name(pair)} alone", structures, grid, (wall, BONDED * _sum_of_radii(pair)), wall)


@dataclass(frozen=True, eq=False)
class _Contact:
    """Two atoms of a structure: the one that moves, the vector to the other, and the room that it has."""

    structure: Structure
    atom: int
    vector: Floats
    bonds: int
    clearance: float

    @property
    def distance(self) -> float:
        return float(np.linalg.norm(self.vector))

    @property
    def start(self) -> float:
        """A bond begins a little stretched."""
        return self.distance * (1 + _SLACK)


def _within(kind: Kind, found: _Contact, grid: Floats) -> Approach:
    unit = found.vector / found.distance
    structures = []
    for r in grid:
        positions = found.structure.positions.copy()
        positions[found.atom] += (found.distance - r) * unit
        structures.append(found.structure.moved(positions))
    label = f"{_name(kind)} in {name_of(found.structure)}, {'bonded' if kind[2] else 'not bonded'}"
    if kind[2]:
        return Approach(label, structures, grid, ((1 - _SLACK) * found.distance, found.start), np.inf)
    wall = _shortest_bond(kind)
    return Approach(label, structures, grid, (wall, BONDED * _sum_of_radii(kind)), wall)


def _best_contacts(structures: Sequence[Structure], fraction: float, closest: float) -> dict[Kind, _Contact]:
    """Return the best contact of each pair of elements, bonded and not: in whose way no third atom is."""
    best: dict[Kind, tuple[tuple[float, float], _Contact]] = {}
    for structure in structures:
        for key, contact in _contacts(structure, fraction, closest):
            if not key[2] and contact.clearance < _CLEAR:
                continue
            rank = (float(contact.bonds), -contact.clearance) if key[2] else (contact.distance, 0.0)
            if key not in best or rank < best[key][0]:
                best[key] = (rank, contact)
    return {key: contact for key, (_, contact) in best.items()}


def _contacts(structure: Structure, fraction: float, closest: float) -> list[tuple[Kind, _Contact]]:
    """Return all pairs of different atoms within reach, once for either atom that may move."""
    edges = find_edges(structure, _REACH)
    lengths = np.linalg.norm(edges.vectors, axis=1)
    numbers = structure.numbers
    radii = covalent_radii[numbers[edges.centers]] + covalent_radii[numbers[edges.neighbors]]
    bonded = lengths < BONDED * radii
    bonds = np.bincount(edges.centers[bonded], minlength=len(structure))
    found = []
    for k in np.flatnonzero(edges.centers != edges.neighbors).tolist():
        atom, other = int(edges.centers[k]), int(edges.neighbors[k])
        low, high = sorted((int(numbers[atom]), int(numbers[other])))
        others = np.flatnonzero((edges.centers == atom) & (edges.neighbors != atom))
        others = others[others != k]
        end = max(fraction * radii[k], closest)
        clearance = _clearance(edges.vectors[k], edges.vectors[others], radii[others], end)
        contact = _Contact(structure, atom, edges.vectors[k], int(bonds[atom]), clearance)
        found.append(((low, high, bool(bonded[k])), contact))
    return found


def _clearance(vector: Floats, others: Floats, radii: Floats, end: float) -> float:
    """Return how near third atoms come on the second half of the way in, in sums of covalent radii."""
    if not len(others):
        return float("inf")
    distance = float(np.linalg.norm(vector))
    ways = np.linspace(0.0, distance - end, 20)[:, None, None]
    gaps = np.linalg.norm(others - ways * vector / distance, axis=-1) / radii
    return float(gaps.min())
