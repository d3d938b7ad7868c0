"""GraphLoader: training batches, gathered from flat tensors in an order that can be resumed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.neighbors import find_edges
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.randomness import generator

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Batch:
    """A graph of S structures (N atoms in all) with their labels.

    Attributes
    ----------
    graph : Graph
        What a student sees.
    n_atoms : (S,) float64
        Atoms of each structure, ready to divide by.
    energy : (S,) float64
        Total energies, eV.
    forces : (N, 3)
        eV/Angstrom.
    stress : (S, 3, 3)
        eV/Angstrom^3, tension positive.
    volumes : (S,)
        Cell volumes, Angstrom^3; 1 for structures that are not periodic in three directions.
    has_energy, has_forces, has_stress : (S,) bool
        Whether a structure has that label; where it has not, the value is zero and means nothing.
    """

    graph: Graph
    n_atoms: Tensor
    energy: Tensor
    forces: Tensor
    stress: Tensor
    volumes: Tensor
    has_energy: Tensor
    has_forces: Tensor
    has_stress: Tensor


class GraphLoader:
    """Batches of graphs and labels for training and evaluation.

    Neighbors are searched once; batches are then gathered from flat tensors.

    Parameters
    ----------
    structures : sequence of Structure
        What to train on.
    labels : sequence of Labels
        One for each structure.
    cutoff : float
        Radius of the neighbor list, Angstrom.
    batch_size : int
        Structures in a batch.
    seed : int
        Seed of the order.
    dtype : torch.dtype
        Of edge vectors, forces, stress and volumes.
    shuffle : bool
        Draw a new order for every epoch; otherwise the given order.
    drop_last : bool
        Leave out the last batch of an epoch where it is smaller than the others (unless it is the only one).

    Raises
    ------
    DataError
        If there are no structures, or not one label for each.

    Examples
    --------
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> loader = GraphLoader([h2] * 5, [Labels(energy=-26.0)] * 5, cutoff=5.0, batch_size=2, seed=0)
    >>> [batch.graph.n_systems for batch in loader.batches(epoch=0)]
    [2, 2, 1]
    """

    def __init__(  # noqa: PLR0913 - each is a setting of the loader
        self,
        structures: Sequence[Structure],
        labels: Sequence[Labels],
        *,
        cutoff: float,
        batch_size: int,
        seed: int,
        dtype: torch.dtype = torch.float32,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        if not structures or len(structures) != len(labels):
            raise DataError(f"{len(structures)} structures and {len(labels)} labels: a loader needs at least one pair")
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self._flat = _Flat(structures, labels, cutoff, dtype)
        full, rest = divmod(len(structures), batch_size)
        self.n_batches = full + bool(rest and not (drop_last and full))

    def __len__(self) -> int:
        return len(self._flat)

    @property
    def properties(self) -> frozenset[str]:
        """What at least one structure is labeled with, of energy, forces and stress."""
        masks = {"energy": self._flat.has_energy, "forces": self._flat.has_forces, "stress": self._flat.has_stress}
        return frozenset(name for name, mask in masks.items() if mask.any())

    def batches(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from batch ``start`` on; their order depends on seed and epoch alone."""
        order = generator(self.seed, "loader", epoch).permutation(len(self)) if self.shuffle else np.arange(len(self))
        return self._gathered(order, start, self.n_batches)

    def all_in_order(self) -> Iterator[Batch]:
        """Yield every structure once, in the given order, for evaluation."""
        return self._gathered(np.arange(len(self)), 0, -(-len(self) // self.batch_size))

    def _gathered(self, order: NDArray[np.int64], start: int, stop: int) -> Iterator[Batch]:
        rows = torch.from_numpy(order)
        for number in range(start, stop):
            yield self._flat.batch(rows[number * self.batch_size : (number + 1) * self.batch_size])


class _Flat:
    """All structures behind each other; a batch is a gather."""

    def __init__(
        self, structures: Sequence[Structure], labels: Sequence[Labels], cutoff: float, dtype: torch.dtype
    ) -> None:
        edges = [find_edges(structure, cutoff) for structure in structures]
        self.atoms = _Ragged([len(s) for s in structures])
        self.edges = _Ragged([len(e) for e in edges])
        self.numbers = torch.from_numpy(np.concatenate([s.numbers for s in structures]))
        # Within its structure an atom's index is small: half the memory of int64.
        self.centers = torch.from_numpy(np.concatenate([e.centers for e in edges])).to(torch.int32)
        self.neighbors = torch.from_numpy(np.concatenate([e.neighbors for e in edges])).to(torch.int32)
        self.vectors = torch.cat([torch.from_numpy(e.vectors).to(dtype) for e in edges])
        self.n_atoms = self.atoms.sizes.to(torch.float64)
        volumes = [s.volume if s.is_periodic else 1.0 for s in structures]
        self.volumes = torch.tensor(volumes, dtype=torch.float64).to(dtype)
        self._set_labels(structures, labels, dtype)

    def _set_labels(self, structures: Sequence[Structure], labels: Sequence[Labels], dtype: torch.dtype) -> None:
        pairs = list(zip(structures, labels, strict=True))
        energy = [0.0 if label.energy is None else label.energy for label in labels]
        forces = [np.zeros((len(s), 3)) if label.forces is None else label.forces for s, label in pairs]
        stress = [np.zeros((3, 3)) if label.stress is None else label.stress for label in labels]
        self.energy = torch.tensor(energy, dtype=torch.float64)
        self.forces = torch.from_numpy(np.concatenate(forces)).to(dtype)
        self.stress = torch.from_numpy(np.array(stress)).to(dtype)
        self.has_energy = _mask(labels, lambda label: label.energy is not None)
        self.has_forces = _mask(labels, lambda label: label.forces is not None)
        self.has_stress = _mask(labels, lambda label: label.stress is not None)

    def __len__(self) -> int:
        return len(self.energy)

    def batch(self, rows: Tensor) -> Batch:
        """Gather the structures of the given rows."""
        atoms, n_atoms, first = self.atoms.gather(rows)
        edges, n_edges, _ = self.edges.gather(rows)
        shift = torch.repeat_interleave(first, n_edges, output_size=len(edges))
        graph = Graph(
            numbers=self.numbers[atoms],
            system=torch.repeat_interleave(n_atoms, output_size=len(atoms)),
            centers=self.centers[edges] + shift,
            neighbors=self.neighbors[edges] + shift,
            vectors=self.vectors[edges],
            n_systems=len(rows),
        )
        return Batch(
            graph=graph,
            n_atoms=self.n_atoms[rows],
            energy=self.energy[rows],
            forces=self.forces[atoms],
            stress=self.stress[rows],
            volumes=self.volumes[rows],
            has_energy=self.has_energy[rows],
            has_forces=self.has_forces[rows],
            has_stress=self.has_stress[rows],
        )


class _Ragged:
    """Where the items of each row lie in a flat array."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = torch.tensor(sizes, dtype=torch.int64)
        self.first = self.sizes.cumsum(0) - self.sizes

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return flat indices of the items of rows, their counts, and where each row begins in the result."""
        sizes = self.sizes[rows]
        ends = sizes.cumsum(0)
        total, begins = int(ends[-1]), ends - sizes
        shift = torch.repeat_interleave(self.first[rows] - begins, sizes, output_size=total)
        return shift + torch.arange(total), sizes, begins


def _mask(labels: Sequence[Labels], has: Callable[[Labels], bool]) -> Tensor:
    return torch.tensor([has(label) for label in labels], dtype=torch.bool)
