"""Duplicates: structures that are the same to rounding, or nearly the same in another place and order."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.atoms.labels import PROPERTIES
from mlff_distiller.core.plan import Plan
from mlff_distiller.data.blocks import blocks, has
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.similarity.fingerprints import coarse_fingerprints, distance_changes
from mlff_distiller.data.similarity.hashes import compositions
from mlff_distiller.data.source import Source

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

_NEAREST: Final = 16  # candidates of each structure; bounds the work where everything is a copy of everything
_LEADING: Final = 10  # principal components that are searched; more makes the tree slow, and the rest is checked after
_QUERIES: Final = 50_000  # structures whose neighbors are searched at a time
_DISTANCES: Final = 4_000_000  # sorted distances that are compared at a time


class DuplicatesPlan(Plan):
    """When two structures count as the same.

    Examples
    --------
    >>> DuplicatesPlan(tolerance=0.05).tolerance
    0.05
    """

    resolution: float = Field(
        1e-4, gt=0, le=0.1, description="Exact duplicates agree in positions and cell rounded to this, Angstrom."
    )
    tolerance: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Near-duplicates have the same atoms, charge and spin, and interatomic distances that differ by "
        "less than this (root mean square, Angstrom); 0 finds exact duplicates only.",
    )
    cutoff: float = Field(
        6.0, gt=1, le=20, description="Distances up to here are compared to find near-duplicates, Angstrom."
    )


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Which structures are the same.

    Attributes
    ----------
    exact, groups : (S,) int64
        For each structure the first row of the structures that are exactly the same; and of those that are nearly the
        same, directly or through others.
    pairs : (P, 2) int64
        Near-duplicates, each pair once, beyond exact ones; at most 16 for each structure.
    changes : (P,) float64
        Their distance change (:mod:`~mlff_distiller.data.similarity.fingerprints`), Angstrom.
    """

    exact: Indices
    groups: Indices
    pairs: Indices
    changes: Floats

    @property
    def first_rows(self) -> Indices:
        """One structure of each group, the first, ascending: what deduplication keeps."""
        return np.unique(self.groups)

    @property
    def n_exact(self) -> int:
        """How many structures repeat an earlier one exactly."""
        return len(self.exact) - len(np.unique(self.exact))

    @property
    def n_near(self) -> int:
        """How many more repeat an earlier one nearly."""
        return len(self.groups) - len(self.first_rows) - self.n_exact


@dataclass(frozen=True)
class Conflict:
    """Labels of exact duplicates that disagree.

    Attributes
    ----------
    rows : tuple of int
        The first of the group, and the one that differs most.
    energy_change : float
        Difference of energies per atom, eV; NaN where not both have one.
    force_change : float
        Largest difference of a force component, eV/Angstrom; NaN where not both have them.
    """

    rows: tuple[int, int]
    energy_change: float
    force_change: float

    @property
    def sentence(self) -> str:
        """One line for people."""
        return (
            f"structures {self.rows[0]} and {self.rows[1]} are the same, but their labels differ by "
            f"{self.energy_change:.3g} eV per atom and {self.force_change:.3g} eV/A"
        )


def find_duplicates(source: Source, plan: DuplicatesPlan | None = None) -> Duplicates:
    """Find exact and near duplicates, reading block by block.

    Exact duplicates have the same elements, positions, cell, boundary conditions, charge and spin in the same order, to
    rounding. Near-duplicates may be moved, rotated, mirrored, relabeled or wrapped; structures of another size, for
    instance a supercell, are no duplicates. Pieces of a molecule that are further apart than the cutoff do not see each
    other, so a dissociation curve should be looked at with a larger cutoff.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> places = np.array([[0, 0, 0], [0, 0, 0.74]])
    >>> found = find_duplicates(pack(range(3), [Structure([1, 1], places + d) for d in (0, 0, 5)]))
    >>> found.exact.tolist(), found.groups.tolist(), found.pairs.tolist()
    ([0, 0, 2], [0, 0, 0], [[0, 2]])
    """
    plan = plan or DuplicatesPlan()
    exact, keys = _exact(source, plan.resolution)
    firsts = np.unique(exact)
    pairs, changes = near_pairs(source, plan, keys, rows=firsts)
    groups = merged(exact, pairs)
    return Duplicates(exact, groups, pairs, changes)


def near_pairs(
    source: Source, plan: DuplicatesPlan, keys: NDArray[np.uint64], *, rows: Indices, sides: Indices | None = None
) -> tuple[Indices, Floats]:
    """Return near-duplicates (P, 2), lower row first, and their distance changes (P,), Angstrom.

    Parameters
    ----------
    source : Source
        A store or columns.
    plan : DuplicatesPlan
        Settings.
    keys : (S,) uint64
        Composition of each structure; only structures of one composition are compared.
    rows : (R,) int64
        The structures that are compared.
    sides : (S,) int64, optional
        If given, only pairs on different sides count, and the nearest on the other sides are always looked at.
    """
    found, changes = [np.zeros((0, 2), np.int64)], [np.zeros(0)]
    if plan.tolerance > 0:
        for same in _groups_of(rows, keys):
            candidates = _candidates(source, same, plan, sides)
            for some in candidates:
                change = distance_changes(source, some, plan.cutoff)
                found.append(some[change <= plan.tolerance])
                changes.append(change[change <= plan.tolerance])
    return np.concatenate(found), np.concatenate(changes)


def merged(groups: Indices, pairs: Indices) -> Indices:
    """Return groups (S,) after joining those that pairs (P, 2) connect, each named by its first row.

    Examples
    --------
    >>> merged(np.array([0, 1, 2, 1]), np.array([[2, 3]])).tolist()
    [0, 1, 1, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(groups)
    names, own = np.unique(groups, return_inverse=True)
    links = own[pairs].reshape(-1, 2)
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(names), len(names)))
    joined = connected_components(graph, directed=False)[1][own]
    first = np.full(n, n, dtype=np.int64)
    np.minimum.at(first, joined, np.arange(n))
    result: Indices = first[joined]
    return result


def composition_keys(source: Source) -> NDArray[np.uint64]:
    """Return a hash (S,) of elements, charge and spin of every structure."""
    parts = [compositions(columns, electrons=True) for _, columns in blocks(source)]
    return np.concatenate([np.zeros(0, np.uint64), *parts])


def find_conflicts(
    source: Source, duplicates: Duplicates, *, energy_per_atom: float = 1e-3, force: float = 0.05
) -> list[Conflict]:
    """Return exact duplicates whose labels differ by more than the bounds (eV per atom, eV/Angstrom).

    Examples
    --------
    >>> from mlff_distiller.atoms.labels import Labels
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> columns = pack([0, 1], [Structure([1], [[0, 0, 0]])] * 2, [Labels(energy=-13.6), Labels(energy=-0.5)])
    >>> find_conflicts(columns, find_duplicates(columns))[0].sentence
    'structures 0 and 1 are the same, but their labels differ by 13.1 eV per atom and nan eV/A'
    """
    found = []
    for members in _groups_of(np.arange(len(source)), duplicates.exact):
        changes = np.concatenate(
            [_label_changes(source, members[0], columns) for _, columns in blocks(source, members)]
        )
        excess = np.fmax(changes[:, 0] / energy_per_atom, changes[:, 1] / force)
        worst = int(np.argmax(np.nan_to_num(excess)))
        if excess[worst] > 1:
            found.append(Conflict((int(members[0]), int(members[worst])), *map(float, changes[worst])))
    return found


def _label_changes(source: Source, first: np.int64, columns: Columns) -> Floats:
    """Return changes of energy per atom and forces (S, 2) against one structure; NaN where a label is absent."""
    reference = source.take(np.array([first]))
    changes = np.full((len(columns), 2), np.nan)
    for place, name in enumerate(PROPERTIES[:2]):
        if name in columns.arrays and name in reference.arrays:
            own = columns.arrays[name].reshape(len(columns), -1)
            largest = np.abs(own - reference.arrays[name].reshape(1, -1)).max(1)
            known = has(columns, name) & has(reference, name)
            changes[known, place] = largest[known] / (reference.n_atoms if name == "energy" else 1)
    return changes


def _exact(source: Source, resolution: float) -> tuple[Indices, NDArray[np.uint64]]:
    """Return the first row with the same hash (S,), and the compositions (S,)."""
    seen: dict[bytes, int] = {}
    exact = np.empty(len(source), dtype=np.int64)
    keys = [np.zeros(0, np.uint64)]
    for rows, columns in blocks(source):
        keys.append(compositions(columns, electrons=True))
        for row, name in zip(rows.tolist(), _names(columns, resolution), strict=True):
            exact[row] = seen.setdefault(name, row)
    return exact, np.concatenate(keys)


def _names(columns: Columns, resolution: float) -> Iterator[bytes]:
    """Yield a 128-bit hash of each structure."""
    a = columns.arrays
    numbers = np.ascontiguousarray(a["numbers"])
    positions = np.rint(a["positions"] / resolution).astype(np.int64)  # integers: no negative zero
    pbc = (a["pbc"] != 0).astype(np.int64)
    cells = np.rint(a["cells"] / resolution).astype(np.int64) * pbc[:, :, None]
    rest = np.concatenate([cells.reshape(len(columns), -1), pbc, a["charge"][:, None], a["spin"][:, None]], axis=1)
    rest = rest.astype(np.int64)
    for row, (first, last) in enumerate(zip(a["offsets"][:-1], a["offsets"][1:], strict=True)):
        content = numbers[first:last].tobytes() + positions[first:last].tobytes() + rest[row].tobytes()
        yield hashlib.blake2b(content, digest_size=16).digest()


def _groups_of(rows: Indices, keys: NDArray[np.generic]) -> Iterator[Indices]:
    """Yield rows with the same key, two or more, ascending."""
    order = rows[np.argsort(keys[rows], kind="stable")]
    cuts = np.flatnonzero(np.diff(keys[order].astype(np.uint64)) != 0) + 1
    return (np.sort(same) for same in np.split(order, cuts) if len(same) > 1)


def _candidates(source: Source, rows: Indices, plan: DuplicatesPlan, sides: Indices | None) -> Iterator[Indices]:
    """Yield pairs of rows of one composition that coarse fingerprints do not tell apart, a bounded number at a time."""
    if sides is not None and len(np.unique(sides[rows])) < 2:
        return
    coarse, counts = coarse_fingerprints(source, rows, plan.cutoff)
    most = max(1, int(counts.max()))
    radius = plan.tolerance * np.sqrt(2 * most)  # two lists of n distances have at most 2 n that are not shared
    points = _leading(coarse)
    own = None if sides is None else sides[rows]
    links = [_within(points, points, radius, itself=True)] if own is None else _across(points, own, radius)
    pairs = np.unique(np.sort(np.concatenate(links), axis=1), axis=0)
    step = max(1, _DISTANCES // (2 * most))
    for first in range(0, len(pairs), step):
        some = pairs[first : first + step]
        near = np.linalg.norm(coarse[some[:, 0]] - coarse[some[:, 1]], axis=1) <= radius * (1 + 1e-5)
        if near.any():
            yield rows[some[near]]


def _across(points: NDArray[np.float32], own: Indices, radius: float) -> list[Indices]:
    """Return pairs of points (P, 2) that are on different sides."""
    links = []
    for side in np.unique(own):
        here, there = np.flatnonzero(own == side), np.flatnonzero(own > side)
        if len(there):
            found = _within(points[here], points[there], radius, itself=False)
            links.append(np.stack([here[found[:, 1]], there[found[:, 0]]], axis=1))
    return links


def _within(tree_points: NDArray[np.float32], queries: NDArray[np.float32], radius: float, *, itself: bool) -> Indices:
    """Return (query, point) for the nearest points of each query within the radius."""
    from scipy.spatial import cKDTree

    k = min(_NEAREST + itself, len(tree_points))
    upper = radius * (1 + 1e-5) + 1e-6  # float32
    tree = cKDTree(tree_points)
    links = [np.zeros((0, 2), np.int64)]
    for first in range(0, len(queries), _QUERIES):
        some = queries[first : first + _QUERIES]
        near = tree.query(some, k=np.arange(1, k + 1), distance_upper_bound=upper)[1].astype(np.int64)
        query, place = np.nonzero(near < len(tree_points))
        links.append(np.stack([first + query, near[query, place]], axis=1))
    found = np.concatenate(links)
    return found[found[:, 0] != found[:, 1]] if itself else found


def _leading(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the leading principal components: a projection, so distances only shrink."""
    centered = coarse - coarse.mean(0, dtype=np.float64).astype(np.float32)
    vectors = np.linalg.eigh(centered.T @ centered)[1]
    return np.ascontiguousarray(centered @ vectors[:, -_LEADING:])
