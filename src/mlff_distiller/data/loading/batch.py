"""Batch: a graph of several structures with their labels, and what it is before its neighbors are known."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlff_distiller.atoms.batch_neighbors import find_batch_edges
from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.labels import HESSIAN, together
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.schema import BITS, COLUMNS, REFERENCE
from mlff_distiller.data.source import Source

Known = NDArray[np.bool_]

TRAINED_ON: Final = ("energy", "forces", "stress", "atomic_energies", "hessian_products", "embeddings")
"""Properties that a batch carries."""

READ: Final = frozenset({"numbers", "positions", "cells", "pbc", "mask"}) | together(TRAINED_ON)
"""Arrays that a batch is made of."""

_ALWAYS: Final = frozenset({"energy", "forces", "stress"})  # there with zeros, if need be
_ENERGIES: Final = ("energy", "atomic_energies")  # large numbers, of which differences are of interest
_HAS: Final = dict.fromkeys(HESSIAN, "has_hessian")

T = TypeVar("T", bound="Graph | Batch | UnlinkedBatch")


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
    is_reference : (S,) bool
        Whether the labels are of a reference method, beside those of the teacher.
    atomic_energies : (N,) float64 or None
        Energies of atoms, eV; None in data without any.
    hessian_directions, hessian_products : (N, K, 3) or None
        Displacements, and the Hessians times these, eV/Angstrom^2; None in data without any.
    embeddings : (N, D) or None
        Features of atoms as the teacher sees them; None in data without any.
    has_atomic_energies, has_hessian, has_embeddings : (S,) bool or None
        As the others; None with the labels.
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
    is_reference: Tensor
    atomic_energies: Tensor | None = None
    has_atomic_energies: Tensor | None = None
    hessian_directions: Tensor | None = None
    hessian_products: Tensor | None = None
    has_hessian: Tensor | None = None
    embeddings: Tensor | None = None
    has_embeddings: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return _portable(vars(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(_restored(state))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """Return the batch on a device; with ``non_blocking`` the copy of pinned memory runs beside other work."""
        return _each(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory, from which copies to a GPU are fastest."""
        return _each(self, Tensor.pin_memory)


@dataclass(frozen=True, eq=False)
class UnlinkedBatch:
    """A batch whose neighbors are not known yet; :meth:`link` finds them where the positions lie.

    Attributes
    ----------
    numbers, system : (N,) int64
        Atomic numbers, and which structure an atom belongs to.
    positions : (N, 3) float64
        Angstrom.
    labels : dict of str to Tensor
        All fields of :class:`Batch` but the graph.
    sizes : (S,) int64
        Atoms of each structure, on the host.
    cells, pbc : (S, 3, 3) and (S, 3)
        On the host.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> columns = pack([0], [Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])])
    >>> UnlinkedBatch.from_columns(columns, torch.float32).link(5.0).graph.centers.tolist()
    [0, 1]
    """

    numbers: Tensor
    system: Tensor
    positions: Tensor
    labels: dict[str, Tensor]
    sizes: NDArray[np.int64]
    cells: NDArray[np.float64]
    pbc: NDArray[np.uint8]

    @classmethod
    def from_columns(cls, columns: Columns, dtype: torch.dtype, *, of: Source | None = None) -> "UnlinkedBatch":
        """Return the structures and labels of columns.

        Parameters
        ----------
        columns : Columns
            Some structures.
        dtype : torch.dtype
            Of everything but energies.
        of : Source, optional
            What they are taken from: the batch carries what is known of any structure in it. The columns themselves
            unless given.
        """
        arrays, sizes = columns.arrays, columns.sizes
        n_atoms = torch.from_numpy(sizes)
        return cls(
            numbers=torch.from_numpy(arrays["numbers"].astype(np.int64)),
            system=torch.repeat_interleave(n_atoms, output_size=columns.n_atoms),
            positions=torch.from_numpy(arrays["positions"]),
            labels={"n_atoms": n_atoms.to(torch.float64), **_labels(columns, dtype, of or columns)},
            sizes=sizes,
            cells=arrays["cells"],
            pbc=arrays["pbc"],
        )

    @property
    def dtype(self) -> torch.dtype:
        """Precision of edge vectors, forces, stress and volumes."""
        return self.labels["forces"].dtype

    def link(self, cutoff: float) -> Batch:
        """Find all pairs closer than ``cutoff`` (Angstrom), in float64, and return the batch."""
        edges = find_batch_edges(self.positions, self.sizes, cells=self.cells, pbc=self.pbc, cutoff=cutoff)
        graph = Graph(
            numbers=self.numbers,
            system=self.system,
            centers=edges.centers,
            neighbors=edges.neighbors,
            vectors=edges.vectors.to(self.dtype),
            n_systems=len(self.sizes),
        )
        return Batch(graph=graph, **self.labels)

    def __getstate__(self) -> dict[str, Any]:
        return _portable(vars(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(_restored(state))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "UnlinkedBatch":
        """Return the batch on a device."""
        return _each(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "UnlinkedBatch":
        """Return the batch in page-locked memory, from which copies to a GPU are fastest."""
        return _each(self, Tensor.pin_memory)


def _labels(columns: Columns, dtype: torch.dtype, of: Source) -> dict[str, Tensor]:
    arrays, carried = columns.arrays, _ALWAYS | (together(TRAINED_ON) & frozenset(of.properties))
    periodic = np.asarray(arrays["pbc"].all(axis=1))
    cells = np.where(periodic[:, None, None], arrays["cells"], np.eye(3))
    found = {
        "volumes": torch.from_numpy(np.abs(np.linalg.det(cells))).to(dtype),
        "is_reference": torch.from_numpy(arrays["mask"] & REFERENCE != 0),
    }
    for column in COLUMNS:
        if column.name not in carried:
            continue
        known = np.asarray(arrays["mask"] & BITS[column.name] != 0)
        found[_HAS.get(column.name, f"has_{column.name}")] = torch.from_numpy(known)
        rows = np.repeat(known, columns.sizes) if column.axis == "atom" else known
        values = _filled(arrays.get(column.name), rows, column.inner(of.widths))
        found[column.name] = values if column.name in _ENERGIES else values.to(dtype)
    return found


def _filled(values: Any, known: Known, shape: tuple[int, ...]) -> Tensor:
    """Return values, zero where they are not known."""
    if values is None:
        return torch.zeros(len(known), *shape, dtype=torch.float64)
    if known.all():
        return torch.from_numpy(values)
    return torch.from_numpy(np.where(known.reshape(-1, *(1 for _ in shape)), values, 0.0))


def _each(batch: T, change: Callable[[Tensor], Tensor]) -> T:
    """Return the same batch with every tensor changed."""
    changed: T = _swapped(batch, Tensor, change)
    return changed


def _portable(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a batch for another process: torch would open a file and a socket for each tensor."""
    return {name: _swapped(value, Tensor, lambda x: _Array(x.cpu().numpy())) for name, value in state.items()}


def _restored(state: dict[str, Any]) -> dict[str, Any]:
    return {name: _swapped(value, _Array, lambda x: torch.from_numpy(x.values)) for name, value in state.items()}


class _Array(NamedTuple):
    """The values of a tensor on the way between processes."""

    values: NDArray[Any]


def _swapped(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """Return a value with everything of a kind inside it changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {name: _swapped(inner, kind, change) for name, inner in value.items()}
    if isinstance(value, Graph | Batch | UnlinkedBatch):
        return replace(value, **{f.name: _swapped(getattr(value, f.name), kind, change) for f in fields(value)})
    return value
