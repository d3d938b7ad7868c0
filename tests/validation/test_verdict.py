"""Criteria and verdicts: the whole truth table, and the file."""

import json
from itertools import product
from pathlib import Path

import pytest

from mlff_distiller.core.errors import DataError, PlanError
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.checks.coverage import measure_coverage
from mlff_distiller.validation.criteria import AtLeast, AtMost, CriteriaPlan
from mlff_distiller.validation.verdict import judge, read_verdict, write_verdict

NAN, INF = float("nan"), float("inf")


def rmse(value: float, ci95: tuple[float, float] | None, name: str = "force_rmse") -> Measurement:
    return Measurement(name, value, "eV/A", ci95, 10)


@pytest.mark.parametrize(
    ("value", "ci95", "outcome"),
    [
        (0.1, (0.05, 0.15), "PASS"),
        (0.1, (0.05, 0.2), "PASS"),
        (0.1, (0.05, 0.21), "INCONCLUSIVE"),
        (0.25, (0.15, 0.3), "INCONCLUSIVE"),
        (0.2, (0.2, 0.3), "INCONCLUSIVE"),
        (0.3, (0.21, 0.4), "FAIL"),
        (0.1, None, "INCONCLUSIVE"),
        (NAN, None, "INCONCLUSIVE"),
        (NAN, (0.0, 0.1), "INCONCLUSIVE"),
        (0.1, (NAN, 0.15), "INCONCLUSIVE"),
        (0.1, (0.05, NAN), "INCONCLUSIVE"),
        (INF, (INF, INF), "FAIL"),
        (INF, None, "FAIL"),
    ],
)
def test_an_upper_limit_looks_at_the_whole_interval(value, ci95, outcome) -> None:
    assert AtMost(limit=0.2).outcome(rmse(value, ci95)) == outcome


@pytest.mark.parametrize(
    ("value", "ci95", "outcome"),
    [
        (0.99, (0.98, 0.995), "PASS"),
        (0.99, (0.95, 0.995), "PASS"),
        (0.96, (0.94, 0.98), "INCONCLUSIVE"),
        (0.9, (0.85, 0.94), "FAIL"),
        (0.9, (0.85, 0.95), "INCONCLUSIVE"),
        (0.99, None, "INCONCLUSIVE"),
        (NAN, None, "INCONCLUSIVE"),
        (-INF, (-INF, -INF), "FAIL"),
    ],
)
def test_a_lower_limit_looks_at_the_whole_interval(value, ci95, outcome) -> None:
    assert AtLeast(limit=0.95).outcome(Measurement("force_r2", value, "", ci95)) == outcome


@pytest.mark.parametrize(
    ("value", "censored", "outcome"),
    [
        (10.0, True, "PASS"),
        (12.0, False, "PASS"),
        (2.0, True, "INCONCLUSIVE"),
        (2.0, False, "FAIL"),
        (NAN, False, "INCONCLUSIVE"),
    ],
)
def test_survival_is_judged_by_value_and_a_short_run_that_did_not_fail_is_undecided(value, censored, outcome) -> None:
    survived = Measurement("nve_duration", value, "ps", None, 3, {"censored": censored})
    assert CriteriaPlan().nve_duration.outcome(survived) == outcome


def test_without_a_limit_a_number_is_reported_and_a_missing_check_never_passes() -> None:
    assert AtMost().outcome(rmse(0.1, (0.0, 0.2))) == "REPORTED"
    assert AtMost(limit=1.0).outcome(None) == "INCONCLUSIVE"


def test_defaults_are_those_of_the_project() -> None:
    plan = CriteriaPlan()
    limits = {name: (plan.criterion(name).limit, plan.criterion(name).screening) for name in plan.names(required=True)}
    assert limits == {
        "systems_covered": (1.0, 0.0),
        "force_rmse": (0.2, 0.4),
        "force_mae": (0.1, 0.2),
        "force_r2": (0.95, 0.85),
        "energy_rmse_per_atom": (0.05, 0.1),
        "nve_duration": (10.0, 10.0),
        "nve_drift_percent": (1.0, 5.0),
    }
    assert plan.nve_drift.limit == 1e-6
    assert not plan.nve_drift.required


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"force_rms": {"limit": 0.1}}, "unknown key 'force_rms' .did you mean 'force_rmse'"),
        ({"force_rmse": {"limt": 0.1}}, "unknown key 'force_rmse.limt' .did you mean 'limit'"),
        ({"force_rmse": {"limit": 0.5}}, "'force_rmse': screening_limit 0.4 is stricter than limit 0.5"),
        ({"force_r2": {"limit": 0.8}}, "screening_limit 0.85 is stricter than limit 0.8"),
        ({"step_time": {"required": True}}, "needs a limit"),
        ({"step_time": {"screening_limit": 1.0}}, "needs a limit"),
        ({"force_rmse": 0.1}, "force_rmse"),
    ],
)
def test_wrong_criteria_are_explained(value, message) -> None:
    with pytest.raises(PlanError, match=message):
        CriteriaPlan.parse(value, where="recipe.yaml")


def test_one_limit_changes_and_the_rest_of_that_criterion_stays() -> None:
    plan = CriteriaPlan.parse({"force_rmse": {"limit": 0.03}, "step_time": {"limit": 10}}, where="recipe.yaml")
    assert (plan.force_rmse.limit, plan.force_rmse.screening_limit, plan.force_rmse.required) == (0.03, 0.4, True)
    assert plan.step_time.limit == 10
    assert CriteriaPlan.parse(plan.model_dump(), where="again") == plan


# Outcome at the production limit 0.2 and at the screening limit 0.4, by interval.
STATES = {
    ("PASS", "PASS"): (0.1, (0.05, 0.15)),
    ("FAIL", "PASS"): (0.3, (0.25, 0.35)),
    ("INCONCLUSIVE", "PASS"): (0.2, (0.1, 0.3)),
    ("FAIL", "INCONCLUSIVE"): (0.4, (0.3, 0.5)),
    ("INCONCLUSIVE", "INCONCLUSIVE"): (NAN, None),
    ("FAIL", "FAIL"): (0.5, (0.45, 0.55)),
}


def two_checks() -> CriteriaPlan:
    off = {name: {"required": False} for name in CriteriaPlan().names(required=True)}
    pair = {name: {"limit": 0.2, "screening_limit": 0.4, "required": True} for name in ("force_rmse", "force_mae")}
    return CriteriaPlan.parse({**off, **pair}, where="test")


def expected(states: tuple[tuple[str, str], ...]) -> str:
    production, screening = ({state[k] for state in states} for k in (0, 1))
    if "FAIL" in screening:
        return "REJECTED"
    if "INCONCLUSIVE" in screening:
        return "INCONCLUSIVE"
    if "FAIL" in production:
        return "SCREENING_ONLY"
    return "INCONCLUSIVE" if "INCONCLUSIVE" in production else "APPROVED"


@pytest.mark.parametrize("states", list(product(STATES, repeat=2)), ids=str)
def test_truth_table(states) -> None:
    measurements = [rmse(*STATES[s], name=name) for s, name in zip(states, ("force_rmse", "force_mae"), strict=True)]
    verdict = judge(measurements, two_checks())
    found = [(c.outcome, c.screening_outcome) for c in verdict.checks if c.required]
    assert found == list(states)
    assert verdict.verdict == expected(states)


def test_every_verdict_occurs_in_the_table() -> None:
    assert {expected(states) for states in product(STATES, repeat=2)} == {
        "APPROVED",
        "SCREENING_ONLY",
        "REJECTED",
        "INCONCLUSIVE",
    }


def good() -> list[Measurement]:
    values = {"force_rmse": 0.05, "force_mae": 0.03, "force_r2": 0.999, "energy_rmse_per_atom": 0.001}
    values |= {"nve_drift_percent": 0.1}
    found = [Measurement(name, v, "", (0.999 * v, 1.0001 * v), 9) for name, v in values.items()]
    found.append(Measurement("nve_duration", 10.0, "ps", None, 3, {"censored": True}))
    return [*found, measure_coverage(["water", "methane"], ["methane", "water"])]


def test_a_good_student_is_approved_and_each_missing_or_nan_check_takes_it_back() -> None:
    assert judge(good(), CriteriaPlan()).verdict == "APPROVED"
    for k, left_out in enumerate(good()):
        rest = good()[:k] + good()[k + 1 :]
        assert judge(rest, CriteriaPlan()).verdict == "INCONCLUSIVE", left_out.name
        undefined = Measurement(left_out.name, NAN, left_out.unit)
        assert judge([*rest, undefined], CriteriaPlan()).verdict == "INCONCLUSIVE", left_out.name


def test_a_system_that_was_never_tested_keeps_a_student_from_approval() -> None:
    untested = measure_coverage(["water", "methane"], ["water"])
    verdict = judge([*good()[:-1], untested], CriteriaPlan())
    assert verdict.check("systems_covered").outcome == "FAIL"
    assert verdict.verdict == "SCREENING_ONLY"


def test_reported_checks_do_not_gate_even_when_they_fail() -> None:
    drift = Measurement("nve_drift", 1e-3, "eV/atom/ps", (9e-4, 2e-3), 3)
    verdict = judge([*good(), drift], CriteriaPlan())
    assert verdict.check("nve_drift").outcome == "FAIL"
    assert verdict.verdict == "APPROVED"


def test_with_nothing_required_nothing_is_approved() -> None:
    off = {name: {"required": False} for name in CriteriaPlan().names(required=True)}
    assert judge(good(), CriteriaPlan.parse(off, where="test")).verdict == "INCONCLUSIVE"


def test_a_check_of_another_package_is_reported() -> None:
    verdict = judge([*good(), Measurement("my_check", 1.0, "K")], CriteriaPlan())
    assert verdict.check("my_check").outcome == "REPORTED"


def test_a_check_measured_twice_is_an_error() -> None:
    with pytest.raises(DataError, match="twice"):
        judge([rmse(0.1, None), rmse(0.3, None)], CriteriaPlan())


def test_the_file_holds_exactly_what_was_promised(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    speed = Measurement("step_time", 0.5, "ms", (0.4, 0.6), 20)
    broken = [rmse(INF, (INF, INF)), Measurement("nve_drift", NAN, "eV/atom/ps")]
    write_verdict(
        path, {"a": (21459, judge([*good(), speed], CriteriaPlan())), "b": (7, judge(broken, CriteriaPlan()))}
    )
    text = path.read_text()
    value = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(value) == ["format", "version", "students"]
    assert (value["format"], value["version"]) == ("mlffd-verdict", 1)
    student = value["students"]["a"]
    assert set(student) == {"n_parameters", "verdict", "checks"}
    assert (student["n_parameters"], student["verdict"]) == (21459, "APPROVED")
    for check in student["checks"] + value["students"]["b"]["checks"]:
        assert list(check) == ["name", "value", "unit", "ci95", "limit", "outcome"]
        assert check["outcome"] in ("PASS", "FAIL", "INCONCLUSIVE", "REPORTED")
        assert check["ci95"] is None or [type(end) for end in check["ci95"]] == [float, float]
    first = value["students"]["b"]["checks"][0]
    assert (first["value"], first["ci95"], first["outcome"]) == (None, None, "FAIL")
    assert student["checks"][-1] == {
        "name": "step_time", "value": 0.5, "unit": "ms", "ci95": [0.4, 0.6], "limit": None, "outcome": "REPORTED"
    }  # fmt: skip
    assert read_verdict(path) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("{", "not readable as JSON"),
        ("[]", "not a verdict"),
        ('{"format": "other"}', "not a verdict"),
        ('{"format": "mlffd-verdict", "version": 2, "students": {}}', "install a newer"),
        ('{"format": "mlffd-verdict", "version": 1}', "damaged"),
        ('{"format": "mlffd-verdict", "version": 1, "students": {"a": {"verdict": "GREAT"}}}', "damaged"),
    ],
)
def test_reading_another_file_is_explained(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "verdict.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_verdict(path)
