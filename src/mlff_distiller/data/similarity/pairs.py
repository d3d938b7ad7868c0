"""Pairs of atoms of a whole block, as flat numpy arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.data.columns import Columns

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Directed pairs of the atoms of a block, sorted by center; every pair occurs in both directions.

    Attributes
    ----------
    centers, neighbors : (E,) int64
        Atoms, counted through the block.
    vectors : (E, 3) float64
        From center to neighbor, periodic image included, Angstrom.
    distances : (E,) float64
        Their lengths, Angstrom.
    """

    centers: Indices
    neighbors: Indices
    vectors: Floats
    distances: Floats

    def __len__(self) -> int:
        return len(self.centers)

    def where(self, chosen: NDArray[np.bool_] | Indices) -> "Pairs":
        """Return the chosen pairs: a mask (E,) or indices."""
        return Pairs(*(array[chosen] for array in vars(self).values()))


def find_pairs(columns: Columns, cutoff: float) -> Pairs:
    """Return all pairs of atoms of the same structure closer than ``cutoff`` (Angstrom), all images included.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> cubic = Structure([14], [[0, 0, 0]], cell=3 * np.eye(3), pbc=True)
    >>> np.bincount(find_pairs(pack([0, 1], [h2, cubic]), 3.5).centers).tolist()
    [1, 1, 6]
    """
    import torch  # heavy, and not needed to import this package

    from mlff_distiller.atoms.batch_neighbors import find_batch_edges

    a = columns.arrays
    positions = torch.from_numpy(np.array(a["positions"], dtype=np.float64))
    edges = find_batch_edges(
        positions, np.diff(a["offsets"]), cells=a["cells"], pbc=a["pbc"] != 0, cutoff=cutoff
    )  # on the CPU: tensors share their memory with numpy
    vectors = edges.vectors.numpy()
    return Pairs(edges.centers.numpy(), edges.neighbors.numpy(), vectors, np.linalg.norm(vectors, axis=1))
