"""Hashes of 64 bits, vectorized: sums of mixed numbers do not depend on the order of atoms."""

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.data.blocks import owners
from mlff_distiller.data.columns import Columns

Hashes = NDArray[np.uint64]


def mixed(values: NDArray[np.generic]) -> Hashes:
    """Return integers scrambled one by one, so that sums of them rarely meet (SplitMix64, doi:10.1145/2714064.2660195).

    Examples
    --------
    >>> bool(mixed(np.array([1, 2])).sum() == mixed(np.array([0, 3])).sum())
    False
    """
    x = np.asarray(values).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def summed(values: Hashes, owner: NDArray[np.int64], n: int) -> Hashes:
    """Return the sums (n,) of hashes over their owners, modulo 2^64."""
    total = np.zeros(n, dtype=np.uint64)
    np.add.at(total, owner, values)
    return total


def compositions(columns: Columns, *, electrons: bool = False) -> Hashes:
    """Return a hash (S,) of how many atoms of which element a structure has.

    Parameters
    ----------
    columns : Columns
        S structures.
    electrons : bool
        Whether another charge or spin makes another hash.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> a, b = Structure([1, 8], [[0, 0, 0], [0, 0, 1]]), Structure([8, 1], [[0, 0, 0], [0, 0, 1]], charge=-1)
    >>> for electrons in (False, True):
    ...     len(set(compositions(pack([0, 1], [a, b]), electrons=electrons).tolist()))
    1
    2
    """
    found = summed(mixed(columns.arrays["numbers"]), owners(columns), len(columns))
    if electrons:
        charge, spin = (columns.arrays[name].astype(np.int64) for name in ("charge", "spin"))
        found = mixed(found ^ mixed(charge * 1000 + spin))
    return found
