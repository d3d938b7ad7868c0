"""Orders of structures: the given one, and a shuffled one that is computed, not stored.

A shuffled order of 10^8 structures needs no memory, and any piece of it costs the same as the first: a run that is
continued in the middle of an epoch starts there.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.randomness import generator

Rows = NDArray[np.int64]
Words = NDArray[np.uint64]

_N_ROUNDS = 12


class Order(Protocol):
    """A permutation of 0 to n - 1 that is read in slices."""

    def __len__(self) -> int:
        """Return n."""

    def __getitem__(self, piece: slice) -> Rows:
        """Return a piece of the permutation."""


@dataclass(frozen=True)
class InOrder:
    """The numbers 0 to n - 1 as they are.

    Parameters
    ----------
    n : int
        How many.

    Examples
    --------
    >>> InOrder(10)[2:5].tolist()
    [2, 3, 4]
    """

    n: int

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, piece: slice) -> Rows:
        return np.arange(*piece.indices(self.n), dtype=np.int64)


class Shuffle:
    """The numbers 0 to n - 1 in a random order that depends on seed and epoch alone.

    A keyed Feistel network permutes the smallest power of two that holds n; a result of n or more is permuted again
    until it is below n (cycle walking; Black & Rogaway 2002, doi:10.1007/3-540-45760-7_9), which takes less than two
    rounds on average.

    Parameters
    ----------
    n : int
        How many numbers.
    seed, epoch : int
        What the order depends on.

    Examples
    --------
    >>> order = Shuffle(10, seed=0, epoch=3)
    >>> sorted(order[0:10].tolist()) == list(range(10))
    True
    >>> order[4:7].tolist() == order[0:10].tolist()[4:7]
    True
    """

    def __init__(self, n: int, *, seed: int, epoch: int) -> None:
        self.n = n
        bits = max(1, (n - 1).bit_length())
        self._low_bits = np.uint64(bits - bits // 2)
        self._masks = np.uint64(2 ** (bits // 2) - 1), np.uint64(2 ** (bits - bits // 2) - 1)
        rng = generator(seed, "order", epoch)
        self._keys = rng.integers(0, 2**64, _N_ROUNDS, dtype=np.uint64, endpoint=False)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, piece: slice) -> Rows:
        values = self._permuted(np.arange(*piece.indices(self.n), dtype=np.uint64))
        while len(outside := np.flatnonzero(values >= self.n)):
            values[outside] = self._permuted(values[outside])
        return values.astype(np.int64)

    def _permuted(self, values: Words) -> Words:
        """Change each half of the bits by a random function of the other, in turns; every such step can be undone."""
        high, low = values >> self._low_bits, values & self._masks[1]
        for even, odd in self._keys.reshape(-1, 2):
            high ^= _mixed(low + even) & self._masks[0]
            low ^= _mixed(high + odd) & self._masks[1]
        return (high << self._low_bits) | low


def _mixed(words: Words) -> Words:
    """Mix every bit into every bit, as SplitMix64 does (Steele et al. 2014, doi:10.1145/2660193.2660195)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
