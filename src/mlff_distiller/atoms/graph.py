"""Graph: a batch of structures as torch tensors, the only thing a student sees."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mlff_distiller.atoms.neighbors import Edges, find_edges
from mlff_distiller.atoms.structure import Structure


@dataclass(frozen=True, eq=False)
class Graph:
    """A batch of S structures with N atoms and E edges in all.

    Geometry enters through the edge vectors alone: energies that are a function of them are invariant under
    translation, right for every periodic image, and both forces and stress are gradients with respect to them.

    Attributes
    ----------
    numbers : (N,) int64
        Atomic numbers.
    system : (N,) int64
        Which structure an atom belongs to, ascending.
    centers, neighbors : (E,) int64
        Atoms of each directed pair, sorted by center.
    vectors : (E, 3) float
        From center to neighbor, Angstrom.
    n_systems : int
        S.
    """

    numbers: Tensor
    system: Tensor
    centers: Tensor
    neighbors: Tensor
    vectors: Tensor
    n_systems: int

    @property
    def n_atoms(self) -> int:
        """N, the number of atoms in the batch."""
        return self.numbers.shape[0]  # len() would make a traced step hold for this number alone

    def with_vectors(self, vectors: Tensor) -> "Graph":
        """Return the same graph with other edge vectors (E, 3)."""
        return replace(self, vectors=vectors)

    @classmethod
    def from_structures(
        cls,
        structures: Sequence[Structure],
        cutoff: float,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "Graph":
        """Find the neighbors of all structures and batch them.

        Edge vectors are formed in float64 and rounded once.

        Examples
        --------
        >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
        >>> graph = Graph.from_structures([h2, h2], cutoff=5.0)
        >>> graph.centers.tolist(), graph.system.tolist()
        ([0, 1, 2, 3], [0, 0, 1, 1])
        """
        edges = [find_edges(structure, cutoff) for structure in structures]
        numbers = [structure.numbers for structure in structures]
        return cls.from_edges(numbers, edges, dtype=dtype, device=device)

    @classmethod
    def from_edges(
        cls,
        numbers: Sequence[np.ndarray[tuple[int], np.dtype[np.int64]]],
        edges: Sequence[Edges],
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "Graph":
        """Batch structures whose edges are known already."""
        sizes = np.array([len(z) for z in numbers])
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        shift = np.repeat(first, [len(e) for e in edges])
        return cls(
            numbers=torch.from_numpy(np.concatenate(numbers)).to(device),
            system=torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(device),
            centers=torch.from_numpy(np.concatenate([e.centers for e in edges]) + shift).to(device),
            neighbors=torch.from_numpy(np.concatenate([e.neighbors for e in edges]) + shift).to(device),
            vectors=torch.from_numpy(np.concatenate([e.vectors for e in edges])).to(device=device, dtype=dtype),
            n_systems=len(sizes),
        )
