"""Radial distribution functions of periodic systems, by pair of elements."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.neighbors import find_edges
from mlff_distiller.atoms.structure import Structure

Floats = NDArray[np.float64]
_WIDTH = 0.05


def bin_centers(reach: float) -> Floats:
    """Return the distances (B,) at which functions are given, Angstrom."""
    return np.asarray((np.arange(round(reach / _WIDTH)) + 0.5) * _WIDTH, dtype=np.float64)


def element_pairs(numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the pairs of elements of a system, lower number first.

    Examples
    --------
    >>> element_pairs(np.array([8, 1, 1]))
    [(1, 1), (1, 8), (8, 8)]
    """
    elements = np.unique(numbers).tolist()
    return [(a, b) for k, a in enumerate(elements) for b in elements[k:]]


def pair_names(pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Return names such as "O-H", the heavier element first."""
    return [f"{SYMBOLS[b]}-{SYMBOLS[a]}" for a, b in pairs]


def radial_distributions(frames: Sequence[Structure], reach: float) -> Floats:
    """Return g(r) of each pair of elements (P, B), the mean of frames; NaN where there are none.

    1 is the density of a gas without interactions; both pairs of a like element are the N - 1 others of each atom.

    Parameters
    ----------
    frames : sequence of Structure
        The same atoms, periodic in three directions.
    reach : float
        Longest distance, Angstrom.
    """
    if not frames:
        return np.zeros((0, 0))
    numbers = frames[0].numbers
    pairs = element_pairs(numbers)
    edges = np.arange(round(reach / _WIDTH) + 1) * _WIDTH
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    found = np.zeros((len(pairs), len(shells)))
    for frame in frames:
        near = find_edges(frame, reach)
        lengths = np.linalg.norm(near.vectors, axis=1)
        left, right = numbers[near.centers], numbers[near.neighbors]
        for row, (a, b) in enumerate(pairs):
            counts = np.histogram(lengths[(left == a) & (right == b)], edges)[0]
            n_a, n_b = int((numbers == a).sum()), int((numbers == b).sum())
            others = n_b - (a == b) or n_b  # a single atom meets its own images
            found[row] += counts * frame.volume / (n_a * others * shells)
    return found / len(frames)


def area_between(a: Floats, b: Floats) -> float:
    """Return the area between two functions, the mean over pairs of elements, Angstrom."""
    return float(np.abs(a - b).mean(0).sum() * _WIDTH)
