"""Randomness: every random number comes from a seed and the name of what it is for.

Two uses never share a stream, and a new use never changes the numbers of an old one.
"""

import hashlib

import numpy as np


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return the random generator for one named use.

    Parameters
    ----------
    seed : int
        The recipe's seed.
    *names : str or int
        What the numbers are for, for instance ``"sampling", "md", 3``.

    Examples
    --------
    >>> bool(generator(1, "rattle", 0).random() == generator(1, "rattle", 0).random())
    True
    >>> generator(1, "rattle", 0).random() == generator(1, "rattle", 1).random()
    False
    """
    return np.random.default_rng(derived_seed(seed, *names))


def derived_seed(seed: int, *names: str | int) -> int:
    """Return a 64-bit seed for one named use, for libraries that want an integer.

    Examples
    --------
    >>> derived_seed(1, "weights") == derived_seed(1, "weights")
    True
    """
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
