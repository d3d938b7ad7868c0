"""Fingerprints: sorted distances, by which two structures are compared whatever the order of their atoms.

The distances within a cutoff are listed for each pair of elements in ascending order; a list that is shorter than
another is filled up with the cutoff. The root mean square difference of two lists is the *distance change*: it is zero
for copies that are moved, rotated, mirrored, relabeled or described by another choice of the cell. For two orders of
the same atoms the sorted lists are never further apart than any other pairing (the one-dimensional transport problem),
so the distance change is a lower bound of what an alignment would give.

The coarse fingerprint sums a list over its ranks 1, 2-3, 4-7, 8-15, ..., each sum divided by the square root of the
number of ranks. It is an orthogonal projection of the lists: coarse fingerprints are never further apart than the lists
themselves, so a search among them misses nothing.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.data.blocks import blocks, owners
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.similarity.pairs import find_pairs
from mlff_distiller.data.source import Source

Indices = NDArray[np.int64]

_OCTAVES: Final = 13  # ranks up to 8,191 of one pair of elements enter the coarse fingerprint


@dataclass(frozen=True, eq=False)
class SortedDistances:
    """Distances of a block within a cutoff, sorted within structure and pair of elements.

    Attributes
    ----------
    structure, elements, rank : (E,) int64
        Row in the block; pair of elements, as a number; place in the list.
    closeness : (E,) float64
        Cutoff minus distance, Angstrom: descending, and zero for what is not there.
    """

    structure: Indices
    elements: Indices
    rank: Indices
    closeness: NDArray[np.float64]

    @classmethod
    def of(cls, columns: Columns, cutoff: float) -> "SortedDistances":
        """Return the sorted distances of a block, each pair of atoms once.

        Examples
        --------
        >>> from mlff_distiller.atoms.structure import Structure
        >>> from mlff_distiller.data.columns import pack
        >>> line = Structure([1, 1, 1], [[0, 0, 0], [0, 0, 1], [0, 0, 3]])
        >>> (5 - SortedDistances.of(pack([0], [line]), 5.0).closeness).tolist()
        [1.0, 2.0, 3.0]
        """
        pairs = find_pairs(columns, cutoff)
        pairs = pairs.where(pairs.centers <= pairs.neighbors)
        numbers = columns.arrays["numbers"].astype(np.int64)
        ends = np.sort(np.stack([numbers[pairs.centers], numbers[pairs.neighbors]]), axis=0)
        elements, structure = ends[0] * 128 + ends[1], owners(columns)[pairs.centers]
        order = np.lexsort((pairs.distances, elements, structure))
        structure, elements = structure[order], elements[order]
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (np.diff(structure) != 0) | (np.diff(elements) != 0)
        starts = np.flatnonzero(is_first)
        rank = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
        return cls(structure, elements, rank, cutoff - pairs.distances[order])


def coarse_fingerprints(source: Source, rows: Indices, cutoff: float) -> tuple[NDArray[np.float32], Indices]:
    """Return coarse fingerprints (R, D) of structures of one composition, and their numbers of distances (R,).

    Parameters
    ----------
    source : Source
        A store or columns.
    rows : (R,) int64
        Structures of one composition.
    cutoff : float
        Angstrom.
    """
    elements = np.unique(source.take(rows[:1]).arrays["numbers"]).astype(np.int64)
    kinds = np.array([a * 128 + b for k, a in enumerate(elements) for b in elements[k:]])
    coarse = np.zeros((len(rows), len(kinds) * _OCTAVES), dtype=np.float32)
    counts = np.zeros(len(rows), dtype=np.int64)
    first = 0
    for _, columns in blocks(source, rows):
        found, n = SortedDistances.of(columns, cutoff), len(columns)
        counts[first : first + n] = np.bincount(found.structure, minlength=n)
        octave = np.log2(found.rank + 1).astype(np.int64)
        kept = octave < _OCTAVES
        place = (found.structure * len(kinds) + np.searchsorted(kinds, found.elements)) * _OCTAVES + octave
        weights = found.closeness / np.sqrt(2.0**octave)
        sums = np.bincount(place[kept], weights[kept], minlength=n * coarse.shape[1])
        coarse[first : first + n] = sums.reshape(n, -1)
        first += n
    return coarse, counts


def distance_changes(source: Source, pairs: Indices, cutoff: float) -> NDArray[np.float64]:
    """Return the distance change (P,), Angstrom, of pairs of rows (P, 2) of the same composition.

    Parameters
    ----------
    source : Source
        A store or columns.
    pairs : (P, 2) int64
        Rows; few enough that their distances fit into memory.
    cutoff : float
        Angstrom.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> near, far = (Structure([1, 1], [[0, 0, 0], [0, 0, d]]) for d in (0.7, 0.8))
    >>> distance_changes(pack([0, 1], [near, far]), np.array([[0, 1]]), 5.0).round(6).tolist()
    [0.1]
    """
    rows, place = np.unique(pairs, return_inverse=True)
    found = SortedDistances.of(source.take(rows), cutoff)
    kinds, kind = np.unique(found.elements, return_inverse=True)
    longest = np.zeros(len(kinds), dtype=np.int64)
    np.maximum.at(longest, kind, found.rank + 1)
    slots = np.cumsum(longest) - longest
    lists = np.zeros((len(rows), int(longest.sum())))
    lists[found.structure, slots[kind] + found.rank] = found.closeness
    left, right = place.reshape(-1, 2).T
    both = np.maximum(lists[left] > 0, lists[right] > 0).sum(1)
    changes: NDArray[np.float64] = np.linalg.norm(lists[left] - lists[right], axis=1) / np.sqrt(np.maximum(both, 1))
    return changes
