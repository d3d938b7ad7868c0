"""Filters of the distance as cubic Hermite splines: values and slopes at the points of an even grid."""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlff_distiller.students.kernels.simd import LANES
from mlff_distiller.students.painn.network import PaiNN

POINTS: Final = 51
"""Grid points for each radial function: for each half wave of the fastest one. Forces are then as good as those of the
network in float32, see :func:`spline_error`."""


def filter_table(network: PaiNN, layer: int, n_points: int) -> Tensor:
    """Return the filters of one layer of messages at distances from zero to the cutoff.

    Between two points, h apart, the spline differs from the filter by at most h^4 / 384 times its fourth derivative.
    :func:`spline_error` measures it.

    Parameters
    ----------
    network : PaiNN
        The network.
    layer : int
        0 is the first message, which has 2 C filters; the others have 3 C.
    n_points : int
        G, at least 2.

    Returns
    -------
    (G, 2, K C) float64
        Values, divided by the network's norm of neighbors, and derivatives times the distance between points.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> filter_table(PaiNNPlan(preset="ultra-tiny").build(4), 0, 16).shape
    torch.Size([16, 2, 64])
    """
    step = network.radial.cutoff / (n_points - 1)
    values, slopes = _filters(network, layer, torch.arange(n_points, dtype=torch.float64) * step)
    return torch.stack([values, slopes * step], dim=1)


def spline_rows(table: Tensor, kinds: int) -> Tensor:
    """Return values, slopes and rises to the next point from a table of values and slopes, in blocks of channels.

    Rises are taken before anything is rounded to float32: a derivative from the difference of two rounded values would
    lose the more digits the closer the points are.

    Parameters
    ----------
    table : (G, 2, K C)
        From :func:`filter_table`.
    kinds : int
        K.

    Returns
    -------
    (G, C / 16, K, 3, 16)
        C is padded with zeros to a multiple of sixteen.

    Examples
    --------
    >>> rows = spline_rows(torch.tensor([[[1.0], [0.5]], [[3.0], [0.0]]]), 1)
    >>> rows.shape, rows[0, 0, 0, :, 0].tolist()
    (torch.Size([2, 1, 1, 3, 16]), [1.0, 0.5, 2.0])
    """
    values = table[:, 0]
    rises = torch.cat([values[1:] - values[:-1], torch.zeros_like(values[:1])])
    rows = padded(torch.cat([table, rises.unsqueeze(1)], dim=1), 0, 0, kinds)
    blocks: Tensor = rows.unflatten(2, (kinds, -1, LANES))
    return blocks.permute(0, 3, 2, 1, 4)


def spline_error(network: PaiNN, layer: int, n_points: int) -> tuple[float, float]:
    """Return the largest errors of a spline's values and derivatives, relative to the largest value and derivative.

    Where radial functions level off, at distances shorter than any in training, their third derivative jumps and the
    spline is a little worse; that does not count.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> value, slope = spline_error(PaiNNPlan(preset="ultra-tiny").build(4), 0, 512)
    >>> value < 1e-7, slope < 1e-4
    (True, True)
    """
    table = filter_table(network, layer, n_points)
    step = network.radial.cutoff / (n_points - 1)
    t = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)[:, None, None]
    a, b, c, d = table[:-1, 0], table[:-1, 1], table[1:, 0], table[1:, 1]
    value = (1 + 2 * t) * (1 - t) ** 2 * a + t * (1 - t) ** 2 * b + t**2 * (3 - 2 * t) * c + t**2 * (t - 1) * d
    slope = (6 * t * (t - 1) * (a - c) + (3 * t - 1) * (t - 1) * b + t * (3 * t - 2) * d) / step
    places = (torch.arange(n_points - 1, dtype=torch.float64) + t[:, :, 0]) * step
    exact, exact_slope = _filters(network, layer, places.flatten())
    counts = places.flatten() > network.radial.floor + step
    return _relative(value, exact, counts), _relative(slope, exact_slope, counts)


def enough_points(network: PaiNN) -> int:
    """Return how many grid points make splines as good as float32.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> enough_points(PaiNNPlan(preset="ultra-tiny").build(4))
    511
    """
    return POINTS * network.radial.n_functions + 1


def exact_table(network: PaiNN, layer: int, distances: Tensor) -> NDArray[np.floating]:
    """Return rows whose grid points are the edges themselves: (E + 1, C / 16, K, 3, 16).

    Parameters
    ----------
    network : PaiNN
        The network.
    layer : int
        0 is the first message.
    distances : (E,)
        Angstrom.
    """
    table = torch.stack(_filters(network, layer, distances), dim=1)
    table = torch.cat([table, table.new_zeros(1, *table.shape[1:])])
    rows = spline_rows(table, 2 if layer == 0 else 3)
    return np.ascontiguousarray(rows.to(network.scalars.weight.dtype).numpy())


def padded(tensor: Tensor, *blocks: int) -> Tensor:
    """Return a tensor whose axes, made of so many blocks each, are padded by zeros in each block; 0 leaves an axis.

    Examples
    --------
    >>> padded(torch.ones(2, 6), 0, 2).shape
    torch.Size([2, 32])
    """
    for axis, count in enumerate(blocks):
        if count:
            split = tensor.unflatten(axis, (count, tensor.shape[axis] // count))
            room = split.new_zeros([*split.shape[: axis + 1], -split.shape[axis + 1] % LANES, *split.shape[axis + 2 :]])
            tensor = torch.cat([split, room], dim=axis + 1).flatten(axis, axis + 1)
    return tensor


def _filters(network: PaiNN, layer: int, distances: Tensor) -> tuple[Tensor, Tensor]:
    """Return filters and their derivatives (n, K C) at distances (n,)."""
    message: Any = network.messages[layer]
    weight = message.filters.weight.detach().double() / network.neighbor_norm
    distances = distances.double()
    with torch.enable_grad():
        at = distances.detach().requires_grad_()
        basis = network.radial(at)
        factors = torch.zeros_like(basis, requires_grad=True)
        (along,) = torch.autograd.grad(basis, at, factors, create_graph=True)  # each function depends on one distance,
        (slopes,) = torch.autograd.grad(along, factors, torch.ones_like(along))  # so this is its derivative
    return basis.detach() @ weight.T, slopes @ weight.T


def _relative(found: Tensor, expected: Tensor, counts: Tensor) -> float:
    errors = (found.reshape(expected.shape) - expected)[counts].abs()
    return float(errors.max() / expected[counts].abs().max())
