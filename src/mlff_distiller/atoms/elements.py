"""Chemical elements: symbols and masses by atomic number (ASE's tables)."""

from collections.abc import Iterable
from typing import Final

import numpy as np
from ase.data import atomic_masses, chemical_symbols
from numpy.typing import NDArray

SYMBOLS: Final[tuple[str, ...]] = tuple(chemical_symbols)
"""Symbol of atomic number Z at index Z; index 0 is ASE's dummy "X"."""

MASSES: Final[NDArray[np.float64]] = atomic_masses
"""Standard atomic weight of atomic number Z at index Z, amu."""


def names(numbers: Iterable[int]) -> str:
    """Return the sorted, comma-separated symbols of a set of atomic numbers.

    Examples
    --------
    >>> names({8, 1})
    'H, O'
    """
    return ", ".join(SYMBOLS[int(z)] for z in sorted(set(numbers)))
