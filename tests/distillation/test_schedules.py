"""Schedules of the learning rate."""

import math

import numpy as np
import pytest

from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.distillation.schedules import learning_rate, n_drops


def rates(**changes) -> np.ndarray:
    plan = TrainingPlan(n_steps=1000, learning_rate=0.01, **changes)
    return np.array([learning_rate(plan, step) for step in range(1000)])


@pytest.mark.parametrize(("schedule", "peak"), [("cosine", 100), ("one_cycle", 300)])
def test_rates_rise_to_the_peak_and_fall(schedule, peak):
    found = rates(schedule=schedule, warmup_fraction=0.1)
    assert found.max() == pytest.approx(0.01)
    assert int(found.argmax()) in (peak - 1, peak)
    assert (np.diff(found[: peak - 1]) > 0).all() or schedule == "one_cycle"
    assert (np.diff(found[:peak]) >= 0).all()
    assert (np.diff(found[peak:]) <= 0).all()
    assert found[-1] < 2e-5
    assert (found > 0).all()


def test_cosine_is_a_cosine():
    found = rates(schedule="cosine", warmup_fraction=0.1)
    assert found[:100] == pytest.approx(0.01 * np.arange(1, 101) / 100)
    assert found[550] == pytest.approx(0.005)
    assert found[100 + 300] == pytest.approx(0.005 * (1 + math.cos(math.pi / 3)))


def test_constant_stays_after_the_warm_up():
    found = rates(schedule="constant", warmup_fraction=0.05)
    assert found[0] == pytest.approx(0.01 / 50)
    assert (found[50:] == 0.01).all()


def test_plateau_falls_when_validations_stand_still():
    plan = TrainingPlan(
        n_steps=1000, learning_rate=0.01, schedule="plateau", warmup_fraction=0, plateau_patience=2, plateau_factor=0.1
    )
    errors = [5.0, 4.0, 4.0, 4.5, 3.0, 3.1, 3.0, 3.0, 3.2]
    found = [learning_rate(plan, 500, errors[:k]) for k in range(len(errors) + 1)]
    assert found == pytest.approx([0.01] * 4 + [0.001] * 3 + [1e-4] * 2 + [1e-5])
    assert learning_rate(plan, 500, [1.0] * 100) == pytest.approx(1e-5)  # never below a thousandth


@pytest.mark.parametrize(("errors", "expected"), [([], 0), ([1, 2], 0), ([1, 2, 3], 1), ([1, 2, 3, 0, 1, 1], 2)])
def test_drops_are_counted(errors, expected):
    assert n_drops(errors, patience=2) == expected


def test_no_warm_up_begins_at_the_peak():
    assert rates(schedule="cosine", warmup_fraction=0)[0] == 0.01
