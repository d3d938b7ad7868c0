"""Groups that stay together: copies, compositions, molecules or clusters; and the split that holds whole ones out."""

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.randomness import generator
from mlff_distiller.data.blocks import blocks
from mlff_distiller.data.similarity.connectivity import shared_molecules
from mlff_distiller.data.similarity.descriptors import Descriptor, embed
from mlff_distiller.data.similarity.duplicates import DuplicatesPlan, find_duplicates, merged
from mlff_distiller.data.similarity.farthest import farthest_cells
from mlff_distiller.data.similarity.hashes import compositions
from mlff_distiller.data.source import Source
from mlff_distiller.data.splits.plan import SplitPlan
from mlff_distiller.data.splits.split import Split

Indices = NDArray[np.int64]


def find_groups(source: Source, plan: SplitPlan, *, seed: int, descriptor: Descriptor | None = None) -> Indices:
    """Return the group of every structure (S,), for all kinds but segments.

    Kinds "random" and "cluster" join near-duplicates; those of one composition or molecule are together already. Kind
    "molecule" joins structures that share any molecule: a test molecule is in no structure that is trained on.

    Parameters
    ----------
    source : Source
        A store or columns.
    plan : SplitPlan
        Settings.
    seed : int
        Of the first cluster.
    descriptor : Descriptor, optional
        What makes two structures alike, for kind "cluster".
    """
    if plan.kind == "formula":
        return _numbered(np.concatenate([compositions(columns) for _, columns in blocks(source)]))
    if plan.kind == "molecule":
        return _joined_by_molecule(source)
    own = np.arange(len(source), dtype=np.int64)
    copies = find_duplicates(source, DuplicatesPlan(tolerance=plan.near_duplicate_tolerance)).groups
    if plan.kind == "random":
        return copies
    n_clusters = min(plan.n_clusters, len(source))
    cells = farthest_cells(embed(source, descriptor), n_clusters, rng=generator(seed, "split", "clusters"))
    return merged(cells, np.stack([own, copies], axis=1))


def split_by_group(groups: Indices, plan: SplitPlan, *, seed: int) -> Split:
    """Split structures by whole groups, chosen at random, as near to the fractions as groups allow from below.

    Where even the smallest groups are larger than a fraction, the held-out set is the smallest group that is left.

    Parameters
    ----------
    groups : (S,) int64
        Group of every structure.
    plan : SplitPlan
        How much is held out.
    seed : int
        Seed of the choice of groups.

    Raises
    ------
    DataError
        If there are fewer than three groups.

    Examples
    --------
    >>> split = split_by_group(np.arange(100), SplitPlan(kind="random"), seed=0)
    >>> len(split.train), len(split.validation), len(split.test)
    (80, 10, 10)
    """
    names, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 3:
        raise DataError(
            f"{len(groups)} structures form {len(names)} group{'s' if len(names) != 1 else ''} that must stay whole, "
            f"too few for training, validation and test (split kind '{plan.kind}'); "
            "choose another kind, a smaller near_duplicate_tolerance, or more varied data"
        )
    place = np.zeros(len(names), dtype=np.uint8)
    order = generator(seed, "split").permutation(len(names))
    for part, fraction, n_kept in ((2, plan.test_fraction, 2), (1, plan.validation_fraction, 1)):
        place[_fill(order[place[order] == 0], sizes, max(1, round(fraction * len(groups))), n_kept)] = part
    return Split.from_assignment(place[group])


def _fill(order: Indices, sizes: Indices, room: int, n_kept: int) -> list[int]:
    """Return groups, in their order, that fit into the room; ``n_kept`` groups at least are left over."""
    chosen: list[int] = []
    for group in order.tolist():
        if room == 0 or len(chosen) == len(order) - n_kept:
            break
        if sizes[group] <= room:
            chosen.append(group)
            room -= int(sizes[group])
    return chosen or [int(order[np.argmin(sizes[order])])]


def _numbered(keys: NDArray[np.uint64]) -> Indices:
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def _joined_by_molecule(source: Source) -> Indices:
    found = [(rows[own], names) for rows, columns in blocks(source) for own, names in [shared_molecules(columns)]]
    rows, names = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(names, kind="stable")
    rows, names = rows[order], names[order]
    again = np.flatnonzero(names[1:] == names[:-1])
    return merged(np.arange(len(source), dtype=np.int64), np.stack([rows[again], rows[again + 1]], axis=1))
