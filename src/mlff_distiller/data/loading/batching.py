"""Batching: consecutive pieces of an order, each within a limit on structures, atoms or edges."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.cutting import cut
from mlff_distiller.data.loading.order import Order, Rows

_BLOCK = 1 << 15  # rows of an order that are looked at together: numpy's overhead is then small


@dataclass(frozen=True, eq=False)
class Batching:
    """Cuts an order into batches, each as long as its limit allows.

    Where every structure costs one, batch k begins at row k times the limit. Otherwise the batches before it must be
    counted, from the start of the order: about 0.2 s for 10^6 structures.

    Parameters
    ----------
    limit : int
        Most that the structures of a batch cost together; a structure that costs more is a batch of its own.
    costs : (S,) integers, optional
        Cost of each structure, for instance its atoms; one unless given.

    Examples
    --------
    >>> from mlff_distiller.data.loading.order import InOrder
    >>> atoms = np.array([3, 3, 9, 2, 4])
    >>> [rows.tolist() for rows in Batching(8, atoms).batches(InOrder(5))]
    [[0, 1], [2], [3, 4]]
    >>> [rows.tolist() for rows in Batching(2).batches(InOrder(5), start=1)]
    [[2, 3], [4]]
    """

    limit: int
    costs: NDArray[Any] | None = None

    def batches(self, order: Order, *, start: int = 0) -> Iterator[Rows]:
        """Yield the rows of each batch, from batch ``start`` on."""
        skipped = start if self.costs is None else 0
        for number, rows in enumerate(self._cut(order, skipped * self.limit), skipped):
            if number >= start:
                yield rows

    def cut(self, rows: Rows) -> list[Rows]:
        """Return rows in consecutive pieces."""
        return [rows[begin:end] for begin, end in self._pieces(rows)]

    def count(self, order: Order) -> int:
        """Return the number of batches."""
        if self.costs is None:
            return -(-len(order) // self.limit)
        return sum(1 for _ in self.batches(order))

    def _cut(self, order: Order, first: int) -> Iterator[Rows]:
        begun = order[0:0]
        for block in range(first, len(order), _BLOCK):
            rows = np.concatenate([begun, order[block : block + _BLOCK]])
            pieces = self._pieces(rows)
            # The last batch may go on in the next block.
            first_open = pieces.pop()[0] if block + _BLOCK < len(order) else len(rows)
            for begin, end in pieces:
                yield rows[begin:end]
            begun = rows[first_open:]

    def _pieces(self, rows: Rows) -> list[tuple[int, int]]:
        return cut(np.ones(len(rows), np.int64) if self.costs is None else self.costs[rows], self.limit)
