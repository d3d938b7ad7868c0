"""A sample of the structures, small enough to draw, and where its structures lie among each other."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.randomness import generator
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.similarity.descriptors import embed, nearest_distances
from mlff_distiller.data.storage.store import Store

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_MOST_STRUCTURES: Final = 3000
_MOST_ATOMS: Final = 300_000


@dataclass(frozen=True, eq=False)
class Sample:
    """Some structures in the built-in descriptor.

    Attributes
    ----------
    rows : (n,) int64
        Which structures, ascending.
    columns : Columns
        The structures.
    places : (n, 2)
        Their first two principal components.
    shares : (2,)
        Shares of the variance that the components stand for.
    nearest : (n,)
        Distance to the nearest other one; empty for a single structure.
    typical_distance : float
        Median distance of two structures of the sample; NaN for a single one.
    center : int
        Which of them is nearest to the mean.
    """

    rows: Indices
    columns: Columns
    places: Floats
    shares: Floats
    nearest: Floats
    typical_distance: float
    center: int

    @classmethod
    def of(cls, store: Store, *, seed: int = 0) -> "Sample":
        """Choose at most 3,000 structures with about 300,000 atoms at random and describe them."""
        rows = _choose(store.sizes, generator(seed, "pictures", "sample"))
        columns = store.take(rows)
        features = embed(columns)
        centered = features.astype(np.float64) - features.mean(0, dtype=np.float64)
        places, shares = _principal(centered)
        partners = generator(seed, "pictures", "partners").permutation(len(rows))
        apart = np.linalg.norm(centered - centered[partners], axis=1)[partners != np.arange(len(rows))]
        alone = len(rows) < 2
        return cls(
            rows,
            columns,
            places,
            shares,
            np.zeros(0) if alone else nearest_distances(features, features, itself=np.arange(len(rows))).astype(float),
            float(np.median(apart)) if len(apart) else np.nan,
            int(np.linalg.norm(centered, axis=1).argmin()),
        )


def _choose(sizes: Indices, rng: np.random.Generator) -> Indices:
    order = rng.permutation(len(sizes))[:_MOST_STRUCTURES]
    n = max(1, int(np.searchsorted(np.cumsum(sizes[order]), _MOST_ATOMS, side="right")))
    return np.sort(order[:n]).astype(np.int64)


def _principal(centered: Floats) -> tuple[Floats, Floats]:
    """Return the first two principal components (n, 2) and their shares of the variance; signs are fixed."""
    values, vectors = np.linalg.eigh(centered.T @ centered)
    axes = vectors[:, :-3:-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), [0, 1]])
    return centered @ axes, values[:-3:-1] / max(float(values.sum()), 1e-30)
