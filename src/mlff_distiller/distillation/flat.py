"""FlatParameters: all parameters of a module as one vector."""

import torch
from torch import Tensor, nn


class FlatParameters:
    """All parameters of a module as one vector, and their gradients as another.

    The module's own parameters become views, so that averaging, clipping, saving and adding up over processes are
    single operations on a vector instead of loops over many small tensors.

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> flat = FlatParameters(layer)
    >>> with torch.no_grad():
    ...     _ = flat.values.zero_()
    >>> layer.bias.item()
    0.0
    """

    def __init__(self, module: nn.Module) -> None:
        self.named = dict(module.named_parameters())
        parameters = list(self.named.values())
        self.tables = tables(module)
        self.values = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
        self.gradient: Tensor = torch.zeros_like(self.values)
        self.values.grad = self.gradient
        first = 0
        for p in parameters:
            view = slice(first, first := first + p.numel())
            p.data = self.values.data[view].view_as(p)
            p.grad = self.gradient[view].view_as(p)

    def set(self, values: Tensor) -> None:
        """Give the parameters other values, in place."""
        self.values.data.copy_(values)


def tables(module: nn.Module) -> frozenset[str]:
    """Return the names of parameters that are looked up by row, one row for each element.

    Examples
    --------
    >>> sorted(tables(nn.ModuleDict({"content": nn.Embedding(4, 2), "mix": nn.Linear(2, 2)})))
    ['content.weight']
    """
    return frozenset(f"{name}.weight" for name, part in module.named_modules() if isinstance(part, nn.Embedding))
