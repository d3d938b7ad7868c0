"""Diversity: what a data set holds, how much of it repeats, and how well a part of it covers the whole."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.core.randomness import generator
from mlff_distiller.data.blocks import blocks, has, owners
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.similarity.descriptors import Features, nearest_distances
from mlff_distiller.data.similarity.hashes import compositions
from mlff_distiller.data.similarity.pairs import find_pairs
from mlff_distiller.data.source import Source

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

FORCE_EDGES: Final = np.logspace(-4, 4, 81)
"""Edges of the histogram of forces on atoms, eV/Angstrom: ten intervals to a decade."""

DISTANCE_EDGES: Final = np.linspace(0, 5, 101)
"""Edges of the histograms of distances, Angstrom."""

_QUERIES: Final = 2000  # structures whose nearest neighbor is searched; the rest is represented by them


@dataclass
class _Counts:
    """What is counted block by block."""

    n_periodic: int = 0
    atoms: Counter[str] = field(default_factory=Counter)
    structures: Counter[str] = field(default_factory=Counter)
    formulas: Counter[int] = field(default_factory=Counter)
    names: dict[int, str] = field(default_factory=dict)
    forces: Indices = field(default_factory=lambda: np.zeros(len(FORCE_EDGES) - 1, np.int64))
    distances: dict[str, Indices] = field(default_factory=dict)

    def add(self, columns: Columns) -> None:
        """Count one block."""
        self.n_periodic += int((columns.arrays["pbc"] != 0).any(1).sum())
        self._add_elements(columns)
        self._add_formulas(columns)
        self._add_distances(columns)
        if "forces" in columns.arrays:
            lengths = np.linalg.norm(columns.arrays["forces"][has(columns, "forces")[owners(columns)]], axis=1)
            inside = np.clip(lengths[np.isfinite(lengths)], FORCE_EDGES[0], FORCE_EDGES[-1])
            self.forces += np.histogram(inside, FORCE_EDGES)[0]

    def _add_elements(self, columns: Columns) -> None:
        present = np.unique(np.stack([owners(columns), columns.arrays["numbers"].astype(np.int64)]), axis=1)[1]
        for counter, numbers in ((self.atoms, columns.arrays["numbers"]), (self.structures, present)):
            found = np.bincount(numbers)
            counter.update({SYMBOLS[z]: int(found[z]) for z in np.flatnonzero(found)})

    def _add_formulas(self, columns: Columns) -> None:
        keys, rows, counts = np.unique(compositions(columns), return_index=True, return_counts=True)
        for key, row, count in zip(keys.tolist(), rows.tolist(), counts.tolist(), strict=True):
            self.formulas[key] += count
            if key not in self.names:
                self.names[key] = columns.structure(row).formula

    def _add_distances(self, columns: Columns) -> None:
        pairs = find_pairs(columns, float(DISTANCE_EDGES[-1]))
        numbers = columns.arrays["numbers"].astype(np.int64)
        ends = np.sort(np.stack([numbers[pairs.centers], numbers[pairs.neighbors]]), axis=0)
        kinds, kind = np.unique(ends[0] * 128 + ends[1], return_inverse=True)
        n_bins = len(DISTANCE_EDGES) - 1
        places = np.minimum((pairs.distances / DISTANCE_EDGES[1]).astype(np.int64), n_bins - 1)
        counts = np.bincount(kind * n_bins + places, minlength=len(kinds) * n_bins).reshape(-1, n_bins)
        for name, found in zip(kinds.tolist(), counts, strict=True):
            key = "-".join(sorted((SYMBOLS[name // 128], SYMBOLS[name % 128])))
            self.distances[key] = self.distances.get(key, 0) + found // 2  # every pair was found from both ends


def describe_content(source: Source) -> dict[str, Any]:
    """Return elements, compositions, sizes and distributions as plain data, reading block by block.

    Counts of ``elements`` are atoms and structures; ``formulas`` are the 50 most frequent; ``forces`` is a histogram of
    the lengths of forces on atoms (eV/Angstrom; what lies outside is in the first or last interval), ``distances`` one
    of pairs of atoms by their elements (Angstrom).

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> content = describe_content(pack([0], [Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])]))
    >>> content["elements"], content["formulas"], sum(content["distances"]["counts"]["H-H"])
    ({'H': {'n_atoms': 2, 'n_structures': 1}}, {'H2': 1}, 1)
    """
    counts = _Counts()
    for _, columns in blocks(source):
        counts.add(columns)
    sizes = np.asarray(source.sizes)
    order = sorted(counts.atoms, key=SYMBOLS.index)
    return {
        "n_structures": len(source),
        "n_atoms": int(sizes.sum()),
        "n_periodic": counts.n_periodic,
        "elements": {e: {"n_atoms": counts.atoms[e], "n_structures": counts.structures[e]} for e in order},
        "n_formulas": len(counts.formulas),
        "formulas": {counts.names[key]: count for key, count in counts.formulas.most_common(50)},
        "sizes": _quantiles(sizes),
        "forces": {"edges_eV_per_A": FORCE_EDGES.tolist(), "counts": counts.forces.tolist()},
        "distances": {
            "edges_A": DISTANCE_EDGES.tolist(),
            "counts": {name: found.tolist() for name, found in sorted(counts.distances.items())},
        },
    }


def redundancy(features: Features, *, seed: int = 0) -> dict[str, Any]:
    """Return how far structures are from the structure most like them, in a descriptor.

    Parameters
    ----------
    features : (S, D) float32
        From :func:`~mlff_distiller.data.similarity.descriptors.embed`.
    seed : int
        Chooses the 2,000 structures that are looked at where there are more.

    Examples
    --------
    >>> points = np.array([[0.0], [1.0], [1.0], [5.0]], dtype=np.float32)
    >>> redundancy(points)["nearest_distance"]["median"]
    0.5
    """
    queries = _some(len(features), seed, "redundancy")
    found = nearest_distances(features[queries], features, itself=queries) if len(features) > 1 else np.zeros(0)
    return {"n_looked_at": len(queries), "nearest_distance": _quantiles(found)}


def coverage(features: Features, subset: Indices, *, seed: int = 0) -> dict[str, Any]:
    """Return how far structures are from the nearest one of a subset, beside the same for a random subset as large.

    Parameters
    ----------
    features : (S, D) float32
        Descriptors of the whole.
    subset : (n,) int64
        Rows of the part.
    seed : int
        Chooses the structures that are looked at (2,000 at most) and the random subset.

    Examples
    --------
    >>> points = np.array([[0.0], [1.0], [4.0], [5.0]], dtype=np.float32)
    >>> coverage(points, np.array([0, 3]))["distance_to_subset"]["max"]
    1.0
    """
    queries = _some(len(features), seed, "coverage")
    rows = generator(seed, "diversity", "random").permutation(len(features))[: len(subset)]
    return {
        "n_subset": len(subset),
        "n_looked_at": len(queries),
        "distance_to_subset": _quantiles(nearest_distances(features[queries], features[subset])),
        "distance_to_random_subset": _quantiles(nearest_distances(features[queries], features[rows])),
    }


def _some(n: int, seed: int, name: str) -> Indices:
    return np.sort(generator(seed, "diversity", name).permutation(n)[:_QUERIES]).astype(np.int64)


def _quantiles(values: NDArray[np.number]) -> dict[str, float] | None:
    if not len(values):
        return None
    names = ("min", "5%", "median", "95%", "max")
    return dict(zip(names, map(float, np.quantile(values, [0, 0.05, 0.5, 0.95, 1])), strict=True))
