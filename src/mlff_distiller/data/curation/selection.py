"""Selection: fewer structures that say as much, by farthest points, by strata or at random."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.plan import Plan
from mlff_distiller.core.randomness import generator
from mlff_distiller.data.blocks import blocks, has
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.similarity.descriptors import Descriptor, Features, RadialDescriptor, embed
from mlff_distiller.data.similarity.farthest import farthest_points
from mlff_distiller.data.similarity.hashes import compositions
from mlff_distiller.data.source import Source
from mlff_distiller.data.splits.segments import stratum_of

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


class SelectionPlan(Plan):
    """Which structures to keep.

    Examples
    --------
    >>> SelectionPlan(kind="stratified", n=100, by="force").within
    'farthest'
    """

    kind: Literal["farthest", "stratified", "random"] = Field(
        "farthest",
        description="Always the structure least like those chosen before; from every stratum its share; or at random.",
    )
    n: int = Field(ge=1, description="Number of structures to select.")
    by: Literal["formula", "segment", "energy", "force"] = Field(
        "formula",
        description="Strata of a stratified selection: compositions, the strata of trajectories, or equal intervals of "
        "the energy per atom (from the mean of its composition) or of the largest force.",
    )
    n_bins: int = Field(10, ge=2, le=1000, description="Number of intervals of energy or force.")
    within: Literal["farthest", "random"] = Field("farthest", description="How structures are chosen inside a stratum.")
    descriptor: RadialDescriptor = Field(RadialDescriptor(), description="What makes two structures alike.")


def select(
    source: Source,
    plan: SelectionPlan,
    *,
    seed: int,
    descriptor: Descriptor | None = None,
    selected: Indices | None = None,
) -> Indices:
    """Return the selected rows (n,), in the order of their selection.

    Parameters
    ----------
    source : Source
        A store or columns of S structures.
    plan : SelectionPlan
        Settings.
    seed : int
        Of what is random: the first structure, random choices.
    descriptor : Descriptor, optional
        Another one than the plan's, for instance a student's embedding.
    selected : (k,) int64, optional
        Rows that are there already: they are not selected again, and farthest points keep away from them.

    Raises
    ------
    DataError
        If there are too few structures, more strata than structures to select, or the labels that strata need are
        missing.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> columns = pack(range(4), [Structure([1, 1], [[0, 0, 0], [0, 0, d]]) for d in (0.7, 0.71, 0.72, 1.2)])
    >>> sorted(select(columns, SelectionPlan(n=2), seed=2).tolist())
    [0, 3]
    """
    have = np.zeros(0, np.int64) if selected is None else np.asarray(selected, dtype=np.int64)
    rng = generator(seed, "selection")
    left = np.setdiff1d(np.arange(len(source)), have)
    if plan.n > len(left):
        raise DataError(f"cannot select {plan.n} of {len(left)} structures; ask for {len(left)} at most")
    if plan.kind == "random":
        return rng.permutation(left)[: plan.n]
    wants_features = plan.kind == "farthest" or plan.within == "farthest"
    features = embed(source, descriptor or plan.descriptor) if wants_features else None
    if plan.kind == "farthest":
        assert features is not None
        return farthest_points(features, plan.n, rng=rng, selected=have)
    return _stratified(strata(source, plan), plan.n, rng=rng, features=features, selected=have)


def strata(source: Source, plan: SelectionPlan) -> Indices:
    """Return the stratum of every structure (S,), 0 and up.

    Raises
    ------
    DataError
        If a structure lacks the label or the segment that strata need.
    """
    keys = np.concatenate([_stratum_values(rows, columns, plan.by) for rows, columns in blocks(source)])
    if plan.by in ("energy", "force"):
        if not np.isfinite(keys).all():
            raise DataError(f"the {plan.by} of structure {int(np.argmin(np.isfinite(keys)))} is not finite; remove it")
        values = keys if plan.by == "force" else keys - _means(keys, _compositions(source))
        low, high = values.min(), values.max()
        scaled = (values - low) / max(high - low, np.finfo(float).tiny) * plan.n_bins
        keys = np.minimum(scaled.astype(np.int64), plan.n_bins - 1)
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def shares(counts: Indices, n: int) -> Indices:
    """Return how many of n each stratum gives: in proportion, at least one each, no more than it has.

    Raises
    ------
    DataError
        If there are more strata than n.

    Examples
    --------
    >>> shares(np.array([1, 10, 89]), 10).tolist()
    [1, 1, 8]
    """
    if n < len(counts):
        raise DataError(f"{n} structures cannot stand for {len(counts)} strata; select at least {len(counts)}")
    wanted = counts * (n / counts.sum())
    given: Indices = np.clip(np.floor(wanted).astype(np.int64), 1, counts)
    while given.sum() < n:  # the largest remainders first
        open_ = given < counts
        order = np.argsort(-(wanted - given)[open_], kind="stable")[: n - given.sum()]
        given[np.flatnonzero(open_)[order]] += 1
    while given.sum() > n:  # what the minimum of one took beyond its share, the best served give back
        over = np.where(given > 1, given - wanted, -np.inf)
        given[int(np.argmax(over))] -= 1
    return given


def _stratified(
    labels: Indices, n: int, *, rng: np.random.Generator, features: Features | None, selected: Indices
) -> Indices:
    is_free = np.ones(len(labels), dtype=bool)
    is_free[selected] = False
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    members = [own for own in members if is_free[own].any()]
    counts = np.array([int(is_free[own].sum()) for own in members])
    chosen = []
    for own, share in zip(members, shares(counts, n), strict=True):
        if features is None:
            chosen.append(rng.permutation(own[is_free[own]])[:share])
        else:
            have = np.flatnonzero(~is_free[own])
            chosen.append(own[farthest_points(features[own], int(share), rng=rng, selected=have)])
    return np.concatenate(chosen)


def _stratum_values(rows: Indices, columns: Columns, by: str) -> NDArray[np.generic]:
    if by == "formula":
        return compositions(columns)
    if by == "segment":
        return np.array([stratum_of(columns.info(k), int(row)) for k, row in enumerate(rows)], dtype=object)
    name = "energy" if by == "energy" else "forces"
    if name not in columns.arrays or not has(columns, name).all():
        raise DataError(f"not every structure has {name}, which strata by {by} need; choose formula or segment")
    if by == "energy":
        return columns.arrays["energy"] / columns.sizes
    norms = np.linalg.norm(columns.arrays["forces"], axis=1)
    return np.maximum.reduceat(norms, columns.arrays["offsets"][:-1])


def _compositions(source: Source) -> Indices:
    keys = np.concatenate([compositions(columns) for _, columns in blocks(source)])
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def _means(values: Floats, groups: Indices) -> Floats:
    means: Floats = (np.bincount(groups, values) / np.bincount(groups))[groups]
    return means
