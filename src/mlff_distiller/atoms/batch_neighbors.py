"""Neighbor lists of a whole batch at once, in torch on any device."""

from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlff_distiller.atoms.neighbors import LARGEST_A, find_edges
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import StructureError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LARGEST_DENSE: Final = {"cpu": 1 << 12, "other": 1 << 22}
"""Structures with more candidate pairs than this go to a cell list on the CPU, which is faster for them."""

_CHUNK: Final = {"cpu": 1 << 18, "other": 1 << 24}  # candidate pairs looked at together, about 100 bytes each


class BatchEdges(NamedTuple):
    """Directed pairs of a batch, sorted by center; atoms are numbered through the batch.

    Attributes
    ----------
    centers, neighbors : (E,) int64
        Atoms of each pair.
    vectors : (E, 3) float64
        From center to neighbor, periodic image included, Angstrom.
    """

    centers: Tensor
    neighbors: Tensor
    vectors: Tensor


def find_batch_edges(positions: Tensor, sizes: Integers, *, cells: Floats, pbc: Any, cutoff: float) -> BatchEdges:
    """Return all pairs of atoms of the same structure closer than ``cutoff`` (Angstrom).

    The pairs of :func:`~mlff_distiller.atoms.neighbors.find_edges`, for many small structures in one go: all pairs
    within each structure, at their nearest fractional image and the images around it that the cutoff can reach. Right
    for the same hard cases; large structures are handed to ``find_edges`` one by one, so memory is bounded.

    Parameters
    ----------
    positions : (N, 3) float64
        Atoms of all structures behind each other, Angstrom; the edges are found on their device.
    sizes : (S,) int64
        Atoms of each structure.
    cells : (S, 3, 3)
        Cell vectors as rows, Angstrom; on the host, as are the sizes, so that shapes are known without waiting.
    pbc : (S, 3)
        Which cell vectors are periodic.
    cutoff : float
        Angstrom.

    Raises
    ------
    StructureError
        If the atoms or cell vectors of a structure span more than ``find_edges`` takes.

    Examples
    --------
    >>> molecules = torch.tensor([[0, 0, 0], [0, 0, 0.7], [0, 0, 0.1], [0, 0, 9.0]], dtype=torch.float64)
    >>> none = np.zeros((2, 3, 3))
    >>> edges = find_batch_edges(molecules, np.array([2, 2]), cells=none, pbc=np.zeros((2, 3)), cutoff=5.0)
    >>> edges.centers.tolist(), edges.neighbors.tolist()
    ([0, 1], [1, 0])
    """
    boxes = _Boxes(cells, np.asarray(pbc, dtype=bool), cutoff)
    n_candidates = sizes**2 * boxes.n_images
    where = "cpu" if positions.device.type == "cpu" else "other"
    first = np.concatenate([[0], np.cumsum(sizes)])
    _check_spans(positions, first, cells)
    found = []
    for begin, end in _groups(n_candidates, _CHUNK[where], LARGEST_DENSE[where]):
        own = positions[first[begin] : first[end]]
        if (n_candidates[begin:end] > LARGEST_DENSE[where]).any():  # one that stands alone; there may be none at all
            edges = _from_cell_list(own, cells[begin], boxes.pbc[begin], cutoff)
        else:
            edges = _dense(own, sizes[begin:end], boxes.part(begin, end), cutoff)
        found.append(BatchEdges(edges.centers + first[begin], edges.neighbors + first[begin], edges.vectors))
    if len(found) == 1:
        return found[0]
    return BatchEdges(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _check_spans(positions: Tensor, first: Integers, cells: Floats) -> None:
    """Refuse what ``find_edges`` refuses; structures are looked at one by one only if all together span that much."""
    if not len(positions) or float((positions.amax(0) - positions.amin(0)).max()) <= LARGEST_A >= np.abs(cells).max():
        return
    points = positions.cpu().numpy()
    for k, cell in enumerate(cells):
        own = points[first[k] : first[k + 1]]
        if max(np.ptp(own, axis=0).max(), np.abs(cell).max()) > LARGEST_A:
            raise StructureError(
                f"structure {k} of the batch: atoms or cell vectors span more than {LARGEST_A:,.0f} Angstrom, which "
                "no neighbor list can hold; check the structure"
            )


class _Boxes:
    """The periodic directions of S cells, and how many images of a pair lie within the cutoff.

    A pair is first moved to the image where each periodic fractional coordinate of its vector lies in [-1/2, 1/2]. An
    image n cells further along direction a is at least (n - 1/2) times the height of the cell along a away.
    """

    def __init__(self, cells: Floats, pbc: NDArray[np.bool_], cutoff: float) -> None:
        self.cells, self.pbc = np.where(pbc[:, :, None], cells, 0.0), pbc
        self.inverses = np.zeros_like(self.cells)  # columns: gradients of the fractional coordinates
        periodic = pbc.any(1)
        if periodic.any():
            self.inverses[periodic] = np.linalg.pinv(self.cells[periodic], rcond=1e-9)
        reach = cutoff * np.linalg.norm(self.inverses, axis=1) - 0.5
        self.n_around = np.maximum(0, np.ceil(reach)).astype(np.int64)
        self.n_images = np.prod(2 * self.n_around + 1, axis=1)

    def part(self, begin: int, end: int) -> "_Boxes":
        """Return the boxes of some structures."""
        part = object.__new__(_Boxes)
        part.__dict__ = {name: array[begin:end] for name, array in vars(self).items()}
        return part

    def images(self) -> Floats:
        """Return the vectors of all images of each cell, one cell behind the other; the middle one is zero."""
        return np.concatenate([_grid(*n) @ cell for n, cell in zip(self.n_around.tolist(), self.cells, strict=True)])


@lru_cache(maxsize=256)
def _grid(*n_around: int) -> Floats:
    return np.stack(np.meshgrid(*(np.arange(-n, n + 1.0) for n in n_around), indexing="ij"), axis=-1).reshape(-1, 3)


def _groups(costs: Integers, chunk: int, largest: int) -> list[tuple[int, int]]:
    """Cut structures into runs of at most ``chunk``; one that is too large for the dense search stands alone."""
    bounds, spent = [0], 0
    for k, cost in enumerate(costs.tolist()):
        alone = cost > largest or (k and costs[k - 1] > largest)
        if k and (alone or spent + cost > chunk):
            bounds.append(k)
            spent = 0
        spent += cost
    return list(zip(bounds, [*bounds[1:], len(costs)], strict=True))


def _from_cell_list(positions: Tensor, cell: Floats, pbc: NDArray[np.bool_], cutoff: float) -> BatchEdges:
    points = positions.cpu().numpy()
    edges = find_edges(Structure(np.ones(len(points)), points, cell=cell, pbc=pbc), cutoff)
    arrays = (edges.centers, edges.neighbors, edges.vectors)
    return BatchEdges(*(torch.from_numpy(array).to(positions.device) for array in arrays))


def _dense(positions: Tensor, sizes: Integers, boxes: _Boxes, cutoff: float) -> BatchEdges:
    device = positions.device
    rows = positions.T.contiguous()  # components apart: three long vector operations instead of many short ones
    system = _numbered(sizes, device)
    n_pairs = int((sizes**2).sum())
    partners = _put(sizes, device)[system]
    centers = torch.repeat_interleave(partners, output_size=n_pairs)
    begins = _put(np.cumsum(sizes) - sizes, device)[system] - (partners.cumsum(0) - partners)
    neighbors = torch.arange(n_pairs, device=device) + begins[centers]
    vectors = rows[:, neighbors] - rows[:, centers]
    is_other = centers != neighbors
    if boxes.pbc.any():
        of_pair = system[centers]
        vectors += _to_nearest_image(rows, boxes, system=system, pairs=(centers, neighbors, of_pair))
        if boxes.n_images.max() > 1:
            pair, vectors, is_other = _around(vectors, boxes, of_pair=of_pair, is_other=is_other)
            centers, neighbors = centers[pair], neighbors[pair]
    x, y, z = vectors
    near = torch.nonzero((x * x + y * y + z * z < cutoff**2) & is_other).squeeze(1)
    return BatchEdges(centers[near], neighbors[near], vectors[:, near].T.contiguous())


def _to_nearest_image(rows: Tensor, boxes: _Boxes, *, system: Tensor, pairs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return lattice vectors (3, P) that bring fractional coordinates of pair vectors into [-1/2, 1/2]."""
    centers, neighbors, of_pair = pairs
    inverses, cells = _put(boxes.inverses, rows.device), _put(boxes.cells, rows.device)
    fractional = (rows.unsqueeze(1) * inverses.permute(1, 2, 0)[:, :, system]).sum(0)
    steps = torch.round(fractional[:, centers] - fractional[:, neighbors])
    return (steps.unsqueeze(1) * cells.permute(1, 2, 0).contiguous()[:, :, of_pair]).sum(0)


def _around(vectors: Tensor, boxes: _Boxes, *, of_pair: Tensor, is_other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Repeat each pair for all images around it; return pair numbers, vectors and whether it is no atom with itself."""
    device = vectors.device
    n_images = _put(boxes.n_images, device)[of_pair]
    total = int(n_images.sum())
    pair = torch.repeat_interleave(n_images, output_size=total)
    image = torch.arange(total, device=device) - (n_images.cumsum(0) - n_images)[pair]
    begins = _put(np.cumsum(boxes.n_images) - boxes.n_images, device)[of_pair]
    images = _put(boxes.images().T, device)
    is_image = image != (n_images // 2)[pair]
    return pair, vectors[:, pair] + images[:, begins[pair] + image], is_other[pair] | is_image


def _numbered(sizes: Integers, device: torch.device) -> Tensor:
    return torch.repeat_interleave(_put(sizes, device), output_size=int(sizes.sum()))


def _put(array: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
