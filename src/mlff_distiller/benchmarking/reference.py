"""A fixed piece of work, timed beside everything else: what it takes says how fast the machine is just now."""

import time

import numpy as np

_SIZE = 96  # of matrices that fit the second-level cache
_LONG = 400_000  # numbers, more than the second-level cache holds
_LOOPS = 5_000


class ReferenceWork:
    """A loop of the interpreter, matrix products, and numbers streamed through memory, a third of the time each.

    Times divided by its own, taken in the same rounds, depend on the machine's mood far less than times do. It takes
    about a millisecond.

    Examples
    --------
    >>> len(ReferenceWork().block(0.0))
    1
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._matrix = rng.standard_normal((_SIZE, _SIZE)).astype(np.float32)
        self._product = np.empty_like(self._matrix)
        self._long, self._copy = rng.standard_normal(_LONG).astype(np.float32), np.empty(_LONG, np.float32)
        self._call()

    def block(self, seconds: float) -> list[float]:
        """Do the work for half the time, at least once; return the milliseconds of each.

        So it never leaves a round that others stay in.
        """
        end = time.perf_counter() + 0.5 * seconds
        samples = [self._call()]
        while time.perf_counter() < end:
            samples.append(self._call())
        return samples

    def _call(self) -> float:
        start = time.perf_counter()
        total = 0
        for k in range(_LOOPS):
            total += k & 3
        for _ in range(14):
            np.matmul(self._matrix, self._matrix, out=self._product)
        for _ in range(6):
            np.multiply(self._long, 1.0001, out=self._copy)
        return 1e3 * (time.perf_counter() - start)
