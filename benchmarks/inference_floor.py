"""Floor of the CPU kernel's time: the operations and bytes of a call, counted, over rates of the machine, measured.

The count follows ``students/kernels``: C channels (padded to whole vectors), L layers, H hidden features of readout.

Atoms, products by BLAS, multiply-adds an atom (``evaluation.py``, forward and backward the same):
content C C + C 3C for L - 1 layers; mixing 3 (C 2C) and gates 2C C + C 3C for L layers; readout C H.

Atoms, vector by vector (``atomwise.py``), operations a channel, a fused multiply-add or what it takes the place of:
see _ATOM_UPDATE, _ATOM_CONTENT and _ACTIVATION. Everything that is kept between the passes is written once and read
once; see ``room.py``.

Edges (``messages.py``), operations a channel and numbers loaded of what is not the atom's own: see _EDGE. The filter of
an edge is four rows of the table; the other atom's rows come from wherever they lie.

The three follow each other, so their times add up; within each of the last two, operations and bytes overlap, and the
longer one counts. The list of neighbors, spline weights and sums over edges are left out: a floor is never too high.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from mlff_distiller.students.kernels.room import Workspace
from mlff_distiller.students.kernels.simd import LANES, load, splat, store, total
from mlff_distiller.students.kernels.tables import enough_points
from mlff_distiller.students.kernels.weights import weights_of
from mlff_distiller.students.painn.network import PaiNN

_ATOM_UPDATE = 12 + 8 + 3 + 1 + 17 + 12 + 3
"""Operations of an update: mixed (with a root), gated, bias of gates, slopes, gated_backward, mixed_backward (with a
division), added."""
_ATOM_CONTENT = 3 + 1 + 1
"""Bias of content, slopes, added."""
_ACTIVATION = 40
"""An exponential of 26 operations, a division and the rest of silu and its slope."""

_EDGE = {
    # operations, numbers of the table, numbers of the other atom
    "messages": (18, 12, 6),  # 9 of filters, 3 by content, 6 of vectors; content and vectors
    "messages_backward": (38, 12, 4),  # 8 of scalars, 15 along, 15 of vectors; derivatives by scalars and vectors
    "first_messages": (11, 8, 0),
    "first_messages_backward": (18, 7, 4),
}


@dataclass(frozen=True)
class Work:
    """What one call does.

    Attributes
    ----------
    product_flops : float
        Of products by BLAS, two for a multiply-add.
    atom_operations, edge_operations : float
        Operations on single numbers; a fused multiply-add is one.
    kept_bytes : float
        Written once and read once, beside the atoms' products.
    edge_bytes : float
        Loaded for edges, from tables and other atoms.
    table_bytes : float
        Size of the table of one layer.
    """

    product_flops: float
    atom_operations: float
    edge_operations: float
    kept_bytes: float
    edge_bytes: float
    table_bytes: float


def work(network: PaiNN, n_atoms: int, n_edges: int) -> Work:
    """Count one call of energies and forces, in float32."""
    weights = weights_of(network, n_points=enough_points(network))
    n_layers, c = len(weights.mix), weights.scalars.shape[1]
    more, hidden = n_layers - 1, len(weights.readout_out)
    products = 2 * (n_layers * 11 * c * c + more * 4 * c * c + c * hidden)
    activations = (n_layers + more) * c + hidden
    workspace = Workspace(n_layers, c, hidden, n_threads=1, dtype=np.float32)
    scratch = workspace.nbytes
    workspace.room(n_atoms)
    first, first_back = _EDGE["first_messages"], _EDGE["first_messages_backward"]
    forward, back = _EDGE["messages"], _EDGE["messages_backward"]
    operations = first[0] + first_back[0] + more * (forward[0] + back[0])
    numbers = sum(first[1:]) + sum(first_back[1:]) + more * (sum(forward[1:]) + sum(back[1:]))
    return Work(
        product_flops=2.0 * n_atoms * products,
        atom_operations=float(n_atoms)
        * ((n_layers * _ATOM_UPDATE + more * _ATOM_CONTENT) * c + _ACTIVATION * activations),
        edge_operations=float(n_edges) * c * operations,
        kept_bytes=2.0 * (workspace.nbytes - scratch),
        edge_bytes=4.0 * n_edges * c * numbers,
        table_bytes=float(weights.first_table.nbytes if more == 0 else weights.tables[0].nbytes),
    )


@dataclass(frozen=True)
class Floor:
    """Milliseconds that a call cannot go below on one thread of this machine, and what they are made of."""

    products: float
    atoms: float
    edges: float

    @property
    def ms(self) -> float:
        return self.products + self.atoms + self.edges


class Machine:
    """Rates of one thread, measured when first asked for.

    Attributes
    ----------
    gemm : float
        Flops a second of numpy's product of (192, 112) and (112, 336) in float32.
    operations : float
        Fused multiply-adds a second in vectors of float32.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((192, 112), (112, 336)))
        out = np.empty((192, 336), np.float32)
        self.gemm = 2 * 192 * 112 * 336 / _fastest(lambda: np.dot(a, b, out))
        x = np.full(8 * LANES, 0.5, np.float32)
        self.operations = 10_000 * 16 * LANES / _fastest(lambda: _multiply_add(x, 10_000))
        self._reading: dict[int, float] = {}

    def reading(self, n_bytes: float) -> float:
        """Return bytes a second that are read, again and again, from an array of a size; rounded to a power of two."""
        size = 1 << round(np.log2(max(n_bytes, 2**14)))
        size = min(size, 2**28)
        if size not in self._reading:
            array = np.ones(size // 4, np.float32)
            repeats = max(1, 2**24 // size)
            self._reading[size] = size * repeats / _fastest(lambda: _summed(array, repeats))
        return self._reading[size]

    def floor(self, counted: Work) -> Floor:
        kept = counted.kept_bytes / self.reading(counted.kept_bytes / 2)
        loaded = counted.edge_bytes / self.reading(counted.table_bytes)
        return Floor(
            products=1e3 * counted.product_flops / self.gemm,
            atoms=1e3 * max(counted.atom_operations / self.operations, kept),
            edges=1e3 * max(counted.edge_operations / self.operations, loaded),
        )

    def said(self) -> str:
        cache, memory = self.reading(2**19), self.reading(2**28)
        return (
            f"one thread of this machine: products {self.gemm / 1e9:.0f} GFLOP/s, vectors {self.operations / 1e9:.0f} "
            f"G multiply-adds/s, reading {cache / 1e9:.0f} GB/s from 512 KiB and {memory / 1e9:.0f} GB/s from 256 MiB"
        )


def _fastest(call: Callable[[], Any], n: int = 30) -> float:
    """Return the shortest of several times, seconds: a floor is what the machine can do when nothing disturbs it."""
    call()
    times = []
    for _ in range(n):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


@njit(cache=False, error_model="numpy")
def _multiply_add(x, n):
    """Do n times sixteen multiply-adds of vectors, eight of which do not wait for each other.

    A square cannot be taken out of the next one, so that no compiler does two of them in one.
    """
    small = splat(np.float32(0.001))
    a, b, c, d = load(x, 0), load(x, LANES), load(x, 2 * LANES), load(x, 3 * LANES)
    e, f, g, h = load(x, 4 * LANES), load(x, 5 * LANES), load(x, 6 * LANES), load(x, 7 * LANES)
    for _ in range(2 * n):
        a, b, c, d = a * a + small, b * b + small, c * c + small, d * d + small
        e, f, g, h = e * e + small, f * f + small, g * g + small, h * h + small
    store(x, 0, a + b + c + d + e + f + g + h)


@njit(cache=False, error_model="numpy")
def _summed(array, repeats):
    """Read an array again and again, by eight vectors at a time."""
    s0, s1 = splat(np.float32(0)), splat(np.float32(0))
    s2, s3 = s0, s1
    for _ in range(repeats):
        for k in range(0, array.size, 8 * LANES):
            s0, s1 = s0 + load(array, k), s1 + load(array, k + LANES)
            s2, s3 = s2 + load(array, k + 2 * LANES), s3 + load(array, k + 3 * LANES)
            s0, s1 = s0 + load(array, k + 4 * LANES), s1 + load(array, k + 5 * LANES)
            s2, s3 = s2 + load(array, k + 6 * LANES), s3 + load(array, k + 7 * LANES)
    return total(s0 + s1 + s2 + s3)
