"""Triton kernels of PaiNN's messages, forward and backward, without atomics and without an array per edge and channel.

Edges are sorted by center, and ``rows`` points to the first edge of each atom. One program adds up the edges of one
atom for one block of channels, a tile of edges at a time, in registers. With n the direction of an edge from center i
to neighbor j, filters W of its length, and what atoms send, x and their vectors v:

    scalars_i += sum_j W_a x_a[j],    vectors_i += sum_j n W_b x_b[j] + W_c x_c[j] v[j]

The list is symmetric, so the backward pass is a gather too: an atom finds the receivers of its own messages in its own
row. Filters are cubic Hermite splines from :func:`~mlff_distiller.students.kernels.tables.filter_table`.
"""

from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ModuleNotFoundError:  # to be read without the extra `gpu`; the backend refuses to run it
    triton, tl = None, SimpleNamespace(constexpr=None)

TILE = (8, 64)
"""Edges and channels that a program works on at once; powers of two."""

WARPS = 4
"""Groups of 32 threads that share a tile."""


class Spline(NamedTuple):
    """The filters of one message.

    Attributes
    ----------
    table : (M, 4, K C)
        Coefficients of the powers 0 to 3 of the place in each of M even intervals from zero to the cutoff.
    inverse_step : float
        Intervals per Angstrom.
    """

    table: Tensor
    inverse_step: float

    @classmethod
    def through(cls, points: Tensor, cutoff: float, *, dtype: torch.dtype, device: torch.device) -> Self:
        """Return cubic Hermite splines through values and slopes (M + 1, 2, K C), as from ``filter_table``.

        The differences of values are taken here, in float64: rounded values would leave a slope that is wrong by their
        rounding error over the step, more the finer the grid.
        """
        (value, slope), (after, last) = points[:-1].unbind(1), points[1:].unbind(1)
        rise = after - value
        table = torch.stack([value, slope, 3 * rise - 2 * slope - last, slope + last - 2 * rise], dim=1)
        return cls(table.to(dtype=dtype, device=device), len(table) / cutoff)


class Rows(NamedTuple):
    """Edges by their centers.

    Attributes
    ----------
    starts : (N + 1,) int64
        First edge of each atom, and the end of the last one's. What lies beyond is left out and has no gradient.
    neighbors : (E,) int64
        The other atom of each edge.
    """

    starts: Tensor
    neighbors: Tensor


class Messages(torch.autograd.Function):
    """Scalars (N, C) and vectors (N, 3, C) after a message, differentiable once.

    Call ``Messages.apply(scalars, vectors, content, edges, rows, spline)`` with scalars (N, C), vectors (N, 3, C) or
    None where all are zero, content (N, K C) that atoms send in K = 3 parts (2 without vectors), and edges (E, 3) from
    center to neighbor, Angstrom. The gradient of an edge is minus that of the opposite edge: forces and virial, sums
    over a symmetric list, are the same, and nobody has to look for the opposite.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scalars: Tensor,
        vectors: Tensor | None,
        content: Tensor,
        edges: Tensor,
        rows: Rows,
        spline: Spline,
    ) -> tuple[Tensor, Tensor]:
        """Add messages to what is there."""
        first = vectors is None
        content, edges = content.contiguous(), edges.contiguous()
        before = content if vectors is None else vectors.contiguous()  # where all are zero the kernel reads none
        ctx.save_for_backward(before, content, edges)
        ctx.rows, ctx.spline, ctx.first = rows, spline, first
        n_atoms, n_channels = scalars.shape
        after = torch.empty_like(scalars), scalars.new_empty(n_atoms, 3, n_channels)
        arrays = (content, before, scalars.contiguous(), *after)
        _launch(_receive, rows, edges, spline, arrays, n_channels=n_channels, first=first)
        return after

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_scalars: Tensor, of_vectors: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients by scalars, vectors, content and edges."""
        before, content, edges = ctx.saved_tensors
        n_channels = of_scalars.shape[1]
        of_content, of_before = torch.empty_like(content), torch.empty_like(before)
        of_edges = edges.new_zeros(_n_blocks(n_channels), *edges.shape)
        arrays = (content, before, of_scalars.contiguous(), of_vectors.contiguous(), of_content, of_before, of_edges)
        _launch(_send, ctx.rows, edges, ctx.spline, arrays, n_channels=n_channels, first=ctx.first)
        of_edge = of_edges[0] if len(of_edges) == 1 else of_edges.sum(0)
        return of_scalars, None if ctx.first else of_before, of_content, of_edge, None, None


def _launch(
    kernel: Any, rows: Rows, edges: Tensor, spline: Spline, arrays: tuple[Tensor, ...], *, n_channels: int, first: bool
) -> None:
    n_atoms = rows.starts.shape[0] - 1
    if not n_atoms:
        return
    kernel[n_atoms, _n_blocks(n_channels)](
        *rows,
        edges,
        spline.table,
        *arrays,
        n_edges=edges.shape[0],
        INVERSE_STEP=spline.inverse_step,
        LAST=spline.table.shape[0] - 1,
        CHANNELS=n_channels,
        FIRST=first,
        BLOCK_E=TILE[0],
        BLOCK_C=_block(n_channels),
        num_warps=WARPS,
        enable_fp_fusion=True,
    )


def _block(n_channels: int) -> int:
    return min(TILE[1], 1 << (n_channels - 1).bit_length())


def _n_blocks(n_channels: int) -> int:
    return -(-n_channels // _block(n_channels))


def _compiled(function):
    return triton.jit(function) if triton else function


# What follows is Triton: no types but constants, and no objects as arguments. Edges are columns, channels are rows.
# fmt: off


@_compiled
def _load3(at, mask, STRIDE: tl.constexpr):
    x = tl.load(at, mask=mask, other=0.0)
    y = tl.load(at + STRIDE, mask=mask, other=0.0)
    return x, y, tl.load(at + 2 * STRIDE, mask=mask, other=0.0)


@_compiled
def _geometry(edges, e, inside, INVERSE_STEP: tl.constexpr, LAST: tl.constexpr):
    """Return directions and lengths, intervals of the table, places in them, and which edges filters reach."""
    x, y, z = _load3(edges + 3 * e, inside, 1)
    r = tl.where(inside, tl.sqrt(x * x + y * y + z * z), 1.0).to(x.dtype)
    s = r * INVERSE_STEP
    interval = tl.minimum(tl.minimum(s, LAST + 1.0).to(tl.int32), LAST)
    return x / r, y / r, z / r, r, interval, s - interval, inside & (s < LAST + 1)


@_compiled
def _filters(table, at, mask, t, WIDTH: tl.constexpr):
    """Return filters and their derivatives by the number of grid steps; zero where masked."""
    value = tl.load(table + at, mask=mask, other=0.0)
    slope = tl.load(table + at + WIDTH, mask=mask, other=0.0)
    square = tl.load(table + at + 2 * WIDTH, mask=mask, other=0.0)
    cubic = tl.load(table + at + 3 * WIDTH, mask=mask, other=0.0)
    return value + t * (slope + t * (square + t * cubic)), slope + t * (2 * square + 3 * t * cubic)


@_compiled
def _write(out, at, keep, sums, before, ADD: tl.constexpr):
    """Write a sum over edges, added to what was there before."""
    total = tl.sum(sums, 0, keep_dims=True)
    if ADD:
        total += tl.load(before + at, mask=keep, other=0.0)
    tl.store(out + at, total, mask=keep)


@_compiled
def _write3(out, at, keep, x, y, z, before, STRIDE: tl.constexpr, ADD: tl.constexpr):
    _write(out, at, keep, x, before, ADD)
    _write(out, at + STRIDE, keep, y, before, ADD)
    _write(out, at + 2 * STRIDE, keep, z, before, ADD)


@_compiled
def _filtered(content, sent, table, at, mask, t, WIDTH: tl.constexpr):
    """Return filters times content."""
    filters, _ = _filters(table, at, mask, t, WIDTH)
    return filters * tl.load(content + sent, mask=mask, other=0.0)


@_compiled
def _receive(
    starts, neighbors, edges, table, content, vectors, scalars, new_scalars, new_vectors, n_edges,
    INVERSE_STEP: tl.constexpr, LAST: tl.constexpr, CHANNELS: tl.constexpr, FIRST: tl.constexpr,
    BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):
    """Add up what an atom receives."""
    WIDTH: tl.constexpr = (2 if FIRST else 3) * CHANNELS
    atom = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    end = tl.load(starts + atom + 1)
    sum_s = tl.zeros((BLOCK_E, BLOCK_C), scalars.dtype.element_ty)
    sum_x, sum_y, sum_z = sum_s, sum_s, sum_s
    for start in range(tl.load(starts + atom), end, BLOCK_E):
        e = start + tl.arange(0, BLOCK_E)[:, None]
        x, y, z, _, interval, t, near = _geometry(edges, e, e < end, INVERSE_STEP, LAST)
        at, mask = 4 * WIDTH * interval + c, near & (c < CHANNELS)
        sender = tl.load(neighbors + e, mask=e < end, other=0)
        sent = sender * WIDTH + c
        sum_s += _filtered(content, sent, table, at, mask, t, WIDTH)
        along = _filtered(content, sent + CHANNELS, table, at + CHANNELS, mask, t, WIDTH)
        sum_x += x * along
        sum_y += y * along
        sum_z += z * along
        if not FIRST:
            gate = _filtered(content, sent + 2 * CHANNELS, table, at + 2 * CHANNELS, mask, t, WIDTH)
            v_x, v_y, v_z = _load3(vectors + sender * (3 * CHANNELS) + c, mask, CHANNELS)
            sum_x += gate * v_x
            sum_y += gate * v_y
            sum_z += gate * v_z
    _write(new_scalars, CHANNELS * atom + c, c < CHANNELS, sum_s, scalars, True)
    _write3(new_vectors, 3 * CHANNELS * atom + c, c < CHANNELS, sum_x, sum_y, sum_z, vectors, CHANNELS, not FIRST)


@_compiled
def _adjoint(table, at, mask, t, x, of_product, WIDTH: tl.constexpr):
    """Return filters times x, and gradients of that product by x and by the number of grid steps."""
    filters, slopes = _filters(table, at, mask, t, WIDTH)
    return filters * x, filters * of_product, slopes * x * of_product


@_compiled
def _send_edges(to, keep, x, y, z, r, of_r, of_x, of_y, of_z):
    """Write gradients of edges from those of their lengths, and of directions, channel by channel."""
    u_x, u_y, u_z = tl.sum(of_x, 1, keep_dims=True), tl.sum(of_y, 1, keep_dims=True), tl.sum(of_z, 1, keep_dims=True)
    along = tl.sum(of_r, 1, keep_dims=True) + (u_x * x + u_y * y + u_z * z) / r
    tl.store(to, along * x - u_x / r, mask=keep)
    tl.store(to + 1, along * y - u_y / r, mask=keep)
    tl.store(to + 2, along * z - u_z / r, mask=keep)


@_compiled
def _send(
    starts, neighbors, edges, table, content, vectors, of_scalars, of_vectors, of_content, of_before, of_edges, n_edges,
    INVERSE_STEP: tl.constexpr, LAST: tl.constexpr, CHANNELS: tl.constexpr, FIRST: tl.constexpr,
    BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):
    """Add up the gradients of what an atom sends, against its edges; ``of_`` marks gradients."""
    WIDTH: tl.constexpr = (2 if FIRST else 3) * CHANNELS
    atom = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    end = tl.load(starts + atom + 1)
    keep, own, sent = c < CHANNELS, 3 * CHANNELS * atom + c, WIDTH * atom + c
    x_a = tl.load(content + sent, mask=keep, other=0.0)
    x_b = tl.load(content + sent + CHANNELS, mask=keep, other=0.0)
    sum_a = tl.zeros((BLOCK_E, BLOCK_C), of_scalars.dtype.element_ty)
    sum_b, sum_g, sum_x, sum_y, sum_z = sum_a, sum_a, sum_a, sum_a, sum_a
    if not FIRST:
        x_g = tl.load(content + sent + 2 * CHANNELS, mask=keep, other=0.0)
        v_x, v_y, v_z = _load3(vectors + own, keep, CHANNELS)
    for start in range(tl.load(starts + atom), end, BLOCK_E):
        e = start + tl.arange(0, BLOCK_E)[:, None]
        x, y, z, r, interval, t, near = _geometry(edges, e, e < end, INVERSE_STEP, LAST)
        at, mask = 4 * WIDTH * interval + c, near & keep
        receiver = tl.load(neighbors + e, mask=e < end, other=0)
        of_s = tl.load(of_scalars + receiver * CHANNELS + c, mask=mask, other=0.0)
        of_x, of_y, of_z = _load3(of_vectors + receiver * (3 * CHANNELS) + c, mask, CHANNELS)
        _, of_a, of_r = _adjoint(table, at, mask, t, x_a, of_s, WIDTH)
        along, of_b, of_r_b = _adjoint(table, at + CHANNELS, mask, t, x_b, -(x * of_x + y * of_y + z * of_z), WIDTH)
        sum_a += of_a
        sum_b += of_b
        of_r += of_r_b
        if not FIRST:
            of_gate = v_x * of_x + v_y * of_y + v_z * of_z
            gate, of_g, of_r_g = _adjoint(table, at + 2 * CHANNELS, mask, t, x_g, of_gate, WIDTH)
            sum_g += of_g
            sum_x += gate * of_x
            sum_y += gate * of_y
            sum_z += gate * of_z
            of_r += of_r_g
        to = of_edges + 3 * (tl.program_id(1).to(tl.int64) * n_edges + e)
        _send_edges(to, e < end, x, y, z, r, of_r * INVERSE_STEP, along * of_x, along * of_y, along * of_z)
    _write(of_content, sent, keep, sum_a, of_content, False)
    _write(of_content, sent + CHANNELS, keep, sum_b, of_content, False)
    if not FIRST:
        _write(of_content, sent + 2 * CHANNELS, keep, sum_g, of_content, False)
        _write3(of_before, own, keep, sum_x, sum_y, sum_z, of_vectors, CHANNELS, True)
