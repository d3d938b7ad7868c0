"""Blocks: any number of structures, a bounded number of atoms at a time."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.cutting import cut
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.schema import BITS
from mlff_distiller.data.source import Source

Indices = NDArray[np.int64]

MAX_ATOMS: Final = 10_000
"""Atoms of a block; with their pairs within 5 Angstrom about 100 MB in a condensed phase."""


def blocks(
    source: Source, rows: Indices | None = None, *, max_atoms: int = MAX_ATOMS
) -> Iterator[tuple[Indices, Columns]]:
    """Yield rows and their structures in blocks of at most ``max_atoms`` atoms, at least one structure each.

    Parameters
    ----------
    source : Source
        A store or columns.
    rows : (R,) int64, optional
        Which structures, in which order; all of them unless said.
    max_atoms : int
        Atoms of a block.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> columns = pack(range(5), [Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])] * 5)
    >>> [found.tolist() for found, _ in blocks(columns, max_atoms=4)]
    [[0, 1], [2, 3], [4]]
    """
    wanted = np.arange(len(source), dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)
    for first, last in cut(np.asarray(source.sizes)[wanted], max_atoms):
        yield wanted[first:last], source.take(wanted[first:last])


def owners(columns: Columns) -> Indices:
    """Return the structure that each atom belongs to (A,).

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> owners(pack([0, 1], [Structure([1], [[0, 0, 0]]), Structure([1, 1], [[0, 0, 0], [0, 0, 1]])])).tolist()
    [0, 1, 1]
    """
    return np.repeat(np.arange(len(columns), dtype=np.int64), np.diff(columns.arrays["offsets"]))


def has(columns: Columns, name: str) -> NDArray[np.bool_]:
    """Return which structures have a label (S,).

    Examples
    --------
    >>> from mlff_distiller.atoms.labels import Labels
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> columns = pack([0, 1], [Structure([1], [[0, 0, 0]])] * 2, [Labels(energy=-13.6), Labels()])
    >>> has(columns, "energy").tolist(), has(columns, "forces").tolist()
    ([True, False], [False, False])
    """
    labeled: NDArray[np.bool_] = (columns.arrays["mask"] & BITS[name]) != 0
    return labeled
