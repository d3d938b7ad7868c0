"""Watch: sees from its geometry and energy when a system is no longer what it was at the start."""

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.neighbors import Edges, find_edges
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.dynamics.bonds import find_bonds, pair_name
from mlff_distiller.dynamics.failures import Fault, Limits

Floats = NDArray[np.float64]


class Watch:
    """What one system must keep: distance between its atoms, its bonds and its parts.

    Parts of it that are apart at the start may stay so, and only bonds of the start can break.

    Parameters
    ----------
    start : Structure
        The system at the start, N atoms.
    limits : Limits
        Bounds.

    Attributes
    ----------
    bonds : Bonds
        Covalent bonds of the start.

    Examples
    --------
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> watch = Watch(h2, Limits())
    >>> watch.fault(h2.positions) is None
    True
    >>> watch.fault(0.5 * h2.positions).reason
    'a hole in the potential: atoms H0-H1 are 0.370 Angstrom apart'
    >>> watch.fault(2 * h2.positions).reason
    'broken bond: atoms H0-H1 are 1.480 Angstrom apart, 2.39 times the sum of their covalent radii'
    """

    def __init__(self, start: Structure, limits: Limits) -> None:
        self._start, self._limits = start, limits
        self.bonds = find_bonds(start)
        self._n_parts, _ = self._parts(self._edges(start))

    def fault(self, positions: Floats) -> Fault | None:
        """Return what is wrong with a geometry (N, 3), not wrapped into the cell, Angstrom; None for nothing."""
        edges = self._edges(self._start.moved(positions))
        return self._collision(edges) or self._broken_bond(positions) or self._escape(edges, positions)

    def _edges(self, structure: Structure) -> Edges:
        periodic = bool(structure.pbc.any())
        reach = self._limits.min_distance if periodic else max(self._limits.escape_distance, self._limits.min_distance)
        return find_edges(structure, max(reach, 1e-3))

    def _collision(self, edges: Edges) -> Fault | None:
        if not len(edges):
            return None
        distances = np.linalg.norm(edges.vectors, axis=1)
        closest = int(distances.argmin())
        distance = float(distances[closest])
        if not distance < self._limits.min_distance:
            return None
        pair = (int(edges.centers[closest]), int(edges.neighbors[closest]))
        return Fault("hole", f"a hole in the potential: {self._apart(pair, distance)}", pair, distance)

    def _broken_bond(self, positions: Floats) -> Fault | None:
        if not len(self.bonds) or self._limits.max_bond_stretch is None:
            return None
        lengths = self.bonds.lengths(positions)
        stretch = lengths / self.bonds.covalent
        worst = int(stretch.argmax())
        if not stretch[worst] > self._limits.max_bond_stretch:
            return None
        pair, distance = (int(self.bonds.pairs[worst, 0]), int(self.bonds.pairs[worst, 1])), float(lengths[worst])
        times = f"{stretch[worst]:.2f} times the sum of their covalent radii"
        return Fault("broken bond", f"broken bond: {self._apart(pair, distance)}, {times}", pair, distance)

    def _escape(self, edges: Edges, positions: Floats) -> Fault | None:
        n_parts, members = self._parts(edges)
        if n_parts <= self._n_parts:
            return None
        pair, distance = _bridge(positions, members)
        apart = f"{n_parts} parts further apart than {self._limits.escape_distance:g} Angstrom, not {self._n_parts}"
        return Fault("escape", f"escape: {apart}", pair, distance)

    def _apart(self, pair: tuple[int, int], distance: float) -> str:
        return f"atoms {pair_name(self._start.numbers, pair)} are {distance:.3f} Angstrom apart"

    def _parts(self, edges: Edges) -> tuple[int, NDArray[np.int32]]:
        """Return how many parts further apart than the escape distance there are, and which one each atom is in."""
        n = len(self._start)
        whole = 1, np.zeros(n, dtype=np.int32)
        if self._start.pbc.any() or n == 1:
            return whole
        degrees: NDArray[np.int64] = np.bincount(edges.centers, minlength=n)
        if 2 * degrees.min() >= n - 1:  # two parts cannot both be that well connected: the usual case, and cheap
            return whole
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        links = coo_array((np.ones(len(edges)), (edges.centers, edges.neighbors)), shape=(n, n))
        count, members = connected_components(links, directed=False)
        return int(count), members


def _bridge(positions: Floats, members: NDArray[np.int32]) -> tuple[tuple[int, int], float]:
    """Return the pair across which the smallest part is nearest to the rest, the escaped atom first."""
    sizes = np.bincount(members)
    leaving = members == sizes.argmin()
    inside, outside = np.flatnonzero(leaving), np.flatnonzero(~leaving)
    distances = np.linalg.norm(positions[inside][:, None] - positions[outside], axis=-1)
    i, j = np.unravel_index(int(distances.argmin()), distances.shape)
    return (int(inside[i]), int(outside[j])), float(distances[i, j])
