"""What would settle a check does settle it: measured as much more as was said, the interval is on one side."""

import re
from dataclasses import replace

import pytest
from scipy.stats import t

from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.criterion import AtMost
from mlff_distiller.validation.settle import _SAMPLES, check_of, settle

CRITERIA = CriteriaPlan()


def said(measurement: Measurement) -> str:
    criterion = CRITERIA.criterion(measurement.name)
    assert criterion.outcome(measurement) == "INCONCLUSIVE"
    return settle(measurement.name, measurement, criterion)


def drift(value: float, half: float, **detail: float) -> Measurement:
    facts = {"half_width": half, "scaling": -1.5, "duration_ps": 10.0, "n_replicas": 3} | detail
    return Measurement("nve_drift", value, "eV/atom/ps", (max(value - half, 0), value + half), 3, facts)


def half_width(half: float, n: int, more: int) -> float:
    """Return the half width of an interval of replicas when there are more of them."""
    before, after = (t.ppf(0.975, k - 1) / k**0.5 for k in (n, n + more))
    return half * after / before


@pytest.mark.parametrize(("value", "half"), [(2e-7, 3e-6), (5e-7, 8e-7), (4e-6, 5e-6), (0.0, 1.5e-6)])
def test_more_replicas_or_longer_runs_settle_a_drift(value: float, half: float) -> None:
    text = said(drift(value, half))
    more_ps = float(re.search(r"About ([\d.e+-]+) ps more per run", text)[1])
    more_runs = int(re.search(r"or ([\d,]+) more replicas of each system", text)[1].replace(",", ""))
    distance = abs(1e-6 - value)
    assert half * ((10 + 1.03 * more_ps) / 10) ** -1.5 < distance
    assert half * ((10 + 0.9 * more_ps) / 10) ** -1.5 > distance
    assert half_width(half, 3, more_runs) < distance <= half_width(half, 3, more_runs - 1)
    asked = float(re.search(r"duration_ps: ([\d.]+)", text)[1])
    assert asked >= 0.99 * (10 + more_ps)


def test_what_is_gained_over_a_run_grows_with_it() -> None:
    facts = {"half_width": 0.8, "scaling": -0.5, "duration_ps": 10.0, "n_replicas": 3}
    far = Measurement("nve_drift_percent", 0.4, "%", (0.0, 1.2), 3, facts)
    text = said(far)  # in 40 ps the gain is 1.6 +- 0.4 %, clearly too much
    more_ps = float(re.search(r"About ([\d.]+) ps more", text)[1])
    factor = 1 + more_ps / 10
    assert abs(1.0 - 0.4 * factor) >= 0.97 * 0.8 * factor**-0.5


def test_without_knowledge_of_the_length_only_replicas_are_asked_for() -> None:
    text = said(drift(5e-7, 8e-7, scaling=0.0))
    assert "ps more" not in text
    assert "more replicas of each system (validation.nve.n_replicas) would settle it." in text


@pytest.mark.parametrize(
    ("value", "ends", "n"), [(0.15, (0.1, 0.225), 8), (0.25, (0.17, 0.37), 20), (0.19, (0.1, 0.3), 5)]
)
def test_more_segments_settle_an_error(value: float, ends: tuple[float, float], n: int) -> None:
    text = said(Measurement("force_rmse", value, "eV/A", ends, n))
    more = int(re.search(r"About ([\d,]+) more held-out trajectory segments", text)[1].replace(",", ""))
    width = abs((ends[1] if value < 0.2 else ends[0]) - value)
    assert half_width(width, n, more) < 1.3 * abs(0.2 - value)
    assert "split.test_fraction" in text


def test_a_value_on_the_limit_is_not_settled_by_any_amount() -> None:
    text = said(Measurement("force_rmse", 0.2, "eV/A", (0.19, 0.21), 20))
    assert text.startswith("The value lies so near the limit that 100 times as many held-out trajectory segments")
    assert "100 times as many" in said(drift(1e-6, 1e-8))


@pytest.mark.parametrize(
    ("measurement", "words"),
    [
        (
            Measurement("nve_duration", 4.0, "ps", None, 3, {"censored": True}),
            "6 ps more per run would settle it (validation.nve.duration_ps: 10).",
        ),
        (Measurement("nve_replicas", 1.0, ""), "2 more replicas of each system would settle it"),
        (Measurement("nve_systems", 0.34, ""), "Constant-energy runs of more systems would settle it"),
        (
            Measurement("force_rmse", 0.1, "eV/A", None, 1),
            "So few held-out trajectory segments give no interval; more are needed",
        ),
        (Measurement("nve_drift_percent", float("nan"), "%"), "A run failed"),
        (Measurement("force_rmse", float("nan"), "eV/A"), "nothing to compare with"),
        (Measurement("memory_growth", 0.9, "%", (0.6, 1.2), 50), "more blocks (timing.memory.n_blocks)"),
        (Measurement("step_time", 9.0, "ms", (8.0, 11.0), 6), "more blocks (timing.n_blocks)"),
        (
            Measurement("force_residual", 0.009, "eV/A", (0.008, 0.012), 6),
            "more structures (validation.physicality.n_per_system)",
        ),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_each_way_of_being_undecided_is_said(measurement: Measurement, words: str) -> None:
    assert words in said(measurement)


def test_what_did_not_run_names_what_runs_it() -> None:
    missing = {name: settle(name, None, CRITERIA.criterion(name)) for name in CRITERIA.names()}
    assert missing["force_rmse"] == "`mlffd validate` measures it with validation.errors.enabled: true."
    assert missing["memory_growth"].startswith("It is measured at the end of `mlffd run` and `mlffd validate`")
    assert "validation.nve" in settle("nve_drift", None, CRITERIA.nve_drift, reason="a system is missing")


def test_settings_that_are_named_exist() -> None:
    from mlff_distiller.recipes.recipe import Recipe

    for _, setting in _SAMPLES.values():
        model = Recipe
        for key in re.search(r"[a-z]+\.[a-z_.]+", setting)[0].split("."):
            assert key in model.model_fields, setting
            model = model.model_fields[key].annotation


def test_every_check_belongs_to_a_part_of_the_validation() -> None:
    found = {name: check_of(name) for name in CRITERIA.names()}
    parts = {"errors", "nve", "timestep", "physicality", "visited", "observables", "timing"}
    assert set(found.values()) == parts
    errors = [name for name, check in found.items() if check == "errors"]
    assert all(name.startswith(("force_", "energy_", "stress_", "systems_")) for name in errors)


def test_what_was_measured_leniently_is_told_and_does_not_pass() -> None:
    brief = Measurement("memory_growth", 0.0, "%", (0.0, 0.0), 20, {"lenient": "over 200 steps instead of 10,000"})
    assert AtMost(limit=1.0).outcome(brief) == "INCONCLUSIVE"
    assert AtMost(limit=1.0).outcome(replace(brief, detail={})) == "PASS"
    assert AtMost(limit=1.0).outcome(replace(brief, value=9.0, ci95=(8.0, 10.0))) == "FAIL"
    said = settle("memory_growth", brief, AtMost(limit=1.0))
    assert said.startswith("It was measured over 200 steps instead of 10,000")
