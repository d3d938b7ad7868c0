"""Neighbor lists: every pair within a cutoff, all periodic images included (vesin)."""

from dataclasses import dataclass
from functools import lru_cache
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
    if max(np.ptp(structure.positions, axis=0).max(), np.abs(structure.cell).max()) > LARGEST_A:
        raise StructureError(
            f"{structure.formula}: atoms or cell vectors span more than {LARGEST_A:,.0f} Angstrom, which no neighbor "
            "list can hold; check the structure"
        )
    i, j, vectors = _lister(cutoff).compute(
        points=structure.positions, box=structure.cell, periodic=structure.pbc, quantities="ijD"
    )
    return Edges(i.astype(np.int64), j.astype(np.int64), vectors)


@lru_cache(maxsize=16)
def _lister(cutoff: float) -> Any:
    from vesin import NeighborList  # loads torch

    return NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=1)
