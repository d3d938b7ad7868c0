"""Cutting consecutive things into pieces that cost no more than a limit."""

import numpy as np
from numpy.typing import ArrayLike


def cut(costs: ArrayLike, limit: int) -> list[tuple[int, int]]:
    """Cut consecutive things into pieces that cost at most ``limit`` together, at least one thing each.

    Parameters
    ----------
    costs : (n,) integers
        What each costs, for instance the atoms of a structure.
    limit : int
        Most that a piece costs; a single thing that costs more is a piece of its own.

    Returns
    -------
    list of (int, int)
        Where each piece begins, and where the next one does.

    Examples
    --------
    >>> cut([4, 4, 9, 1, 1], 8)
    [(0, 2), (2, 3), (3, 5)]
    """
    ends = np.cumsum(costs, dtype=np.int64)
    pieces, first = [], 0
    while first < len(ends):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + limit, side="right")))
        pieces.append((first, last))
        first = last
    return pieces
