"""Selection: farthest points against their definition, strata and their shares."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.plan import Plan
from mlff_distiller.data.columns import pack
from mlff_distiller.data.curation.diversity import coverage
from mlff_distiller.data.curation.selection import SelectionPlan, select, shares
from mlff_distiller.data.similarity.descriptors import FromStructures
from mlff_distiller.data.similarity.farthest import farthest_cells, farthest_points

FIRST_COORDINATE = FromStructures(lambda some: np.array([[s.positions[0, 0]] for s in some], dtype=np.float32))


def brute_force(points, n, start):
    chosen = list(start)
    while len(chosen) < n + len(start):
        distances = [min(float(((p - points[c]) ** 2).sum()) for c in chosen) for p in points]
        candidates = [k for k in range(len(points)) if k not in chosen]
        chosen.append(max(candidates, key=lambda k: (distances[k], -k)))
    return chosen[len(start) :]


@given(st.integers(2, 25), st.integers(1, 4), st.integers(0, 1000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_farthest_points_are_those_of_the_definition(n_points, n_start, seed, ties):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 3, (n_points, 2)) if ties else rng.normal(size=(n_points, 2))
    points = points.astype(np.float32)
    start = rng.permutation(n_points)[: min(n_start, n_points - 1)]
    n = n_points - len(start)
    found = farthest_points(points, n, rng=rng, selected=start)
    assert found.tolist() == brute_force(points, n, start.tolist())
    assert sorted([*found, *start]) == list(range(n_points))  # copies are taken last, nothing twice


def test_more_rows_than_one_chunk():
    points = np.random.default_rng(0).normal(size=(20_000, 3)).astype(np.float32)
    found = farthest_points(points, 6, rng=np.random.default_rng(1), selected=np.array([5]))
    distances = ((points - points[5]) ** 2).sum(1)
    for row in found:
        assert row == distances.argmax()
        distances = np.minimum(distances, ((points - points[row]) ** 2).sum(1))


def test_cells_belong_to_the_nearest_center():
    points = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    rows = farthest_points(points, 7, rng=np.random.default_rng(3))
    cells = farthest_cells(points, 7, rng=np.random.default_rng(3))
    expected = np.linalg.norm(points[:, None] - points[rows], axis=2).argmin(1)
    np.testing.assert_array_equal(cells, expected)


def test_a_farthest_selection_covers_better_than_a_random_one():
    points = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    rows = farthest_points(points, 100, rng=np.random.default_rng(0))
    found = coverage(points, rows)
    assert found["distance_to_subset"]["max"] < 0.7 * found["distance_to_random_subset"]["max"]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=30), st.data())
@settings(max_examples=100, deadline=None)
def test_shares_are_proportional_and_at_least_one(counts, data):
    counts = np.array(counts)
    n = data.draw(st.integers(len(counts), int(counts.sum())))
    given = shares(counts, n)
    assert given.sum() == n
    assert (given >= 1).all()
    assert (given <= counts).all()
    large = counts * n / counts.sum() >= 1
    if large.all():
        assert np.abs(given - counts * n / counts.sum()).max() <= 1


def water(x, energy=None, force=None, **info):
    positions = np.array([[x, 0, 0], [0.96 + x, 0, 0], [x - 0.24, 0.93, 0]])
    forces = None if force is None else np.array([[force, 0, 0], [-force, 0, 0], [0, 0, 0]])
    return Structure([8, 1, 1], positions, info=info), Labels(energy=energy, forces=forces)


def columns_of(frames):
    return pack(range(len(frames)), [s for s, _ in frames], [label for _, label in frames])


def test_strata_of_the_force_have_their_tails_in():
    columns = columns_of([water(k, force=1.0 + 0.001 * k) for k in range(98)] + [water(k, force=9.0) for k in (98, 99)])
    plan = SelectionPlan(kind="stratified", n=10, by="force", within="random")
    chosen = select(columns, plan, seed=0)
    assert len(set(chosen.tolist())) == 10
    assert len({98, 99} & set(chosen.tolist())) == 1


def test_strata_of_the_energy_do_not_see_the_composition():
    helium = [(Structure([2], [[k, 0, 0]]), Labels(energy=-78.0 + 0.01 * (k % 2))) for k in range(50)]
    columns = columns_of([*helium, *(water(k, energy=-2000.0 + 0.03 * (k % 2)) for k in range(50))])
    plan = SelectionPlan(kind="stratified", n=20, by="energy", n_bins=2, within="random")
    chosen = select(columns, plan, seed=0)
    assert np.bincount(chosen % 2).tolist() == [10, 10]


def test_farthest_within_strata_of_segments():
    columns = columns_of([water(k, segment=f"{'ab'[k % 2]}/s00") for k in range(40)])
    plan = SelectionPlan(kind="stratified", n=6, by="segment")
    chosen = select(columns, plan, seed=0, descriptor=FIRST_COORDINATE)
    assert np.bincount(chosen % 2).tolist() == [3, 3]
    for part in (0, 1):
        own = np.sort(chosen[chosen % 2 == part])
        assert own[0] == part or own[-1] == 38 + part  # an end is always among the farthest


@pytest.mark.parametrize("kind", ["farthest", "random", "stratified"])
def test_what_is_there_is_not_selected_again_and_the_seed_decides(kind):
    columns = columns_of([water(k) for k in range(30)])
    have = np.arange(0, 30, 3)
    plan = SelectionPlan(kind=kind, n=8)
    found = [select(columns, plan, seed=s, selected=have, descriptor=FIRST_COORDINATE).tolist() for s in (1, 1, 2)]
    assert found[0] == found[1]
    assert len(set(found[0])) == 8
    assert not set(found[0]) & set(have.tolist())
    if kind == "random":
        assert found[0] != found[2]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"n": 31}, "cannot select 31 of 30"),
        ({"n": 3, "kind": "stratified", "by": "force"}, "not every structure has forces"),
        ({"n": 3, "kind": "stratified", "by": "segment"}, "which trajectory segment"),
    ],
)
def test_what_cannot_be_selected_is_one_sentence(settings, sentence):
    columns = columns_of([water(k) for k in range(30)])
    with pytest.raises(DataError, match=sentence):
        select(columns, SelectionPlan(**settings), seed=0)


def test_more_strata_than_structures_is_one_sentence():
    columns = pack(range(4), [Structure([z], [[0, 0, 0]]) for z in (1, 2, 3, 4)])
    with pytest.raises(DataError, match="3 structures cannot stand for 4 strata"):
        select(columns, SelectionPlan(n=3, kind="stratified", within="random"), seed=0)
    assert issubclass(SelectionPlan, Plan)
