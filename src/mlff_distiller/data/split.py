"""Split: training, validation and test sets that never share a piece of trajectory."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.plan import Plan
from mlff_distiller.core.randomness import generator

Indices = NDArray[np.int64]

_WALKER = re.compile(r"w\d+")


class SplitPlan(Plan):
    """How much of the data is held out.

    Examples
    --------
    >>> SplitPlan(test_fraction=0.2).test_fraction
    0.2
    """

    validation_fraction: float = Field(
        0.1, gt=0, lt=0.5, description="Part of the trajectory segments that watches the training and chooses the best."
    )
    test_fraction: float = Field(
        0.1, gt=0, lt=0.5, description="Part of the trajectory segments that is kept for the final verdict alone."
    )


@dataclass(frozen=True, eq=False)
class Split:
    """Which structures belong where.

    Attributes
    ----------
    train, validation, test : (n,) int64
        Indices of structures, ascending; no index is in two of them.

    Examples
    --------
    >>> split = Split(np.array([0, 3]), np.array([1]), np.array([2]))
    >>> Split.from_json(split.to_json()).train.tolist()
    [0, 3]
    """

    train: Indices
    validation: Indices
    test: Indices

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {name: array.tolist() for name, array in vars(self).items()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Split":
        """Return the split that :meth:`to_json` wrote."""
        parts = (np.array(value[name], dtype=np.int64) for name in ("train", "validation", "test"))
        return cls(*parts)


def split_by_segment(segments: Sequence[str], plan: SplitPlan, seed: int) -> Split:
    """Split structures by whole trajectory segments, so that near-copies never sit on both sides.

    Segments are named by a path such as ``ethanol/md/600K/w0/s03``. Its stratum, ``ethanol/md/600K``, is the path
    without the last component and without a walker (``w0``) before it. Every stratum gives its share of segments to
    validation and test; the rounding errors of neighboring strata cancel. Every system (``ethanol``) with segments to
    spare has one in the test set. A segment that is alone in its stratum
    (``ethanol/rattle``), and at least one of every stratum, is trained on.

    Parameters
    ----------
    segments : sequence of str
        The segment of every structure.
    plan : SplitPlan
        How much is held out.
    seed : int
        Seed of the choice of segments.

    Raises
    ------
    DataError
        If there are too few segments to fill both held-out sets.

    Examples
    --------
    >>> names = [f"ethanol/md/300K/w0/s{i // 5:02d}" for i in range(50)] + ["ethanol/rattle"] * 5
    >>> split = split_by_segment(names, SplitPlan(), seed=0)
    >>> len(split.train), len(split.validation), len(split.test)
    (45, 5, 5)
    """
    strata = _strata(segments)
    rng = generator(seed, "split")
    shuffled = {name: [members[i] for i in rng.permutation(len(members))] for name, members in strata.items()}
    spare = {name: len(members) - 1 for name, members in strata.items()}
    n_validation = _shares(strata, plan.validation_fraction, spare)
    spare = {name: spare[name] - n_validation[name] for name in spare}
    # Backwards, so that the roundings of validation and test fall on different strata.
    n_test = _shares(dict(reversed(strata.items())), plan.test_fraction, spare)
    _cover_every_system(n_test, spare)
    validation = {s for name, own in shuffled.items() for s in own[: n_validation[name]]}
    test = {s for name, own in shuffled.items() for s in own[n_validation[name] : n_validation[name] + n_test[name]]}
    _check(validation, test, strata)
    place = np.array([1 if s in validation else 2 if s in test else 0 for s in segments])
    return Split(*(np.flatnonzero(place == part).astype(np.int64) for part in range(3)))


def stratum(segment: str) -> str:
    """Return what a segment is one sample of.

    Examples
    --------
    >>> stratum("ethanol/md/600K/w0/s03"), stratum("ethanol/rattle")
    ('ethanol/md/600K', 'ethanol')
    """
    parts = segment.split("/")[:-1]
    if parts and _WALKER.fullmatch(parts[-1]):
        parts = parts[:-1]
    return "/".join(parts)


def _strata(segments: Sequence[str]) -> dict[str, list[str]]:
    strata: dict[str, list[str]] = {}
    for segment in sorted(set(segments)):
        strata.setdefault(stratum(segment), []).append(segment)
    return dict(sorted(strata.items()))


def _shares(strata: dict[str, list[str]], fraction: float, spare: dict[str, int]) -> dict[str, int]:
    """Return how many segments each stratum gives: its share, rounding errors carried on to the next stratum."""
    shares, owed = {}, 0.0
    for name, members in strata.items():
        owed += fraction * len(members) if len(members) > 1 else 0.0
        shares[name] = max(0, min(round(owed), spare[name]))
        owed -= shares[name]
    if not any(shares.values()) and any(n > 0 for n in spare.values()):
        shares[max(spare, key=lambda name: spare[name])] = 1
    return shares


def _cover_every_system(n_test: dict[str, int], spare: dict[str, int]) -> None:
    """Give each system that can spare one a test segment: a verdict must not speak of what was never tested."""
    for system in {name.partition("/")[0] for name in n_test}:
        own = [name for name in n_test if name.partition("/")[0] == system]
        largest = max(own, key=lambda name: spare[name])
        if not any(n_test[name] for name in own) and spare[largest] > 0:
            n_test[largest] = 1


def _check(validation: set[str], test: set[str], strata: dict[str, list[str]]) -> None:
    empty = " and ".join(name for name, chosen in (("validation", validation), ("test", test)) if not chosen)
    if empty:
        n_segments = sum(map(len, strata.values()))
        raise DataError(
            f"the {empty} set would be empty: {n_segments} trajectory segments in {len(strata)} groups are too few to "
            "hold whole ones out; sample longer or more trajectories, or cut them into more segments"
        )
