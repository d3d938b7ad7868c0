"""Leaks: structures of one part of a split that are nearly the same as structures of another."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.data.blocks import blocks
from mlff_distiller.data.similarity.duplicates import DuplicatesPlan, composition_keys, near_pairs
from mlff_distiller.data.similarity.hashes import compositions
from mlff_distiller.data.source import Source
from mlff_distiller.data.splits.split import PARTS, Split


@dataclass(frozen=True, eq=False)
class Leaks:
    """Near-duplicates on different sides.

    Attributes
    ----------
    pairs : (P, 2) int64
        Rows; the nearest ones, at most 16 for each structure and part.
    changes : (P,) float64
        How far they differ: root mean square change of interatomic distances, Angstrom; ascending.
    parts : (P, 2) uint8
        Parts of the split that the rows belong to: 0 train, 1 validation, 2 test.
    """

    pairs: NDArray[np.int64]
    changes: NDArray[np.float64]
    parts: NDArray[np.uint8]

    def to_json(self) -> dict[str, Any]:
        """Return how many structures of a part have a near-duplicate in another, and the nearest pairs."""
        counts = {}
        for part, other in ((1, 0), (2, 0), (2, 1)):
            hit = np.concatenate(
                [self.pairs[(self.parts[:, k] == part) & (self.parts[:, 1 - k] == other), k] for k in (0, 1)]
            )
            counts[f"{PARTS[part]}_in_{PARTS[other]}"] = len(np.unique(hit))
        nearest = zip(self.pairs[:5].tolist(), self.changes[:5].tolist(), strict=True)
        return {**counts, "nearest": [{"rows": rows, "change_A": change} for rows, change in nearest]}


def find_leaks(source: Source, split: Split, plan: DuplicatesPlan | None = None) -> Leaks:
    """Find structures that have a near-duplicate in another part of a split.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> columns = pack(range(3), [Structure([1, 1], [[0, 0, 0], [0, 0, d]]) for d in (0.74, 0.9, 0.741)])
    >>> found = find_leaks(columns, Split.from_assignment(np.array([0, 1, 2])))
    >>> found.pairs.tolist(), found.to_json()["test_in_train"]
    ([[0, 2]], 1)
    """
    plan = plan or DuplicatesPlan()
    tolerance = max(plan.tolerance, plan.resolution)  # exact duplicates agree to the resolution
    sides = split.assignment
    pairs, changes = near_pairs(
        source,
        plan.model_copy(update={"tolerance": tolerance}),
        composition_keys(source),
        rows=np.arange(len(source), dtype=np.int64),
        sides=sides.astype(np.int64),
    )
    order = np.argsort(changes, kind="stable")
    return Leaks(pairs[order], changes[order], sides[pairs[order]])


def trained_compositions(source: Source, split: Split) -> dict[str, int]:
    """Count the structures of the held-out parts whose composition is also trained on.

    A new molecule can be one that is trained on with a bond that is stretched or broken; its composition tells.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> columns = pack(range(3), [Structure([z], [[0, 0, 0]]) for z in (1, 1, 2)])
    >>> trained_compositions(columns, Split.from_assignment(np.array([0, 1, 2])))
    {'validation': 1, 'test': 0}
    """
    keys = np.concatenate([compositions(columns) for _, columns in blocks(source)])
    trained = np.unique(keys[split.train])
    return {name: int(np.isin(keys[getattr(split, name)], trained).sum()) for name in PARTS[1:]}
