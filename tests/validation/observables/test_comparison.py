"""The yardstick: calibrated on replicas whose law is known, and blind to where runs begin."""

import numpy as np
import pytest

from mlff_distiller.validation.observables.comparison import distances, mean_ratio, measure_ratio


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())


def world(seed: int, n_systems: int, shift: float = 0.0, start_spread: float = 0.0) -> dict:
    """Return distances of replicas that are drawn from one law, of the student moved by a shift."""
    rng = np.random.default_rng([seed, n_systems])
    found = {}
    for system in range(n_systems):
        starts = start_spread * rng.normal(size=(4, 1))
        common = rng.normal(size=(2, 4, 1))  # what all coordinates of a run share, such as its temperature
        student, teacher = starts + common + rng.normal(size=(2, 4, 20))
        found[str(system)] = distances(student + shift, teacher, difference)
    return found


@pytest.mark.parametrize("n_systems", [1, 3, 8])
@pytest.mark.parametrize("start_spread", [0.0, 3.0])
def test_the_interval_of_a_student_that_is_the_teacher_contains_one(n_systems, start_spread):
    intervals = [mean_ratio(world(seed, n_systems, start_spread=start_spread))[1] for seed in range(100)]
    assert sum(low <= 1 <= high for low, high in intervals) >= 93


@pytest.mark.parametrize("n_systems", [3, 8])
def test_a_shift_of_three_times_the_noise_is_found(n_systems):
    lows = [mean_ratio(world(seed, n_systems, shift=4.0))[1][0] for seed in range(100)]
    assert sum(low > 1 for low in lows) >= 93


def test_runs_that_begin_alike_do_not_make_a_student_look_better_than_the_teacher():
    """Were pairs with the same start counted, the mean would be a quarter too low here."""
    values = [mean_ratio(world(seed, 8, start_spread=30.0))[0] for seed in range(20)]
    assert 0.95 < np.mean(values) < 1.1


def test_a_failed_run_is_infinitely_far():
    runs = np.random.default_rng(0).normal(size=(4, 5))
    broken = runs.copy()
    broken[1] = np.nan
    found = measure_ratio("rdf", {"a": distances(broken, runs, difference)}, unit="A", what="area")
    assert found.value == np.inf
    assert found.ci95 == (np.inf, np.inf)


def test_two_runs_give_a_value_and_no_interval():
    rng = np.random.default_rng(0)
    value, interval = mean_ratio({"a": distances(rng.normal(size=(2, 5)), rng.normal(size=(2, 5)), difference)})
    assert value > 0
    assert interval is None


def test_more_runs_narrow_the_interval():
    widths = []
    for n in (3, 4, 8):
        runs = np.random.default_rng(n).normal(size=(40, 2, n, 50))
        ends = [mean_ratio({"a": distances(*own, difference)})[1] for own in runs]
        widths.append(np.median([high / low for low, high in ends]))
    assert widths[0] > widths[1] > widths[2]


def test_runs_that_are_all_equal_are_no_distance_away():
    runs = np.ones((4, 3))
    assert mean_ratio({"a": distances(runs, runs, difference)})[0] == 1.0
    assert mean_ratio({"a": distances(runs + 1, runs, difference)})[0] == np.inf


def test_the_detail_names_the_worst_system_and_its_distances():
    found = measure_ratio(
        "bond_distribution",
        {"good": world(0, 1)["0"], "bad": world(0, 1, shift=5.0)["0"]},
        unit="A",
        what="distance",
    )
    assert found.detail["worst_system"] == "bad"
    assert found.detail["systems"]["bad"]["to_teacher"] == pytest.approx(5.0, abs=1.5)
    assert found.detail["distance_unit"] == "A"
