"""Neighbor lists on a GPU, by the package nvalchemi-toolkit-ops where it is installed."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlff_distiller.atoms.batch_neighbors import BatchEdges, Floats, Integers, _check_spans, find_batch_edges
from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure


@cache
def is_installed() -> bool:
    """Return whether the package is there (extra ``gpu``)."""
    return find_spec("nvalchemiops") is not None


class DeviceGraphs:
    """Makes the graphs of :meth:`Graph.from_structures` on a GPU, where the positions go and the edges stay.

    Parameters
    ----------
    cutoff : float
        Angstrom.
    dtype, device : optional
        Of the edge vectors.

    Examples
    --------
    >>> graphs = DeviceGraphs(5.0, device="cpu")
    >>> graphs.graph([Structure([1, 1], [[0, 0, 0], [0, 0, 0.5]])]).vectors.tolist()
    [[0.0, 0.0, 0.5], [0.0, 0.0, -0.5]]
    """

    def __init__(
        self, cutoff: float, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cuda"
    ) -> None:
        self.cutoff, self.dtype, self.device = float(cutoff), dtype, torch.device(device)

    def graph(self, structures: Sequence[Structure], *, place: int = 0) -> Graph:
        """Return the graph of a batch of at least one structure; ``place`` is that of ``VerletGraphs`` and unused.

        Raises
        ------
        StructureError
            As :func:`find_device_edges` does.
        """
        sizes = np.array([len(structure) for structure in structures])
        system = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(self.device)
        edges = find_device_edges(
            torch.from_numpy(np.concatenate([structure.positions for structure in structures])).to(self.device),
            sizes,
            cells=np.stack([structure.cell for structure in structures]),
            pbc=np.stack([structure.pbc for structure in structures]),
            cutoff=self.cutoff,
        )
        numbers = torch.from_numpy(np.concatenate([structure.numbers for structure in structures])).to(self.device)
        return Graph(numbers, system, edges.centers, edges.neighbors, edges.vectors.to(self.dtype), len(sizes))


def find_device_edges(positions: Tensor, sizes: Integers, *, cells: Floats, pbc: Any, cutoff: float) -> BatchEdges:
    """Return all pairs of atoms of the same structure closer than ``cutoff`` (Angstrom), sorted by center.

    The pairs of :func:`~mlff_distiller.atoms.batch_neighbors.find_batch_edges`, which does the work on other devices
    and where the package is missing. On a GPU that one looks at all pairs of a structure, and hands large structures
    to the CPU; this one has cell lists, and the positions stay where they are.

    Parameters
    ----------
    positions : (N, 3) float64
        Atoms of all structures behind each other, Angstrom; the edges are found on their device.
    sizes : (S,) int64
        Atoms of each structure, one at least.
    cells : (S, 3, 3)
        Cell vectors as rows, Angstrom, on the host.
    pbc : (S, 3)
        Which cell vectors are periodic.
    cutoff : float
        Angstrom.

    Raises
    ------
    StructureError
        If the atoms or cell vectors of a structure span more than a neighbor list can hold.

    Examples
    --------
    >>> pair = torch.tensor([[0, 0, 0], [0, 0, 0.7]], dtype=torch.float64)
    >>> edges = find_device_edges(pair, np.array([2]), cells=np.zeros((1, 3, 3)), pbc=np.zeros((1, 3)), cutoff=5.0)
    >>> edges.centers.tolist(), edges.neighbors.tolist()
    ([0, 1], [1, 0])
    """
    find = cell_list_edges if positions.is_cuda and is_installed() else find_batch_edges
    return find(positions, sizes, cells=cells, pbc=pbc, cutoff=cutoff)


def cell_list_edges(positions: Tensor, sizes: Integers, *, cells: Floats, pbc: Any, cutoff: float) -> BatchEdges:
    """Return the same pairs by nvalchemi-toolkit-ops, on any device; see :func:`find_device_edges`."""
    from nvalchemiops.torch.neighbors import NeighborOverflowError, neighbor_list

    first, periodic = np.concatenate([[0], np.cumsum(sizes)]), np.asarray(pbc, dtype=bool)
    _check_spans(positions, first, cells)
    device = positions.device
    boxes = torch.from_numpy(_completed(cells, periodic)).to(device)
    geometry = {
        "cell": boxes,
        "pbc": torch.from_numpy(periodic).to(device),
        "batch_ptr": torch.from_numpy(first.astype(np.int32)).to(device),
        "return_neighbor_list": True,
    }
    try:
        pairs, _, images = neighbor_list(positions, cutoff, **geometry)
    except NeighborOverflowError as error:  # denser than matter usually is, and counted to the end
        pairs, _, images = neighbor_list(positions, cutoff, **geometry, max_neighbors=int(error.num_neighbors))
    centers, neighbors = pairs.long().unbind()
    systems = torch.repeat_interleave(torch.from_numpy(sizes).to(device), output_size=len(positions))
    shifts = (images.to(boxes).unsqueeze(1) @ boxes[systems[centers]]).squeeze(1)
    return BatchEdges(centers, neighbors, positions[neighbors] - positions[centers] + shifts)


def _completed(cells: Floats, pbc: np.ndarray[Any, np.dtype[np.bool_]]) -> Floats:
    """Return cells whose vectors without periodicity, which may be zero, stand upright on the others."""
    cells = np.array(cells, dtype=np.float64)
    for cell, periodic in zip(cells, pbc, strict=True):
        if not periodic.all():
            *_, axes = np.linalg.svd(cell[periodic], full_matrices=True) if periodic.any() else (np.eye(3),)
            cell[~periodic] = axes[periodic.sum() :]
    return cells
