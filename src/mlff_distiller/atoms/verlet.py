"""Graphs of moving atoms: neighbor lists with a Verlet skin, made anew only where atoms or cells moved too far."""

from collections.abc import Sequence
from functools import lru_cache
from threading import local
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.neighbors import Pairs, find_pairs
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.compiling import compiled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_ROUNDING: Final = 1e-6  # Angstrom; far above the rounding of strains and displacements, far below a skin
_MOST_PLACES: Final = 32
_DTYPES: Final[dict[torch.dtype, Any]] = {torch.float32: np.float32, torch.float64: np.float64}


class VerletGraphs:
    """Makes the graphs of :meth:`Graph.from_structures`, faster where the same atoms come again and again.

    A list of all pairs within cutoff + skin holds every pair within the cutoff for as long as, in each structure,

        s (cutoff + skin) - 2 max |u_i| >= cutoff,

    where F = inv(cell then) @ cell now is the strain since the list was made, s its smallest singular value, and
    u_i = r_i now - r_i then @ F how far an atom moved beside the strain: what was left out was cutoff + skin apart, F
    shortens no vector by more than the factor s, and no two atoms came closer than by 2 max |u_i|. Structures for which
    this fails get a new list; so do those with one or two periodic directions when their cell changes. The vectors are
    computed from positions and cell at every call, in float64, and rounded once.

    Lists are made only when a call brings the atoms of the call before, near where they were: calls that each bring
    other structures pay nothing. Every thread has lists of its own.

    Source: Verlet 1967, doi:10.1103/PhysRev.159.98.

    Parameters
    ----------
    cutoff : float
        Angstrom.
    skin : float
        Angstrom; with 0 there are no lists.
    dtype, device : optional
        Of the edge vectors.

    Examples
    --------
    >>> graphs = VerletGraphs(5.0)
    >>> for length in (0.76, 0.75, 0.5):
    ...     graph = graphs.graph([Structure([1, 1], [[0, 0, 0], [0, 0, length]])])
    >>> graph.vectors.tolist()
    [[0.0, 0.0, 0.5], [0.0, 0.0, -0.5]]
    """

    def __init__(
        self,
        cutoff: float,
        *,
        skin: float = 0.5,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.cutoff, self.skin, self.dtype, self.device = float(cutoff), float(skin), dtype, torch.device(device)
        self._own = local()

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the lists out of copies: they belong to a thread."""
        return _made_again, (self.cutoff, self.skin, self.dtype, self.device)

    def graph(self, structures: Sequence[Structure], *, place: int = 0) -> Graph:
        """Return the graph of a batch; its edges are its own, the tensors of its atoms are shared between calls.

        Parameters
        ----------
        structures : sequence of Structure
            The batch, at least one.
        place : int
            Which of several batches that come in turns; the last 32 are remembered.

        Raises
        ------
        StructureError
            As :func:`~mlff_distiller.atoms.neighbors.find_edges` does.
        """
        places: dict[int, _Place] = self._own.__dict__.setdefault("places", {})
        known = places.pop(place, None)
        if known is None or not known.holds(structures):
            graph = Graph.from_structures(structures, self.cutoff, dtype=self.dtype, device=self.device)
            known = _Place(structures, graph)
            places[place] = known
            if len(places) > _MOST_PLACES:
                places.pop(next(iter(places)))  # the one that was not asked for longest
            return graph
        places[place] = known  # behind the others
        return self._moved(known, _Snapshot.of(structures))

    def _moved(self, known: "_Place", now: "_Snapshot") -> Graph:
        """Return the graph of atoms that were there before."""
        before, known.last = known.last, now
        stale = range(len(now.structures)) if known.lists is None else self._far(known.lists.made, now, known)
        if len(stale):
            if not set(stale).isdisjoint(self._far(before, now, known)):  # a list would not serve long
                return Graph.from_structures(now.structures, self.cutoff, dtype=self.dtype, device=self.device)
            known.lists = self._made(known, now, stale)
        assert known.lists is not None
        return self._listed(known, known.lists, now)

    def _far(self, then: "_Snapshot", now: "_Snapshot", known: "_Place") -> Sequence[int]:
        """Return for which structures a list made then would not serve now."""
        strains, shortest = _strains(then.structures, now.structures)
        arrays = then.positions, now.positions, known.first, strains, shortest
        far: Integers = _compiled(_far)(*arrays, self.cutoff + self.skin, self.cutoff + _ROUNDING)
        return far.tolist() if len(far) else ()

    def _made(self, known: "_Place", now: "_Snapshot", stale: Sequence[int]) -> "_Lists":
        """Make new lists for some structures and keep the others."""
        new = {k: (now.structures[k], find_pairs(now.structures[k], self.cutoff + self.skin)) for k in stale}
        old = known.lists
        parts = [new[k] if old is None or k in new else old.part(k, known.first) for k in range(len(now.structures))]
        return _Lists.joined(parts, known.first)

    def _listed(self, known: "_Place", lists: "_Lists", now: "_Snapshot") -> Graph:
        n = len(lists.centers)
        centers, neighbors = np.empty(n, np.int64), np.empty(n, np.int64)
        vectors = np.empty((n, 3), _DTYPES.get(self.dtype, np.float64))
        cells = np.concatenate([structure.cell for structure in now.structures])
        pairs = lists.begins, lists.centers, lists.neighbors, lists.shifts
        n = _compiled(_within)(now.positions, cells, *pairs, self.cutoff**2, centers, neighbors, vectors)
        i, j, v = torch.from_numpy(centers[:n]), torch.from_numpy(neighbors[:n]), torch.from_numpy(vectors[:n])
        if self.device.type != "cpu" or self.dtype not in _DTYPES:
            i, j, v = i.to(self.device), j.to(self.device), v.to(device=self.device, dtype=self.dtype)
        return Graph(known.numbers, known.system, i, j, v, len(now.structures))


class _Snapshot(NamedTuple):
    """Structures at one moment, and the positions (N, 3) of all their atoms."""

    structures: list[Structure]
    positions: Floats

    @classmethod
    def of(cls, structures: Sequence[Structure]) -> "_Snapshot":
        return cls(list(structures), np.concatenate([structure.positions for structure in structures]))


class _Lists(NamedTuple):
    """Pairs within cutoff + skin of all structures; ``begins`` (S + 1,) says where those of each structure begin."""

    made: _Snapshot
    begins: Integers
    centers: NDArray[np.int32]
    neighbors: NDArray[np.int32]
    shifts: NDArray[np.int32]

    @classmethod
    def joined(cls, parts: Sequence[tuple[Structure, Pairs]], first: Integers) -> "_Lists":
        begins = np.cumsum([0, *(len(pairs) for _, pairs in parts)], dtype=np.int64)
        atom = np.repeat(first[:-1], np.diff(begins)).astype(np.int32)
        return cls(
            made=_Snapshot.of([structure for structure, _ in parts]),
            begins=begins,
            centers=np.concatenate([pairs.centers for _, pairs in parts]) + atom,
            neighbors=np.concatenate([pairs.neighbors for _, pairs in parts]) + atom,
            shifts=np.concatenate([pairs.shifts for _, pairs in parts]),
        )

    def part(self, k: int, first: Integers) -> tuple[Structure, Pairs]:
        """Return one structure, where its list was made, and the list."""
        own, atom = slice(self.begins[k], self.begins[k + 1]), np.int32(first[k])
        return self.made.structures[k], Pairs(self.centers[own] - atom, self.neighbors[own] - atom, self.shifts[own])


class _Place:
    """What is remembered of a batch: its atoms, where they were at the last call, and their lists if there are any."""

    def __init__(self, structures: Sequence[Structure], graph: Graph) -> None:
        self.last = _Snapshot.of(structures)
        self.lists: _Lists | None = None
        self.first = np.cumsum([0, *map(len, structures)], dtype=np.int64)
        self.numbers, self.system = graph.numbers, graph.system

    def holds(self, structures: Sequence[Structure]) -> bool:
        """Return whether these are the same atoms under the same boundary conditions."""
        before = self.last.structures
        return len(before) == len(structures) and all(
            _same(a.numbers, b.numbers) and _same(a.pbc, b.pbc) for a, b in zip(before, structures, strict=True)
        )


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a is b or np.array_equal(a, b)


def _strains(then: Sequence[Structure], now: Sequence[Structure]) -> tuple[Floats, Floats]:
    """Return the strains (S, 3, 3) and their smallest singular values (S,); 0 where a strain says nothing."""
    strains, shortest = _no_strains(len(now))
    changed = [k for k, (a, b) in enumerate(zip(then, now, strict=True)) if not _same(a.cell, b.cell) and a.pbc.any()]
    if changed:
        strains, shortest = strains.copy(), shortest.copy()
    for k in changed:
        shortest[k] = 0.0
        if now[k].is_periodic and abs(np.linalg.det(then[k].cell)) > 0:
            strains[k] = np.linalg.solve(then[k].cell, now[k].cell)
            shortest[k] = np.linalg.svd(strains[k], compute_uv=False)[-1] if np.isfinite(strains[k]).all() else 0.0
    return strains, shortest


@lru_cache(maxsize=64)
def _no_strains(n: int) -> tuple[Floats, Floats]:
    return np.tile(np.eye(3), (n, 1, 1)), np.ones(n)


def _made_again(*settings: Any) -> VerletGraphs:
    cutoff, skin, dtype, device = settings
    return VerletGraphs(cutoff, skin=skin, dtype=dtype, device=device)


_compiled = lru_cache(maxsize=8)(compiled)


def _far(
    then: Floats,
    now: Floats,
    first: Integers,
    strains: Floats,
    shortest: Floats,
    reach: float,
    cutoff: float,
) -> Integers:
    """Return the structures that a list of pairs within the reach, made then, does not serve now; with NaN, too."""
    far = np.zeros(len(shortest), np.bool_)
    for s in range(len(shortest)):
        slack, strain = (shortest[s] * reach - cutoff) / 2, strains[s]
        far[s] = not slack >= 0
        for a in range(first[s], first[s + 1]):
            x, y, z = then[a, 0], then[a, 1], then[a, 2]
            square = 0.0
            for k in range(3):
                moved = now[a, k] - (x * strain[0, k] + y * strain[1, k] + z * strain[2, k])
                square += moved * moved
            if not square <= slack * slack:
                far[s] = True
                break
    return np.flatnonzero(far)


def _within(  # noqa: PLR0913 - compiled functions take arrays
    positions: Floats,
    cells: Floats,
    begins: Integers,
    centers: NDArray[np.int32],
    neighbors: NDArray[np.int32],
    shifts: NDArray[np.int32],
    squared_cutoff: float,
    out_centers: Integers,
    out_neighbors: Integers,
    out_vectors: NDArray[np.floating],
) -> int:
    """Write the pairs whose vectors are shorter than the cutoff, in their order; return how many they are."""
    n = 0
    for s in range(len(begins) - 1):
        a, b, c = cells[3 * s], cells[3 * s + 1], cells[3 * s + 2]
        for p in range(begins[s], begins[s + 1]):
            i, j = centers[p], neighbors[p]
            x = positions[j, 0] - positions[i, 0]
            y = positions[j, 1] - positions[i, 1]
            z = positions[j, 2] - positions[i, 2]
            u, v, w = shifts[p, 0], shifts[p, 1], shifts[p, 2]
            if u != 0 or v != 0 or w != 0:
                x += u * a[0] + v * b[0] + w * c[0]
                y += u * a[1] + v * b[1] + w * c[1]
                z += u * a[2] + v * b[2] + w * c[2]
            if x * x + y * y + z * z < squared_cutoff:
                out_centers[n], out_neighbors[n] = i, j
                out_vectors[n, 0], out_vectors[n, 1], out_vectors[n, 2] = x, y, z
                n += 1
    return n
