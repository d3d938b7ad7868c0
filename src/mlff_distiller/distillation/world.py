"""World: the processes that train one student together; alone unless said."""

from typing import TypeVar

from torch import Tensor

T = TypeVar("T")


class World:
    """A process that trains alone; see :mod:`mlff_distiller.distillation.distributed` for several.

    Every process calls the same methods in the same order, as each waits for all others.

    Attributes
    ----------
    rank, size : int
        Which process this is, counted from 0, of how many.
    local_rank : int
        Which one it is of those on its machine.

    Examples
    --------
    >>> import torch
    >>> World().sum(torch.ones(2)).tolist(), World().agree("yes")
    ([1.0, 1.0], 'yes')
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    def sum(self, values: Tensor) -> Tensor:
        """Add values up over all processes, in place, and return them."""
        return values

    def collect(self, value: T) -> list[T]:
        """Return the values of all processes, by rank."""
        return [value]

    def agree(self, value: T) -> T:
        """Return the value that the first process holds."""
        return self.collect(value)[0]

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.collect(None)
