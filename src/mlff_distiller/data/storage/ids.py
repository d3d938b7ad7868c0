"""IdSet: the ids that are stored, as ranges, since there may be 10^8 of them."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Set

import numpy as np
from numpy.typing import ArrayLike, NDArray


class IdSet(Set[int]):
    """A growing set of integers that is small in memory where they are consecutive.

    Examples
    --------
    >>> ids = IdSet()
    >>> ids.add(np.array([5, 1, 2, 3]))
    >>> 2 in ids, 4 in ids, len(ids), ids.n_ranges
    (True, False, 4, 2)
    >>> ids.common(np.array([4, 5, 9])).tolist()
    [5]
    """

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self._starts = np.empty(0, dtype=np.int64)
        self._stops = np.empty(0, dtype=np.int64)  # beyond the last of each range
        self.add(np.fromiter(ids, dtype=np.int64))

    @property
    def n_ranges(self) -> int:
        """Number of runs of consecutive ids."""
        return len(self._starts)

    def add(self, ids: ArrayLike) -> None:
        """Add ids; those that are there already do no harm."""
        new = np.unique(np.asarray(ids, dtype=np.int64))
        if not len(new):
            return
        breaks = np.flatnonzero(np.diff(new) != 1)
        starts = np.concatenate([self._starts, new[np.concatenate([[0], breaks + 1])]])
        stops = np.concatenate([self._stops, new[np.concatenate([breaks, [-1]])] + 1])
        order = np.argsort(starts, kind="stable")
        starts, reach = starts[order], np.maximum.accumulate(stops[order])
        opens = np.concatenate([[True], starts[1:] > reach[:-1]])
        self._starts = starts[opens]
        self._stops = reach[np.concatenate([opens[1:], [True]])]

    def common(self, ids: ArrayLike) -> NDArray[np.int64]:
        """Return those of some ids that are in the set."""
        asked = np.asarray(ids, dtype=np.int64)
        if not len(self._starts):
            return asked[:0]
        place = np.searchsorted(self._starts, asked, side="right") - 1
        return asked[(place >= 0) & (asked < self._stops[place])]

    def __contains__(self, number: object) -> bool:
        place = bisect_right(self._starts, number) - 1
        return bool(place >= 0 and number < self._stops[place])

    def __iter__(self) -> Iterator[int]:
        for start, stop in zip(self._starts.tolist(), self._stops.tolist(), strict=True):
            yield from range(start, stop)

    def __len__(self) -> int:
        return int((self._stops - self._starts).sum())

    @classmethod
    def _from_iterable(cls, ids: Iterable[int]) -> Set[int]:  # type: ignore[override]
        return set(ids)

    def __repr__(self) -> str:
        return f"IdSet({len(self)} ids in {self.n_ranges} ranges)"
