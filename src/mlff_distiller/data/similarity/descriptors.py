"""Descriptors: a vector for each structure, near for structures that are alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.plan import Plan
from mlff_distiller.core.randomness import generator
from mlff_distiller.data.blocks import blocks
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.similarity.pairs import find_pairs
from mlff_distiller.data.source import Source

Features = NDArray[np.float32]

_N_CHANNELS: Final = 4
_COMMON: Final = (1, 6, 7, 8, 9, 16, 15, 17, 35, 14, 53, 5)  # elements that meet often are kept orthogonal


class Descriptor(Protocol):
    """Anything that turns structures into vectors, for instance a student's embedding."""

    def describe(self, columns: Columns) -> Features:
        """Return one vector for each structure (S, D)."""


class RadialDescriptor(Plan):
    """The built-in descriptor: smooth histograms of distances between elements, and the composition.

    For every pair of atoms i, j within the cutoff a Gaussian of their distance r, times a smooth cutoff function, is
    added to the histogram of their two elements; the sum is divided by the number of atoms. It is invariant under
    rotation, reflection, translation and permutation, does not depend on the choice of the periodic cell, is smooth
    in the positions and size-intensive: a supercell has the vector of its cell. Elements enter as fixed vectors of
    four numbers (tensor reduction, doi:10.1103/PhysRevLett.131.028001), so the length of the descriptor, 10 times
    ``n_radial`` plus 4, does not grow with the number of elements and is the same for all data sets.

    Examples
    --------
    >>> from mlff_distiller.data.columns import pack
    >>> near, far = (Structure([1, 1], [[0, 0, 0], [0, 0, d]]) for d in (0.7, 0.8))
    >>> RadialDescriptor().describe(pack([0, 1], [near, far])).shape
    (2, 164)
    """

    kind: Literal["radial"] = "radial"
    cutoff: float = Field(
        5.0, gt=0.5, le=20, description="Distance beyond which atoms do not see each other, Angstrom."
    )
    n_radial: int = Field(16, ge=2, le=256, description="Number of Gaussians from 0.5 Angstrom to the cutoff.")

    def describe(self, columns: Columns) -> Features:
        """Return one vector for each structure (S, D), float32."""
        elements, densities = self._atoms(columns)
        i, j = np.triu_indices(_N_CHANNELS)
        weights = np.where(i == j, 1, np.sqrt(2)).astype(np.float32)  # keeps the norm of the symmetric matrix
        pairs = elements[:, i, None] * densities[:, j] * weights[:, None]
        flat = np.concatenate([pairs.reshape(len(pairs), -1), elements], axis=1)
        offsets = columns.arrays["offsets"]
        sums: Features = np.add.reduceat(flat, offsets[:-1], axis=0)
        return np.divide(sums, columns.sizes[:, None], dtype=np.float32)

    def describe_atoms(self, columns: Columns) -> Features:
        """Return one vector for each atom (A, 4 + 4 x n_radial), float32: its element, then its surroundings."""
        elements, densities = self._atoms(columns)
        return np.concatenate([elements, densities.reshape(len(elements), -1)], axis=1)

    def _atoms(self, columns: Columns) -> tuple[Features, Features]:
        """Return the element vectors (A, 4) and the densities of neighbors around atoms (A, 4, n_radial)."""
        from scipy.sparse import csr_array

        pairs = find_pairs(columns, self.cutoff)
        elements = _element_vectors()[columns.arrays["numbers"]]
        radial = self._radial(pairs.distances)
        n_atoms, n_pairs = len(elements), len(pairs)
        starts = np.searchsorted(pairs.centers, np.arange(n_atoms + 1))
        densities = np.empty((n_atoms, _N_CHANNELS, self.n_radial), dtype=np.float32)
        for channel in range(_N_CHANNELS):
            weights = elements[pairs.neighbors, channel]
            densities[:, channel] = csr_array((weights, np.arange(n_pairs), starts), shape=(n_atoms, n_pairs)) @ radial
        return elements, densities

    def _radial(self, distances: NDArray[np.float64]) -> Features:
        """Return Gaussians of the distances (E, n_radial) that end smoothly at the cutoff."""
        centers = np.linspace(0.5, self.cutoff, self.n_radial, dtype=np.float32)
        r = distances.astype(np.float32)[:, None]
        ending = 0.5 + 0.5 * np.cos(np.float32(np.pi / self.cutoff) * r)
        gaussians: Features = np.exp(-0.5 * ((r - centers) / (centers[1] - centers[0])) ** 2) * ending
        return gaussians


@dataclass(frozen=True)
class FromStructures:
    """A descriptor made of a function of structures, for instance the embedding of a student.

    Parameters
    ----------
    function : callable
        Takes a list of S structures, returns (S, D).

    Examples
    --------
    >>> from mlff_distiller.data.columns import pack
    >>> size = FromStructures(lambda structures: np.array([[len(s)] for s in structures], dtype=np.float32))
    >>> embed(pack([0], [Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])]), size).tolist()
    [[2.0]]
    """

    function: Callable[[Sequence[Structure]], Features]

    def describe(self, columns: Columns) -> Features:
        """Return one vector for each structure (S, D)."""
        return self.function([columns.structure(row) for row in range(len(columns))])


def embed(source: Source, descriptor: Descriptor | None = None) -> Features:
    """Return the descriptor of all structures (S, D), float32, reading them block by block.

    Parameters
    ----------
    source : Source
        A store or columns.
    descriptor : Descriptor, optional
        The built-in :class:`RadialDescriptor` unless said.

    Raises
    ------
    DataError
        If there are no structures, or a vector is not finite.

    Examples
    --------
    >>> from mlff_distiller.data.columns import pack
    >>> embed(pack([0], [Structure([1], [[0, 0, 0]])])).dtype
    dtype('float32')
    """
    if not len(source):
        raise DataError("there are no structures to describe; check the data set or the filter")
    described = descriptor or RadialDescriptor()
    features: Features | None = None
    for rows, columns in blocks(source):
        found = described.describe(columns)
        if not np.isfinite(found).all():
            bad = int(rows[np.argmin(np.isfinite(found).all(1))])
            raise DataError(f"the descriptor of structure {bad} is not finite; remove the structure")
        if features is None:
            features = np.empty((len(source), found.shape[1]), dtype=np.float32)
        features[rows] = found
    assert features is not None  # there is at least one block
    return features


def nearest_distances(queries: Features, features: Features, *, itself: NDArray[np.int64] | None = None) -> Features:
    """Return the distance of each query (Q, D) to the nearest of the features (S, D).

    Parameters
    ----------
    queries, features : (Q, D), (S, D)
        Descriptors.
    itself : (Q,) int64, optional
        The row of each query among the features, which does not count.

    Examples
    --------
    >>> points = np.array([[0.0], [1.0], [3.0]], dtype=np.float32)
    >>> nearest_distances(points, points, itself=np.arange(3)).tolist()
    [1.0, 1.0, 2.0]
    """
    center = features.mean(0, dtype=np.float64)
    others = (features - center).astype(np.float32)  # near the origin the squares lose least
    squares = np.einsum("sd,sd->s", others, others)
    found = np.empty(len(queries), dtype=np.float32)
    step = max(1, 10_000_000 // len(features))
    for first in range(0, len(queries), step):
        some = (queries[first : first + step] - center).astype(np.float32)
        distances = np.einsum("qd,qd->q", some, some)[:, None] + squares - 2 * some @ others.T
        if itself is not None:
            distances[np.arange(len(some)), itself[first : first + step]] = np.inf
        nearest = others[distances.argmin(1)]
        found[first : first + step] = np.linalg.norm(some - nearest, axis=1)
    return found


@lru_cache(maxsize=1)
def _element_vectors() -> Features:
    """Return a unit vector for each atomic number (119, 4): four elements at a time form an orthonormal frame."""
    vectors = np.zeros((119, _N_CHANNELS), dtype=np.float32)
    order = [*_COMMON, *(z for z in range(1, 119) if z not in _COMMON)]
    for first in range(0, len(order), _N_CHANNELS):
        some = order[first : first + _N_CHANNELS]
        frame = np.linalg.qr(generator(0, "descriptor", first).normal(size=(_N_CHANNELS, _N_CHANNELS)))[0]
        vectors[some] = frame[: len(some)]
    return vectors
