"""The split: whole segments, no overlap, every stratum its share."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.splits.plan import SplitPlan
from mlff_distiller.data.splits.segments import segment_of, split_by_segment, stratum, stratum_of

KEPT = {"validation": [0, 15, 21, 41, 47, 61], "test": [1, 17, 29, 39, 49, 53]}  # of the code that this one replaced
molecules = st.sampled_from(["ethanol", "benzene", "H2O"])
trajectory = st.builds(
    lambda m, t, w, s: f"{m}/md/{t}K/w{w}/s{s:02d}",
    molecules,
    st.sampled_from([300, 600]),
    st.integers(0, 2),
    st.integers(0, 5),
)
segments = st.lists(
    st.one_of(trajectory, molecules.map(lambda m: f"{m}/rattle"), st.text("ab/", max_size=4)), max_size=80
)
fractions = st.floats(0.05, 0.45)


def frames(*groups):
    """Return 4 frames for each of n segments, for every (prefix, n)."""
    return [f"{prefix}/s{i:02d}" for prefix, n in groups for i in range(n) for _ in range(4)]


def parts(split):
    return split.train, split.validation, split.test


@given(segments, fractions, fractions, st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_nothing_overlaps_nothing_is_lost_and_segments_stay_whole(names, validation, test, seed):
    plan = SplitPlan(validation_fraction=validation, test_fraction=test)
    try:
        split = split_by_segment(names, plan, seed=seed)
    except DataError:
        return
    together = np.concatenate(parts(split))
    assert sorted(together.tolist()) == list(range(len(names)))
    owners = [{names[i] for i in part} for part in parts(split)]
    assert sum(map(len, owners)) == len(set(names))
    assert all(len(part) for part in parts(split))
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts(split))
    assert {stratum(name) for name in names} == {stratum(name) for name in owners[0]}
    alone = {s for s, n in Counter(map(stratum, set(names))).items() if n == 1}
    assert all(stratum(name) not in alone for name in owners[1] | owners[2])


@given(segments, st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_three_segments_of_one_stratum_are_enough(names, seed):
    split = split_by_segment(names + frames(("enough/md/300K/w0", 3)), SplitPlan(), seed=seed)
    assert all(len(part) for part in parts(split))


def test_every_stratum_gives_its_share():
    names = frames(*((f"{m}/md/{t}K/w0", 20) for m in ("ethanol", "benzene") for t in (300, 600, 1000)))
    split = split_by_segment(names, SplitPlan(validation_fraction=0.1, test_fraction=0.2), seed=0)
    for part, share in ((split.validation, 2), (split.test, 4)):
        given = Counter(stratum(name) for name in {names[i] for i in part})
        assert set(given.values()) == {share}
        assert len(given) == 6


def test_shares_below_one_segment_add_up_over_strata():
    names = frames(*((f"mol{i:02d}/md/300K/w0", 4) for i in range(20)))
    split = split_by_segment(names, SplitPlan(), seed=0)
    assert len({names[i] for i in split.validation}) == 8
    assert len({names[i] for i in split.test}) == 20  # no system is left untested


def test_walkers_of_one_temperature_are_one_stratum():
    names = frames(*((f"ethanol/md/600K/w{w}", 1) for w in range(10)))
    split = split_by_segment(names, SplitPlan(), seed=0, strata=["ethanol/md/600K"] * len(names))
    assert [len(part) for part in parts(split)] == [32, 4, 4]


def test_a_single_segment_is_trained_on():
    names = ["ethanol/rattle"] * 10 + frames(("ethanol/md/300K/w0", 10))
    split = split_by_segment(names, SplitPlan(), seed=0)
    assert set(range(10)) <= set(split.train.tolist())


def test_the_seed_decides_and_the_order_of_frames_does_not():
    names = frames(("a/md/300K/w0", 30), ("b/md/300K/w0", 30))
    chosen = [split_by_segment(names, SplitPlan(), seed=seed).test.tolist() for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    shuffled = np.random.default_rng(0).permutation(names).tolist()
    there = {shuffled[i] for i in split_by_segment(shuffled, SplitPlan(), seed=1).test}
    assert there == {names[i] for i in chosen[0]}


@pytest.mark.parametrize("names", [[], ["a/rattle"] * 9, frames(("a/md", 2)), ["a/s0", "b/s0", "c/s0"]])
def test_too_few_segments_say_what_to_change(names):
    with pytest.raises(DataError, match=r"set would be empty: .* sample longer or more trajectories"):
        split_by_segment(names, SplitPlan(), seed=0)


def test_the_split_of_the_first_release_is_kept():
    systems = [f"{m}/md/{t}K" for m in ("benzene", "ethanol") for t in (300, 600)]
    frames = [(f"{system}/w{w}/s{k:02d}", system) for system in systems for w in range(2) for k in range(8)]
    frames += [("ethanol/rattle", "ethanol")] * 3
    split = split_by_segment([s for s, _ in frames], SplitPlan(), seed=1, strata=[t for _, t in frames])
    assert split.validation.tolist() == KEPT["validation"]
    assert split.test.tolist() == KEPT["test"]


def test_information_of_a_structure_names_segment_and_stratum():
    info = {"segment": "ethanol/md/600K/w0/s03", "stratum": "ethanol/md/600K"}
    assert segment_of(info, 0) == info["segment"]
    assert stratum_of(info, 0) == info["stratum"]
    assert stratum_of({"segment": "a/s0"}, 0) == "a"
    with pytest.raises(DataError, match="structure 7 does not say which trajectory segment"):
        stratum_of({}, 7)


def test_every_system_with_segments_to_spare_is_tested() -> None:
    segments = [f"m{system}/md/300K/w0/s{k:02d}" for system in range(8) for k in range(3)] + ["atom/rattle"]
    split = split_by_segment(segments, SplitPlan(), seed=1)
    assert {segments[i].partition("/")[0] for i in split.test} == {f"m{system}" for system in range(8)}
    assert {segments[i].partition("/")[0] for i in split.train} == {"atom", *(f"m{system}" for system in range(8))}
