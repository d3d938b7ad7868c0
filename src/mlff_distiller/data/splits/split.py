"""Split: which structures are trained on, which watch the training and which test the result."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

PARTS: Final = ("train", "validation", "test")
"""Names of the parts, in the order of their numbers in an assignment."""


@dataclass(frozen=True, eq=False)
class Split:
    """Which structures belong where.

    Attributes
    ----------
    train, validation, test : (n,) int64
        Indices of structures, ascending; every structure is in exactly one of them.

    Examples
    --------
    >>> split = Split.from_assignment(np.array([0, 1, 2, 0]))
    >>> split.train.tolist(), split.assignment.tolist()
    ([0, 3], [0, 1, 2, 0])
    """

    train: Indices
    validation: Indices
    test: Indices

    @property
    def assignment(self) -> NDArray[np.uint8]:
        """The part of every structure (S,): 0 train, 1 validation, 2 test."""
        parts = [getattr(self, name) for name in PARTS]
        assignment = np.zeros(sum(map(len, parts)), dtype=np.uint8)
        for number, rows in enumerate(parts):
            assignment[rows] = number
        return assignment

    @classmethod
    def from_assignment(cls, assignment: NDArray[np.integer]) -> "Split":
        """Return the split that puts every structure (S,) where its number says."""
        return cls(*(np.flatnonzero(assignment == part).astype(np.int64) for part in range(len(PARTS))))
