"""Parameters of a PaiNN student as the kernels want them: padded to whole vectors, transposed, filters as splines."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from mlff_distiller.students.kernels.evaluation import Weights
from mlff_distiller.students.kernels.messages import Array
from mlff_distiller.students.kernels.simd import LANES
from mlff_distiller.students.kernels.tables import filter_table, padded, spline_rows
from mlff_distiller.students.painn.network import PaiNN, Update

_TRANSPOSED: Final = ("content", "content_out", "mix", "gate", "gate_out", "readout")


def weights_of(network: PaiNN, *, n_points: int) -> Weights:
    """Return the parameters of a network, in its precision.

    Channels that a network lacks to a multiple of sixteen are zero and stay zero, so they change nothing.

    Parameters
    ----------
    network : PaiNN
        The network.
    n_points : int
        Grid points of the splines.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> weights_of(PaiNNPlan(n_channels=20).build(4), n_points=512).mix.shape
    (2, 32, 64)
    """
    first, *messages = network.messages
    updates: list[Any] = list(network.updates)
    contents: list[Any] = [message.content for message in messages]
    c, n_more = -(-network.scalars.embedding_dim // LANES) * LANES, len(messages)
    readout: Any = network.readout
    tensors = {
        "scalars": padded(network.scalars.weight, 0, 1),
        "first_content": _blocked(padded(first.content.weight, 0, 2), 2),  # type: ignore[union-attr, arg-type]
        "first_table": spline_rows(filter_table(network, 0, n_points), 2),
        "tables": _stacked(
            [spline_rows(filter_table(network, layer, n_points), 3) for layer in range(1, n_more + 1)],
            (n_points, c // LANES, 3, 3, LANES),
        ),
        "content": _stacked([padded(own[0].weight.T, 1, 1) for own in contents], (c, c)),
        "content_bias": _stacked([padded(own[0].bias, 1) for own in contents], (c,)),
        "content_out": _stacked([_blocked(padded(own[2].weight.T, 1, 3), 3) for own in contents], (c, 3 * c)),
        "content_out_bias": _stacked([_blocked(padded(own[2].bias, 3), 3) for own in contents], (3 * c,)),
        "mix": torch.stack([padded(own.mix.weight.T, 1, 2) for own in updates]),
        "gate": torch.stack([padded(own.gates[0].weight.T, 2, 1) for own in updates]),
        "gate_bias": torch.stack([padded(own.gates[0].bias, 1) for own in updates]),
        "gate_out": torch.stack([padded(_gates(own, "weight").T, 1, 3) for own in updates]),
        "gate_out_bias": torch.stack([padded(_gates(own, "bias"), 3) for own in updates]),
        "readout": padded(readout[0].weight.T, 1, 1),
        "readout_bias": padded(readout[0].bias, 1),
        "readout_out": padded(readout[2].weight[0], 1),
        "readout_out_bias": readout[2].bias,
        "grid": torch.tensor([(n_points - 1) / network.radial.cutoff], dtype=torch.float64),
        "softening": torch.tensor([Update.SOFTENING], dtype=torch.float64),
    }
    tensors |= {f"{name}_t": tensors[name].transpose(-1, -2) for name in _TRANSPOSED}
    dtype = network.scalars.weight.dtype
    return Weights(**{name: _array(tensor, dtype) for name, tensor in tensors.items()})


def _array(tensor: Tensor, dtype: torch.dtype) -> Array:
    return np.ascontiguousarray(tensor.detach().to(device="cpu", dtype=dtype).numpy())


def _blocked(tensor: Tensor, kinds: int) -> Tensor:
    """Return a tensor whose last axis, some kinds of channels one after the other, has them by blocks of channels."""
    blocks: Tensor = tensor.unflatten(-1, (kinds, -1, LANES))
    return blocks.transpose(-3, -2).flatten(-3)


def _stacked(tensors: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return tensors of one shape behind each other; there may be none."""
    return torch.stack(list(tensors)) if tensors else torch.zeros(0, *shape)


def _gates(update: Any, name: str) -> Tensor:
    """Return weight or bias of the layer that gives the gates, with three blocks; the last update's third is zero."""
    tensor: Tensor = getattr(update.gates[2], name)
    size = tensor.shape[0] // 2
    return torch.cat([tensor, tensor.new_zeros(size, *tensor.shape[1:])]) if update.is_last else tensor
