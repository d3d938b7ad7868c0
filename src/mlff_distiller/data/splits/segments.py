"""The split by trajectory segments: near copies in time never sit on both sides."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.randomness import generator
from mlff_distiller.data.splits.plan import SplitPlan
from mlff_distiller.data.splits.split import Split


def split_by_segment(
    segments: Sequence[str], plan: SplitPlan, *, seed: int, strata: Sequence[str] | None = None
) -> Split:
    """Split structures by whole trajectory segments, so that near-copies never sit on both sides.

    A segment is one piece of a trajectory (``ethanol/md/600K/w0/s03``), its stratum what it is one sample of
    (``ethanol/md/600K``, all walkers together). Every stratum gives its share of segments to validation and test; the
    rounding errors of neighboring strata cancel. Every system (the first part of the stratum's path, ``ethanol``) with
    segments to spare has one in the test set. A segment that is alone in its stratum (``ethanol/rattle``), and at least
    one of every stratum, is trained on.

    Parameters
    ----------
    segments : sequence of str
        The segment of every structure.
    plan : SplitPlan
        How much is held out.
    seed : int
        Seed of the choice of segments.
    strata : sequence of str, optional
        The stratum of every structure; unless said, the path of the segment without its last component.

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
    strata_of = [stratum(s) for s in segments] if strata is None else strata
    groups = _members(segments, strata_of)
    rng = generator(seed, "split")
    shuffled = {name: [members[i] for i in rng.permutation(len(members))] for name, members in groups.items()}
    spare = {name: len(members) - 1 for name, members in groups.items()}
    n_validation = _shares(groups, plan.validation_fraction, spare)
    spare = {name: spare[name] - n_validation[name] for name in spare}
    # Backwards, so that the roundings of validation and test fall on different strata.
    n_test = _shares(dict(reversed(groups.items())), plan.test_fraction, spare)
    _cover_every_system(n_test, spare)
    validation = {s for name, own in shuffled.items() for s in own[: n_validation[name]]}
    test = {s for name, own in shuffled.items() for s in own[n_validation[name] : n_validation[name] + n_test[name]]}
    _check(validation, test, groups)
    return Split.from_assignment(np.array([1 if s in validation else 2 if s in test else 0 for s in segments]))


def stratum(segment: str) -> str:
    """Return the stratum of a segment that does not say its own: the path without the last component.

    Examples
    --------
    >>> stratum("ethanol/md/600K/s03"), stratum("ethanol/rattle")
    ('ethanol/md/600K', 'ethanol')
    """
    return segment.rpartition("/")[0]


def segment_of(info: dict[str, Any], row: int) -> str:
    """Return the segment that the information of a structure names.

    Raises
    ------
    DataError
        If it names none.
    """
    segment = info.get("segment")
    if not isinstance(segment, str):
        raise DataError(
            f"structure {row} does not say which trajectory segment it is from (no 'segment' in its info); "
            "choose another kind of split: --kind random, formula, molecule or cluster"
        )
    return segment


def stratum_of(info: dict[str, Any], row: int) -> str:
    """Return the stratum that the information of a structure names, or that its segment implies.

    Raises
    ------
    DataError
        If it names neither.
    """
    found = info.get("stratum")
    return found if isinstance(found, str) else stratum(segment_of(info, row))


def _members(segments: Sequence[str], strata: Sequence[str]) -> dict[str, list[str]]:
    """Return the segments of each stratum, both sorted."""
    members: dict[str, list[str]] = {}
    for segment, name in sorted(dict(zip(segments, strata, strict=True)).items()):
        members.setdefault(name, []).append(segment)
    return dict(sorted(members.items()))


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
