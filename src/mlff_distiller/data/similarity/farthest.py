"""Farthest points: rows of a descriptor that cover all the others, and the cells around them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
Indices = NDArray[np.int64]

_ROWS: Final = 8192  # rows whose distances are formed at a time: they fit into the cache


def farthest_points(
    features: Features, n: int, *, rng: np.random.Generator, selected: Indices | None = None
) -> Indices:
    """Return n rows, each the farthest from all before it (Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5).

    Exact; of rows that are equally far the first is taken. Costs S x D operations for each row.

    Parameters
    ----------
    features : (S, D) float32
        Descriptors.
    n : int
        How many rows.
    rng : numpy.random.Generator
        Chooses the first row, where none is selected yet.
    selected : (k,) int64, optional
        Rows that are there already.

    Examples
    --------
    >>> points = np.array([[0.0], [1.0], [5.0], [2.4]], dtype=np.float32)
    >>> farthest_points(points, 3, rng=np.random.default_rng(0), selected=np.array([0])).tolist()
    [2, 3, 1]
    """
    return _farthest(features, n, rng=rng, selected=selected)[0]


def farthest_cells(features: Features, n: int, *, rng: np.random.Generator) -> Indices:
    """Return for each row (S,) the nearest of n farthest points, 0 to n - 1: the cells of a cover of the data.

    Examples
    --------
    >>> points = np.array([[0.0], [1.0], [5.0], [4.4]], dtype=np.float32)
    >>> cells = farthest_cells(points, 2, rng=np.random.default_rng(0))
    >>> bool(cells[0] == cells[1] != cells[2] == cells[3])
    True
    """
    return _farthest(features, n, rng=rng, selected=None)[1]


def _farthest(
    features: Features, n: int, *, rng: np.random.Generator, selected: Indices | None
) -> tuple[Indices, Indices]:
    """Return the selected rows, and for each row the place of the nearest of them."""
    distances = np.full(len(features), np.inf, dtype=np.float32)
    nearest = np.zeros(len(features), dtype=np.int64)
    chosen: list[int] = []
    for row in [] if selected is None else selected:
        _approach(features, int(row), 0, distances, nearest)
    if not np.isfinite(distances).all():
        chosen.append(int(rng.integers(len(features))))
        _approach(features, chosen[0], 0, distances, nearest)
    while len(chosen) < n:
        chosen.append(int(np.argmax(distances)))
        _approach(features, chosen[-1], len(chosen) - 1, distances, nearest)
    return np.array(chosen, dtype=np.int64), nearest


def _approach(features: Features, row: int, place: int, distances: Features, nearest: Indices) -> None:
    """Update squared distances to the nearest selected row; a selected row is at -1 and never comes again."""
    for first in range(0, len(features), _ROWS):
        some = slice(first, first + _ROWS)
        steps = features[some] - features[row]
        new = np.einsum("sd,sd->s", steps, steps)
        closer = new < distances[some]
        distances[some][closer] = new[closer]
        nearest[some][closer] = place
    distances[row], nearest[row] = -1.0, place
