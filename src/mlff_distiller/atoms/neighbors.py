"""Neighbor lists: every pair within a cutoff, all periodic images included (vesin)."""

from dataclasses import dataclass
from functools import lru_cache
from threading import get_ident
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import StructureError

LARGEST_A = 1e5
"""Structures that span more than this, Angstrom, are refused."""


@dataclass(frozen=True, eq=False)
class Edges:
    """Directed pairs sorted by center; every pair occurs in both directions.

    Attributes
    ----------
    centers, neighbors : (E,) int64
        Atom indices.
    vectors : (E, 3) float64
        From center to neighbor, periodic image included, Angstrom.
    """

    centers: NDArray[np.int64]
    neighbors: NDArray[np.int64]
    vectors: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.centers)


def find_edges(structure: Structure, cutoff: float) -> Edges:
    """Return all pairs of atoms closer than ``cutoff`` (Angstrom).

    Right for molecules, cells smaller than the cutoff (an atom is then its own neighbor through the boundary),
    triclinic cells, mixed boundary conditions and atoms outside the cell.

    Raises
    ------
    StructureError
        If the atoms are so far apart that vesin would end the process.

    Examples
    --------
    >>> edges = find_edges(Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]]), 5.0)
    >>> edges.centers.tolist(), edges.neighbors.tolist()
    ([0, 1], [1, 0])
    """
    i, j, vectors = _computed(structure, cutoff, "ijD")
    return Edges(i.astype(np.int64), j.astype(np.int64), vectors)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Directed pairs sorted by center, by the periodic image they meet in; for positions that change.

    Attributes
    ----------
    centers, neighbors : (P,) int32
        Atom indices.
    shifts : (P, 3) int32
        Whole cell vectors added to the neighbor: the vector of a pair is r(neighbor) - r(center) + shifts @ cell.
    """

    centers: NDArray[np.int32]
    neighbors: NDArray[np.int32]
    shifts: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.centers)


def find_pairs(structure: Structure, cutoff: float) -> Pairs:
    """Return the pairs of :func:`find_edges` as atoms and images instead of vectors.

    Raises
    ------
    StructureError
        As :func:`find_edges` does.

    Examples
    --------
    >>> pairs = find_pairs(Structure([18], [[0, 0, 0]], cell=[[2, 0, 0], [0, 9, 0], [0, 0, 9]], pbc=True), 3.0)
    >>> sorted(pairs.shifts.tolist())
    [[-1, 0, 0], [1, 0, 0]]
    """
    i, j, shifts = _computed(structure, cutoff, "ijS")
    return Pairs(i.astype(np.int32), j.astype(np.int32), shifts)


def _computed(structure: Structure, cutoff: float, quantities: str) -> Any:
    if max(np.ptp(structure.positions, axis=0).max(), np.abs(structure.cell).max()) > LARGEST_A:
        raise StructureError(
            f"{structure.formula}: atoms or cell vectors span more than {LARGEST_A:,.0f} Angstrom, which no neighbor "
            "list can hold; check the structure"
        )
    return _lister(cutoff, get_ident()).compute(
        points=structure.positions, box=structure.cell, periodic=structure.pbc, quantities=quantities
    )


@lru_cache(maxsize=16)
def _lister(cutoff: float, thread: int) -> Any:
    """Return the lister of a thread: it keeps its answer in memory of its own while other threads run."""
    from vesin import NeighborList  # loads torch

    return NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=1)
