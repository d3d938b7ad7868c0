"""Learning curves: known laws are found, stated uncertainties hold, and what cannot be said is not said."""

import numpy as np
import pytest

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PlanError, TrainingError
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.distillation.forecast import ForecastPlan, LearningCurve, nested_rows, sentence

N = np.repeat([100, 200, 400, 800], 2)


def curve(law, scatter: float, seed: int = 0, n=N) -> LearningCurve:
    rng = np.random.default_rng(seed)
    return LearningCurve(n, law(n) * np.exp(rng.normal(0, scatter, len(n))), seed=seed)


@pytest.mark.parametrize("floor", [0.0, 0.02])
def test_an_exact_law_is_found(floor):
    def law(n):
        return 2.0 * n**-0.6 + floor

    value, uncertainty = curve(law, 1e-6).at(3200)
    assert value == pytest.approx(law(3200), rel=1e-2)
    assert uncertainty < 0.02 * value


def test_the_stated_uncertainty_holds_about_as_often_as_it_says():
    def law(n):
        return 2.0 * n**-0.6 + 0.01

    hits = 0
    for seed in range(16):
        value, uncertainty = curve(law, 0.05, seed).at(1600)
        hits += abs(value - law(1600)) <= uncertainty
    assert 0.4 < hits / 16 < 0.95


def test_flat_and_unclear_curves_are_called_so():
    assert curve(lambda n: np.full(len(n), 0.05), 0.005).outlook() == "flat"
    assert curve(lambda n: 2.0 * n**-0.5, 0.4).outlook() == "unclear"
    assert curve(lambda n: 2.0 * n**-0.5, 0.02).outlook() == "falling"
    assert "not the data" in sentence(curve(lambda n: np.full(len(n), 0.05), 0.005), 100)
    assert "--repeats" in sentence(curve(lambda n: 2.0 * n**-0.5, 0.4), 100)


def test_two_sizes_give_a_plain_power_law():
    n = np.array([100, 400, 400])
    found = LearningCurve(n, 2.0 * n**-0.5)
    assert found.law[2] == 0
    assert found.at(1600)[0] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("n", "errors"), [([100, 100], [0.1, 0.2]), ([100, 200], [0.1, np.nan]), ([1, 2], [0, 1]), ([1, 2], [0.2, 0.1])]
)
def test_what_is_no_curve_is_refused(n, errors):
    with pytest.raises(TrainingError):
        LearningCurve(np.array(n), np.array(errors))


def test_subsets_are_nested_and_hold_every_composition():
    numbers = [[1, 1]] * 50 + [[6, 1]] * 3 + [[8, 8]]
    train = MolecularDataset.from_structures([Structure(z, [[0, 0, 0], [0, 0, 1]]) for z in numbers])
    small, large = nested_rows(train, 5, seed=1), nested_rows(train, 20, seed=1)
    assert set(small) < set(large)
    assert len(set(large)) == 20
    assert {numbers[row][0] for row in small} == {1, 6, 8}
    assert not np.array_equal(large, nested_rows(train, 20, seed=2))
    with pytest.raises(TrainingError, match="all 3 compositions"):
        nested_rows(train, 2, seed=1)


@pytest.mark.parametrize("sizes", ["0,1", "1/2,3", "1/0,1", "1", "a"])
def test_sizes_that_are_none_are_refused(sizes):
    with pytest.raises(PlanError, match="sizes"):
        ForecastPlan.parse({"sizes": sizes}, where="")
