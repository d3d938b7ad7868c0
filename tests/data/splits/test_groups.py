"""Splits by group: nothing on two sides, nothing lost, no copies across."""

import ase.build
import ase.io
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.columns import pack
from mlff_distiller.data.similarity.connectivity import molecule_keys, shared_molecules
from mlff_distiller.data.similarity.duplicates import DuplicatesPlan
from mlff_distiller.data.splits.groups import find_groups, split_by_group
from mlff_distiller.data.splits.leaks import find_leaks, trained_compositions
from mlff_distiller.data.splits.make import make_split
from mlff_distiller.data.splits.plan import SplitPlan
from mlff_distiller.data.splits.split import PARTS, Split

NAMES = ("CH3CH2OH", "CH3OCH3", "trans-butane", "isobutane", "C6H6", "H2O", "CH4", "NH3", "C2H6", "C3H8")


def columns_of(structures):
    return pack(range(len(structures)), structures)


def rattled(name, n, seed=0, amplitude=0.05):
    start, rng = from_ase(ase.build.molecule(name)), np.random.default_rng(seed)
    return [start.moved(start.positions + rng.normal(0, amplitude, start.positions.shape)) for _ in range(n)]


MANY = columns_of([s for k, name in enumerate(NAMES) for s in rattled(name, 12, seed=k)])


def parts(split):
    return [getattr(split, name) for name in PARTS]


def assert_partition(split, n):
    assert sorted(np.concatenate(parts(split)).tolist()) == list(range(n))
    assert all(len(part) for part in parts(split))
    assert all((np.diff(part) > 0).all() for part in parts(split))


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=200),
    st.floats(0.02, 0.49),
    st.floats(0.02, 0.49),
    st.integers(0, 2**32),
)
@settings(max_examples=200, deadline=None)
def test_groups_stay_whole_nothing_is_lost_and_no_part_is_empty(groups, validation, test, seed):
    groups = np.array(groups)
    plan = SplitPlan(kind="formula", validation_fraction=validation, test_fraction=test)
    if len(set(groups.tolist())) < 3:
        with pytest.raises(DataError, match="too few for training, validation and test"):
            split_by_group(groups, plan, seed=seed)
        return
    split = split_by_group(groups, plan, seed=seed)
    assert_partition(split, len(groups))
    owners = [set(groups[part].tolist()) for part in parts(split)]
    assert sum(map(len, owners)) == len(set(groups.tolist()))
    left = dict(zip(*np.unique(groups, return_counts=True), strict=True))
    for part, own, fraction in ((split.test, owners[2], test), (split.validation, owners[1], validation)):
        assert len(part) <= max(1, round(fraction * len(groups)), min(left.values()))
        left = {group: size for group, size in left.items() if group not in own}


@given(st.integers(10, 500), st.floats(0.05, 0.45), st.floats(0.05, 0.45), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_single_structures_give_exact_fractions(n, validation, test, seed):
    plan = SplitPlan(kind="random", validation_fraction=validation, test_fraction=test)
    split = split_by_group(np.arange(n), plan, seed=seed)
    n_test = max(1, round(test * n))
    assert len(split.test) == min(n_test, n - 2)
    assert len(split.validation) == min(max(1, round(validation * n)), n - len(split.test) - 1)


@pytest.mark.parametrize("kind", ["random", "formula", "molecule", "cluster"])
def test_every_kind_is_a_partition_decided_by_its_seed(kind):
    plan = SplitPlan(kind=kind, n_clusters=12)
    splits = [make_split(MANY, plan, seed=seed) for seed in (1, 1, 2)]
    assert_partition(splits[0], len(MANY))
    assert np.array_equal(splits[0].assignment, splits[1].assignment)
    assert not np.array_equal(splits[0].assignment, splits[2].assignment)


def test_compositions_and_molecules_are_held_out_whole():
    keys = molecule_keys(MANY)
    for kind, n_groups in (("formula", 8), ("molecule", 10)):  # ethanol and ether, butane and isobutane are isomers
        split = make_split(MANY, SplitPlan(kind=kind), seed=0)
        assert len(set(find_groups(MANY, SplitPlan(kind=kind), seed=0).tolist())) == n_groups
        owners = [set(keys[part].tolist()) for part in parts(split)]
        assert sum(map(len, owners)) == len(set().union(*owners))


def mixture(*names, ions=""):
    whole = ase.Atoms(ions, [[0, 0, -9.0 * (1 + k)] for k in range(len(ase.Atoms(ions)))])
    for k, name in enumerate(names):
        part = ase.build.molecule(name)
        part.positions += [0, 0, 9.0 * k]
        whole.extend(part)
    return from_ase(whole)


def test_mixtures_are_with_everything_that_shares_a_molecule_with_them():
    plan = SplitPlan(kind="molecule")
    contents = [("H2O",), ("H2O", "CH4"), ("CH4",), ("NH3", "NH3"), ("C2H6", "NH3"), ("C6H6",), ("C3H8",), ("C6H6",)]
    columns = columns_of([mixture(*names) for names in contents])
    assert find_groups(columns, plan, seed=0).tolist() == [0, 0, 0, 3, 3, 5, 6, 5]
    for seed in range(10):
        split = make_split(columns, plan, seed=seed)
        rows, names = shared_molecules(columns)
        held_out = [set(names[np.isin(rows, part)].tolist()) for part in parts(split)]
        assert sum(map(len, held_out)) == len(set().union(*held_out)) == 6


def test_mixtures_that_share_everything_leave_no_new_molecule_to_test_on():
    columns = columns_of([mixture("H2O"), mixture("H2O", "CH4"), mixture("CH4", "NH3"), mixture("NH3", "C2H6")] * 5)
    with pytest.raises(DataError, match="20 structures form 1 group"):
        make_split(columns, SplitPlan(kind="molecule"), seed=0)


def test_single_atoms_join_nothing_but_their_like():
    plan = SplitPlan(kind="molecule")
    columns = columns_of(
        [mixture("H2O", ions="Li"), mixture("CH4", ions="Li"), mixture(ions="Li"), mixture(ions="Li2")]
    )
    assert find_groups(columns, plan, seed=0).tolist() == [0, 1, 2, 2]
    copper = [from_ase(a) for a in (ase.build.bulk("Cu"), ase.build.bulk("Cu").repeat(2), ase.build.bulk("Ag"))]
    assert find_groups(columns_of(copper), plan, seed=0).tolist() == [0, 0, 2]


def test_a_broken_bond_is_told_by_its_composition():
    ethane = from_ase(ase.build.molecule("C2H6"))
    torn = ethane.moved(ethane.positions + np.where(ethane.positions[:, 2:] > 0, [[0, 0, 3.0]], 0.0))
    columns = columns_of([ethane, torn, mixture("H2O"), ethane])
    assert len(set(find_groups(columns, SplitPlan(kind="molecule"), seed=0).tolist())) == 3
    split = Split.from_assignment(np.array([0, 2, 1, 0]))
    assert trained_compositions(columns, split) == {"validation": 0, "test": 1}


def test_real_mixtures_keep_every_molecule_on_one_side(shared):
    frames = ase.io.read(shared / "data" / "liquids" / "solvent_train.xyz", ":")
    columns = columns_of([from_ase(atoms) for atoms in frames])
    split = make_split(columns, SplitPlan(kind="molecule"), seed=0)
    rows, names = shared_molecules(columns)
    trained = set(names[np.isin(rows, split.train)].tolist())
    assert not trained & set(names[~np.isin(rows, split.train)].tolist())
    assert len(split.train) >= 199  # all but free atoms and a frame with a broken bond are one group


def test_clusters_are_unlike_each_other():
    split = make_split(MANY, SplitPlan(kind="cluster", n_clusters=10), seed=0)
    names = np.repeat(np.arange(10), 12)
    assert {len(set(names[part].tolist()) & set(names[split.train].tolist())) for part in parts(split)[1:]} == {0}


def test_a_random_split_keeps_copies_on_one_side_and_says_where_they_are_not():
    originals = rattled("CH3CH2OH", 60, amplitude=0.1)
    rng = np.random.default_rng(1)
    copies = [s.moved(s.positions @ np.diag([1.0, -1, 1]) + rng.normal(0, 1e-3, s.positions.shape)) for s in originals]
    columns = columns_of([*originals, *copies])
    split = make_split(columns, SplitPlan(kind="random"), seed=0)
    assert np.array_equal(split.assignment[:60], split.assignment[60:])
    assert len(find_leaks(columns, split).pairs) == 0
    leaking = Split.from_assignment(np.concatenate([np.zeros(60, int), np.arange(60) % 3]))
    found = find_leaks(columns, leaking)
    expected = {(k, k + 60) for k in range(60) if k % 3}
    assert {tuple(pair) for pair in found.pairs.tolist()} == expected
    assert found.to_json()["test_in_train"] == found.to_json()["validation_in_train"] == 20
    assert found.to_json()["test_in_validation"] == 0


def test_exact_copies_are_leaks_at_any_tolerance():
    s = rattled("H2O", 3)
    found = find_leaks(
        columns_of([*s, s[1]]), Split.from_assignment(np.array([0, 0, 1, 2])), DuplicatesPlan(tolerance=0)
    )
    assert found.pairs.tolist() == [[1, 3]]


def test_copies_that_chain_everything_together_are_one_sentence():
    columns = columns_of(rattled("CH3CH2OH", 30, amplitude=1e-4))
    with pytest.raises(DataError, match="30 structures form 1 group that must stay whole"):
        make_split(columns, SplitPlan(kind="random"), seed=0)
    assert_partition(make_split(columns, SplitPlan(kind="random", near_duplicate_tolerance=0), seed=0), 30)


def test_structures_without_segments_are_one_sentence():
    with pytest.raises(DataError, match="structure 0 does not say which trajectory segment"):
        make_split(MANY, SplitPlan(), seed=0)


def test_the_default_is_by_segment_as_the_information_says():
    info = [{"segment": f"m/md/300K/w{k % 2}/s{k // 8}", "stratum": "m/md/300K"} for k in range(80)]
    columns = columns_of([Structure([1], [[k, 0, 0]], info=i) for k, i in enumerate(info)])
    split = make_split(
        columns, SplitPlan.parse({"validation_fraction": 0.2, "test_fraction": 0.1}, where="recipe"), seed=1
    )
    assert [len(part) for part in parts(split)] == [56, 16, 8]
    assert not {info[i]["segment"] for i in split.test} & {info[i]["segment"] for i in split.train}


def test_the_official_split_of_rmd17_has_neighbors_in_time_on_both_sides(shared):
    files = [np.load(shared / "data" / "rmd17" / f"rmd17_aspirin_{part}_01.npz") for part in ("train", "test")]
    positions = np.concatenate([file["coords"] for file in files])
    times = np.concatenate([file["old_indices"] for file in files])
    columns = columns_of([Structure(files[0]["nuclear_charges"], x) for x in positions])
    official = Split.from_assignment(np.repeat([0, 2], 1000))
    found = find_leaks(columns, official, DuplicatesPlan(tolerance=0.02))
    assert found.to_json()["test_in_train"] >= 5
    assert np.abs(np.diff(times[found.pairs], axis=1)).max() <= 3  # of 200,000 steps
    plan = SplitPlan(kind="random", near_duplicate_tolerance=0.02)
    ours = make_split(columns, plan, seed=0)
    assert len(find_leaks(columns, ours, DuplicatesPlan(tolerance=0.02)).pairs) == 0
    assert [len(part) for part in parts(ours)] == [1600, 200, 200]
