"""GraphCache: all structures of a data set behind each other with their edges; a batch is a gather."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.labels import OF_ATOMS
from mlff_distiller.atoms.neighbors import Edges, find_edges
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.loading.batch import Batch, UnlinkedBatch
from mlff_distiller.data.source import Source

Rows = NDArray[np.int64]


class GraphCache:
    """Neighbors are searched once; about 20 bytes for each edge and 60 for each atom in float32.

    Parameters
    ----------
    source : Source
        Structures and labels; all of them are read.
    cutoff : float
        Radius of the neighbor list, Angstrom.
    dtype : torch.dtype
        Of edge vectors, forces, stress and volumes.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> two = pack([0, 1], [Structure([2], [[0, 0, 0]]), Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])])
    >>> GraphCache(two, 5.0, torch.float32).batch(np.array([1, 1])).graph.centers.tolist()
    [0, 1, 2, 3]
    """

    def __init__(self, source: Source, cutoff: float, dtype: torch.dtype) -> None:
        columns = source.take(np.arange(len(source)))
        everything = UnlinkedBatch.from_columns(columns, dtype, of=source)
        self._numbers, self._labels = everything.numbers, everything.labels
        self._atoms = _Ragged(columns.sizes)
        parts = [_compact(edges, dtype) for edges in _searched(columns, cutoff)]
        self._edges = _Ragged(np.array([len(centers) for centers, _, _ in parts], dtype=np.int64))
        self._centers, self._neighbors, self._vectors = (torch.cat(each) for each in zip(*parts, strict=True))

    @property
    def n_edges(self) -> NDArray[np.int32]:
        """Edges of each structure (S,)."""
        return self._edges.sizes.numpy().astype(np.int32)

    def batch(self, rows: Rows) -> Batch:
        """Gather the structures of the given rows."""
        chosen = torch.from_numpy(rows)
        atoms, n_atoms, first = self._atoms.gather(chosen)
        edges, n_edges, _ = self._edges.gather(chosen)
        shift = torch.repeat_interleave(first, n_edges, output_size=len(edges))
        graph = Graph(
            numbers=self._numbers[atoms],
            system=torch.repeat_interleave(n_atoms, output_size=len(atoms)),
            centers=self._centers[edges] + shift,
            neighbors=self._neighbors[edges] + shift,
            vectors=self._vectors[edges],
            n_systems=len(rows),
        )
        labels = {name: value[atoms if name in OF_ATOMS else chosen] for name, value in self._labels.items()}
        return Batch(graph=graph, **labels)


class _Ragged:
    """Where the items of each row lie in a flat array."""

    def __init__(self, sizes: Rows) -> None:
        self.sizes = torch.from_numpy(sizes)
        self.first = self.sizes.cumsum(0) - self.sizes

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return flat indices of the items of rows, their counts, and where each row begins in the result."""
        sizes = self.sizes[rows]
        ends = sizes.cumsum(0)
        total, begins = int(sizes.sum()), ends - sizes
        shift = torch.repeat_interleave(self.first[rows] - begins, sizes, output_size=total)
        return shift + torch.arange(total), sizes, begins


def _searched(columns: Columns, cutoff: float) -> Iterator[Edges]:
    return (find_edges(columns.structure(row), cutoff) for row in range(len(columns)))


def _compact(edges: Edges, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return edges as they are kept: within its structure an atom's index is small, half the memory of int64."""
    centers, neighbors, vectors = (torch.from_numpy(a) for a in (edges.centers, edges.neighbors, edges.vectors))
    return centers.to(torch.int32), neighbors.to(torch.int32), vectors.to(dtype)
