"""Criteria and verdicts: the whole truth table, and the file."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from mlff_distiller.core.errors import DataError, PlanError
from mlff_distiller.core.evidence import Skipped
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.checks.coverage import measure_coverage
from mlff_distiller.validation.criteria import AtLeast, AtMost, CriteriaPlan
from mlff_distiller.validation.presets import SAMPLED
from mlff_distiller.validation.verdict import ESSENTIAL, Grounds, grounds_of, judge, read_verdict, write_verdict
from mlff_distiller.validation.waivers import Waiver

NAN, INF = float("nan"), float("inf")
GOLDEN = Path(__file__).parents[1] / "golden"
PRODUCTION = CriteriaPlan()


def preset(name: str, **own: object) -> CriteriaPlan:
    return CriteriaPlan.parse({"preset": name, **own}, where="recipe.yaml")


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


@pytest.mark.parametrize("name", ["nve_systems", "nve_replicas"])
def test_too_little_measured_is_undecided_and_not_the_students_fault(name) -> None:
    criterion = PRODUCTION.criterion(name)
    assert criterion.outcome(Measurement(name, 0.5 * criterion.limit, "")) == "INCONCLUSIVE"
    assert criterion.outcome(Measurement(name, criterion.limit, "")) == "PASS"


def test_an_extreme_is_judged_by_its_interval_where_it_has_one() -> None:
    hole = PRODUCTION.short_range_hole
    assert hole.outcome(Measurement("short_range_hole", 0.05, "eV", (0.04, 0.06))) == "PASS"
    assert hole.outcome(Measurement("short_range_hole", 0.05, "eV", (0.0, 0.6))) == "INCONCLUSIVE"


def test_defaults_are_those_of_the_project() -> None:
    needed = PRODUCTION.names(required=True)
    assert {name: (PRODUCTION.criterion(name).limit, PRODUCTION.criterion(name).screening) for name in needed} == {
        "force_rmse": (0.2, 0.4),
        "force_mae": (0.1, 0.2),
        "force_r2": (0.95, 0.85),
        "energy_rmse_per_atom": (0.05, 0.1),
        "stress_error_percent": (5.0, 15.0),
        "systems_covered": (1.0, 0.0),
        "nve_systems": (1.0, 1.0),
        "nve_replicas": (3.0, 3.0),
        "nve_duration": (10.0, 10.0),
        "nve_drift_percent": (1.0, 5.0),
        "force_residual": (0.01, 0.05),
        "stress_residual": (5e-4, 2e-3),
        "force_spread": (0.01, 0.05),
        "energy_spread": (1e-3, 5e-3),
        "force_jump": (0.05, 0.2),
        "energy_jump": (5e-3, 2e-2),
        "extensivity_error": (1e-3, 5e-3),
        "short_range_hole": (0.5, 1.0),
        "step_time": (10.0, None),
        "memory_growth": (1.0, 5.0),
    }
    shown = {"nve_drift": 1e-6, "nve_stability": 1.0, "timestep_order": 1.7}
    assert {name: PRODUCTION.criterion(name).limit for name in shown} == shown


def test_quantitative_asks_for_everything_of_production_and_more() -> None:
    strict = preset("quantitative")
    for name in PRODUCTION.names(required=True):
        mine, theirs = strict.criterion(name), PRODUCTION.criterion(name)
        assert mine.required
        assert theirs.sign * (mine.limit - theirs.limit) >= 0, name
    more = set(strict.names(required=True)) - set(PRODUCTION.names(required=True))
    assert more == {*SAMPLED, "nve_drift", "frequency_mae", "torsion_error"}
    limits = {"force_mae": 0.02, "nve_drift": 1e-6, "rdf": 2.0, "frequency_mae": 30.0, "torsion_error": 43.0}
    assert {name: strict.criterion(name).limit for name in limits} == limits


@pytest.mark.parametrize(("floor", "limit"), [(None, 0.02), (NAN, 0.02), (0.004, 0.02), (0.02, 0.04), (5.0, 0.1)])
def test_quantitative_allows_twice_the_teachers_floor_but_never_more_than_production(floor, limit) -> None:
    assert preset("quantitative").above(floor).force_mae.limit == limit
    assert PRODUCTION.above(floor) == PRODUCTION
    assert preset("quantitative", force_mae={"limit": 0.01}).above(floor).force_mae.limit == 0.01


def test_screening_has_the_screening_limits_and_nothing_that_is_for_production_alone() -> None:
    loose = preset("screening")
    assert loose.names(required=True) == [n for n in PRODUCTION.names(required=True) if n != "step_time"]
    for name in loose.names(required=True):
        assert loose.criterion(name).limit == loose.criterion(name).screening == PRODUCTION.criterion(name).screening


LOOSER = [
    ({"force_rmse": {"limit": 0.5}}, "'force_rmse.limit' 0.5 is looser than the 0.2 of the preset production"),
    ({"force_rmse": {"limit": "0.3"}}, "'force_rmse.limit' 0.3 is looser than the 0.2"),
    ({"force_rmse": {"limit": None}}, "'force_rmse.limit' none is looser than the 0.2"),
    ({"force_r2": {"limit": 0.9}}, "'force_r2.limit' 0.9 is looser than the 0.95"),
    ({"force_r2": {"screening_limit": 0.1}}, "'force_r2.screening_limit' 0.1 is looser than the 0.85"),
    ({"nve_duration": {"limit": 1}}, "'nve_duration.limit' 1 is looser than the 10"),
    ({"nve_drift": {"limit": 1e-5}}, "'nve_drift.limit' 1e-05 is looser than the 1e-06"),
    ({"nve_duration": {"required": False}}, "'nve_duration.required' false is looser than the true"),
    ({"nve_duration": {"for_screening": False}}, "'nve_duration.for_screening' false is looser than the true"),
    ({"preset": "quantitative", "rdf": {"limit": 3}}, "'rdf.limit' 3 is looser than the 2 of the preset quantitative"),
    ({"preset": "quantitative", "nve_drift": {"required": False}}, "'nve_drift.required' false is looser"),
    ({"preset": "screening", "force_mae": {"limit": 0.3}}, "'force_mae.limit' 0.3 is looser than the 0.2"),
]


@pytest.mark.parametrize(("value", "message"), LOOSER, ids=str)
def test_a_limit_can_only_be_made_stricter(value, message) -> None:
    with pytest.raises(PlanError, match=message) as error:
        CriteriaPlan.parse(value, where="recipe.yaml")
    assert "a verdict cannot be loosened; sign a waiver instead" in str(error.value)


def test_a_looser_criterion_built_in_python_is_refused_too() -> None:
    with pytest.raises(ValueError, match="cannot be loosened"):
        CriteriaPlan(force_rmse=AtMost(limit=9.0, required=True))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"force_rms": {"limit": 0.1}}, "unknown key 'force_rms' .did you mean 'force_rmse'"),
        ({"force_rmse": {"limt": 0.1}}, "unknown key 'force_rmse.limt' .did you mean 'limit'"),
        ({"preset": "producton"}, "'preset': input should be 'production', 'quantitative' or 'screening'"),
        ({"speedup": {"required": True}}, "needs a limit"),
        ({"speedup": {"screening_limit": 1.0}}, "needs a limit"),
        ({"force_rmse": {"limit": 0.1, "screening_limit": 0.05}}, "screening_limit 0.05 is stricter than limit 0.1"),
        ({"force_rmse": 0.1}, "force_rmse"),
        (
            {"waivers": [{"check": "nve_drit", "reason": "no", "signed": "me"}]},
            "unknown check 'nve_drit' in a waiver .did you mean 'nve_drift'",
        ),
        ({"waivers": [{"check": "nve_drift", "signed": "me"}]}, "'waivers.0.reason' is missing"),
    ],
)
def test_wrong_criteria_are_explained(value, message) -> None:
    with pytest.raises(PlanError, match=message):
        CriteriaPlan.parse(value, where="recipe.yaml")


def test_one_limit_changes_and_the_rest_of_that_criterion_stays() -> None:
    plan = CriteriaPlan.parse({"force_rmse": {"limit": 0.03}, "speedup": {"limit": 10}}, where="recipe.yaml")
    assert (plan.force_rmse.limit, plan.force_rmse.screening_limit, plan.force_rmse.required) == (0.03, 0.4, True)
    assert plan.speedup.limit == 10
    assert plan.own == {"preset": "production", "force_rmse": {"limit": 0.03}, "speedup": {"limit": 10.0}}


def test_what_older_runs_noted_of_a_check_without_a_limit_asks_for_what_the_preset_does() -> None:
    noted = {"limit": None, "screening_limit": None, "required": False}
    assert preset("production", step_time=noted, speedup=noted) == PRODUCTION


@pytest.mark.parametrize("name", ["production", "quantitative", "screening"])
def test_criteria_come_back_from_a_file(name) -> None:
    plan = preset(name, force_rmse={"limit": 0.03, "screening_limit": 0.1}, out_of_domain={"limit": 9})
    assert CriteriaPlan.parse(plan.model_dump(mode="json"), where="again") == plan
    assert CriteriaPlan.parse(plan.own, where="again") == plan


# Outcome at the production limit 0.2 and at the screening limit 0.4, by interval.
STATES = {
    ("PASS", "PASS"): (0.1, (0.05, 0.15)),
    ("FAIL", "PASS"): (0.3, (0.25, 0.35)),
    ("INCONCLUSIVE", "PASS"): (0.2, (0.1, 0.3)),
    ("FAIL", "INCONCLUSIVE"): (0.4, (0.3, 0.5)),
    ("INCONCLUSIVE", "INCONCLUSIVE"): (NAN, None),
    ("FAIL", "FAIL"): (0.5, (0.45, 0.55)),
}


def expected(states: tuple[tuple[str, str], ...]) -> str:
    production, screening = ({state[k] for state in states} for k in (0, 1))
    if "FAIL" in screening:
        return "REJECTED"
    if "INCONCLUSIVE" in screening:
        return "INCONCLUSIVE"
    if "FAIL" in production:
        return "SCREENING_ONLY"
    return "INCONCLUSIVE" if "INCONCLUSIVE" in production else "APPROVED"


def healthy(criteria: CriteriaPlan = PRODUCTION) -> dict[str, Measurement]:
    """A student far on the right side of every limit."""
    found = {}
    for name in criteria.names():
        criterion = criteria.criterion(name)
        if criterion.limit is not None:
            value = criterion.limit * (0.1 if criterion.sign < 0 else 1.0) if name != "force_r2" else 0.999
            found[name] = Measurement(name, value, "", (0.99 * value, 1.0001 * value), 9)
            if criterion.sign > 0 and name != "force_r2":
                found[name] = Measurement(name, value, "")
    return found


@pytest.mark.parametrize("states", list(product(STATES, repeat=2)), ids=str)
def test_truth_table(states) -> None:
    limits = {"limit": 0.05, "screening_limit": 0.1}
    criteria = preset("production", force_rmse=limits, force_mae=limits)
    pair = {n: rmse(*(scaled(x) for x in STATES[s]), name=n) for s, n in zip(states, limits_of(criteria), strict=True)}
    verdict = judge([*(healthy(criteria) | pair).values()], criteria)
    assert [(verdict.check(n).outcome, verdict.check(n).screening_outcome) for n in pair] == list(states)
    assert verdict.verdict == expected(states)


def limits_of(criteria: CriteriaPlan) -> list[str]:
    return [name for name in criteria.own if name != "preset"]


def scaled(value):
    """Return a state made for the limits 0.2 and 0.4 for the limits 0.05 and 0.1."""
    if isinstance(value, tuple):
        return tuple(0.25 * end for end in value)
    return value if value is None else 0.25 * value


def test_every_verdict_occurs_in_the_table() -> None:
    assert {expected(states) for states in product(STATES, repeat=2)} == {
        "APPROVED",
        "SCREENING_ONLY",
        "REJECTED",
        "INCONCLUSIVE",
    }


@pytest.mark.parametrize("name", ["production", "quantitative"])
def test_a_healthy_student_is_approved_and_each_missing_or_nan_check_takes_it_back(name) -> None:
    criteria = preset(name)
    good = healthy(criteria)
    assert judge([*good.values()], criteria).verdict == "APPROVED"
    assert judge([*good.values()], preset("screening")).verdict == "SCREENING_ONLY"
    for left_out in criteria.names(required=True):
        rest = [m for m in good.values() if m.name != left_out]
        for more in ([], [Measurement(left_out, NAN, "")]):
            verdict = judge([*rest, *more], criteria)
            assert verdict.verdict == "INCONCLUSIVE", left_out
            assert [check.name for check in verdict.reasons] == [left_out]
            assert verdict.check(left_out).settle


def at(name: str, value: float, half: float) -> Measurement:
    return Measurement(name, value, "", (value - half, value + half), 9)


@pytest.mark.parametrize("name", PRODUCTION.names(required=True))
def test_each_required_check_decides_alone(name) -> None:
    """Beyond the limit, at the limit, and beyond the screening limit: one row of the table for every check."""
    criterion = PRODUCTION.criterion(name)
    span = abs((criterion.screening if criterion.screening is not None else 2 * criterion.limit) - criterion.limit)
    worse = -criterion.sign * (span or criterion.limit)
    half = 0.1 * abs(worse)
    verdicts = {
        "at the limit": judged_with(at(name, criterion.limit, half)),
        "beyond it": judged_with(at(name, criterion.limit + 0.5 * worse, half)),
        "far beyond it": judged_with(at(name, criterion.limit + 3 * worse, half)),
    }
    rejects = "SCREENING_ONLY" if name == "step_time" else "REJECTED"
    between = "SCREENING_ONLY" if (span and criterion.screening is not None) or name == "step_time" else "REJECTED"
    assert verdicts == {"at the limit": "INCONCLUSIVE", "beyond it": between, "far beyond it": rejects}


def judged_with(measured: Measurement) -> str:
    return judge([*(healthy() | {measured.name: measured}).values()], PRODUCTION).verdict


def test_what_is_slow_may_still_screen() -> None:
    slow = Measurement("step_time", 80.0, "ms", (70.0, 90.0), 20)
    verdict = judge([*(healthy() | {"step_time": slow}).values()], PRODUCTION)
    assert (verdict.verdict, verdict.check("step_time").screening_outcome) == ("SCREENING_ONLY", "REPORTED")
    assert judge([*(healthy() | {"step_time": slow}).values()], preset("screening")).verdict == "SCREENING_ONLY"


def test_what_does_not_apply_is_left_out_with_its_reason() -> None:
    good = healthy()
    periodic = ("stress_error_percent", "stress_residual")
    rest = [m for m in good.values() if m.name not in periodic]
    idle = [Skipped(name, "no periodic system", applies=False) for name in periodic]
    verdict = judge(rest, PRODUCTION, skipped=idle)
    assert verdict.verdict == "APPROVED"
    found = verdict.check("stress_residual")
    assert (found.outcome, found.screening_outcome, found.reason) == ("NOT_APPLICABLE",) * 2 + ("no periodic system",)
    broken = [*idle, Skipped("stress_residual", "the student gives none", applies=True)]
    assert judge(rest, PRODUCTION, skipped=broken).verdict == "INCONCLUSIVE"
    measured = [*rest, *(good[name] for name in periodic)]
    assert judge(measured, PRODUCTION, skipped=idle).check("stress_residual").outcome == "PASS"


@pytest.mark.parametrize("name", sorted(ESSENTIAL))
def test_errors_and_dynamics_always_apply(name) -> None:
    rest = [m for m in healthy().values() if m.name != name]
    verdict = judge(rest, PRODUCTION, skipped=[Skipped(name, "said not to apply", applies=False)])
    assert (verdict.verdict, verdict.check(name).outcome) == ("INCONCLUSIVE", "INCONCLUSIVE")


def test_where_nothing_applies_nothing_is_approved() -> None:
    idle = [Skipped(name, "no", applies=False) for name in PRODUCTION.names()]
    assert judge([], PRODUCTION, skipped=idle).verdict == "INCONCLUSIVE"


def test_a_system_that_was_never_tested_keeps_a_student_from_approval() -> None:
    untested = measure_coverage(["water", "methane"], ["water"])
    verdict = judge([*(healthy() | {"systems_covered": untested}).values()], PRODUCTION)
    assert verdict.check("systems_covered").outcome == "FAIL"
    assert verdict.verdict == "SCREENING_ONLY"


def test_reported_checks_do_not_gate_even_when_they_fail() -> None:
    drift = Measurement("nve_drift", 1e-3, "eV/atom/ps", (9e-4, 2e-3), 3)
    measured = [*(healthy() | {"nve_drift": drift}).values()]
    verdict = judge(measured, PRODUCTION)
    assert verdict.check("nve_drift").outcome == "FAIL"
    assert verdict.verdict == "APPROVED"
    assert judge(measured, preset("quantitative")).check("nve_drift").required
    needed = judge(measured, preset("production", nve_drift={"required": True, "for_screening": False}))
    assert needed.verdict == "SCREENING_ONLY"


def test_a_waiver_leaves_the_verdict_as_it_is() -> None:
    failing = [*(healthy() | {"force_mae": at("force_mae", 0.5, 0.01)}).values()]
    waiver = Waiver(check="force_mae", reason="only geometries are needed", signed="A. Chemist", date="2025-03-31")
    plain = judge(failing, PRODUCTION)
    of_the_recipe = judge(failing, preset("production", waivers=[waiver.model_dump()]))
    afterwards = judge(failing, PRODUCTION, waivers=[waiver])
    assert plain.verdict == "REJECTED"
    for waived in (of_the_recipe, afterwards):
        assert (waived.verdict, waived.checks) == (plain.verdict, plain.checks)
        assert waived.waivers == (waiver,)


def test_a_check_of_another_package_is_reported() -> None:
    verdict = judge([*healthy().values(), Measurement("my_check", 1.0, "K")], PRODUCTION)
    assert verdict.check("my_check").outcome == "REPORTED"


def test_a_check_measured_twice_is_an_error() -> None:
    with pytest.raises(DataError, match="twice"):
        judge([rmse(0.1, None), rmse(0.3, None)], PRODUCTION)


def test_chance_approves_what_is_on_the_limit_in_few_of_a_hundred_runs() -> None:
    """A student exactly on the limit passes only when the interval misses it: in 2.5 of 100, whatever its width."""
    rng = np.random.default_rng(0)
    criterion, found = PRODUCTION.force_rmse, {"PASS": 0, "FAIL": 0, "INCONCLUSIVE": 0}
    for value in 0.2 + 0.01 * rng.standard_normal(4000):
        found[criterion.outcome(at("force_rmse", value, 1.96 * 0.01))] += 1
    assert 0.015 < found["PASS"] / 4000 < 0.035
    assert 0.015 < found["FAIL"] / 4000 < 0.035


def repeated(true: dict[str, float], n: int) -> dict[str, int]:
    """Return how often each verdict comes out where every number scatters by a tenth of its limit.

    Parameters
    ----------
    true : dict
        True values by name, in units of the limit; a third for all others, where less is better.
    """
    rng, found = np.random.default_rng(1), dict.fromkeys(("APPROVED", "SCREENING_ONLY", "REJECTED", "INCONCLUSIVE"), 0)
    for _ in range(n):
        measured = healthy()
        for name, good in measured.items():
            limit = PRODUCTION.criterion(name).limit
            if good.ci95 is not None and name != "force_r2":
                value = limit * (true.get(name, 1 / 3) + 0.1 * rng.standard_normal())
                measured[name] = at(name, value, 1.96 * 0.1 * limit)
        found[judge([*measured.values()], PRODUCTION).verdict] += 1
    return found


def test_repeated_a_healthy_student_is_never_rejected_and_one_on_the_limit_is_seldom_approved() -> None:
    healthy_ones = repeated({}, 200)
    assert healthy_ones["APPROVED"] >= 195
    assert healthy_ones["REJECTED"] == healthy_ones["SCREENING_ONLY"] == 0
    on_the_limit = repeated({"force_mae": 1.0}, 400)
    assert on_the_limit["APPROVED"] <= 0.05 * 400
    assert on_the_limit["INCONCLUSIVE"] >= 0.9 * 400
    beyond = repeated({"force_mae": 1.5}, 200)
    assert beyond["APPROVED"] == 0
    assert beyond["SCREENING_ONLY"] >= 190
    far_beyond = repeated({"force_mae": 2.6}, 200)
    assert far_beyond["REJECTED"] == 200


def test_the_file_holds_exactly_what_was_promised(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    broken = [rmse(INF, (INF, INF)), Measurement("nve_drift", NAN, "eV/atom/ps")]
    waiver = Waiver(check="force_mae", reason="a reason", signed="A. Chemist", student="b")
    criteria = preset("production", force_rmse={"limit": 0.1})
    grounds = Grounds(criteria, 0.01, (waiver,), {"a": {"errors": "abc"}})
    verdicts = {"a": (21459, judge([*healthy().values()], criteria)), "b": (None, judge(broken, criteria))}
    write_verdict(path, verdicts, grounds)
    text = path.read_text()
    value = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(value) == ["format", "version", "criteria", "error_floor_eV_per_A", "waivers", "students", "seal"]
    assert (value["format"], value["version"]) == ("mlffd-verdict", 2)
    assert value["criteria"] == {**criteria.own, "digest": criteria.digest()}
    student = value["students"]["a"]
    assert set(student) == {"n_parameters", "verdict", "evidence", "checks"}
    assert (student["n_parameters"], student["verdict"], student["evidence"]) == (21459, "APPROVED", {"errors": "abc"})
    for check in student["checks"] + value["students"]["b"]["checks"]:
        assert check["outcome"] in ("PASS", "FAIL", "INCONCLUSIVE", "REPORTED")
        assert check["ci95"] is None or [type(end) for end in check["ci95"]] == [float, float]
    first = value["students"]["b"]["checks"][0]
    assert (first["value"], first["ci95"], first["outcome"]) == (None, None, "FAIL")
    assert read_verdict(path) == value
    assert grounds_of(value, where="verdict.json") == Grounds(
        criteria, 0.01, (waiver,), {"a": {"errors": "abc"}, "b": {}}
    )
    again = tmp_path / "again.json"
    write_verdict(again, verdicts, grounds)
    assert again.read_bytes() == path.read_bytes()


def edits(value, path=()):
    """Yield every place of plain data that an editor might change, with another value for it."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict | list) and inner:
            yield from edits(inner, (*path, key))
        else:
            yield (*path, key), "APPROVED" if isinstance(inner, str) else 1e-9


def test_every_edit_of_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    write_verdict(path, {"b": (7, judge([rmse(0.5, (0.4, 0.6))], PRODUCTION))}, Grounds(floor=0.01))
    sound = json.loads(path.read_text())
    places = list(edits(sound))
    assert len(places) > 100
    for place, other in places:
        value = json.loads(path.read_text())
        inner = value
        for key in place[:-1]:
            inner = inner[key]
        if inner[place[-1]] == other:
            continue
        inner[place[-1]] = other
        edited = tmp_path / "edited.json"
        edited.write_text(json.dumps(value))
        with pytest.raises(DataError):
            read_verdict(edited)


def test_verdicts_of_older_releases_are_read() -> None:
    value = read_verdict(GOLDEN / "verdict-v1.json")
    assert {name: student["verdict"] for name, student in value["students"].items()} == {"tiny": "APPROVED"}
    with pytest.raises(DataError, match="does not say what it follows from"):
        grounds_of(value, where="verdict.json")
    value = read_verdict(GOLDEN / "verdict-v2.json")
    assert value["students"]["tiny"]["verdict"] == "SCREENING_ONLY"
    assert grounds_of(value, where="verdict.json").criteria.preset == "production"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("{", "not readable as JSON"),
        ("[]", "not a verdict"),
        ('{"format": "other"}', "not a verdict"),
        ('{"format": "mlffd-verdict", "version": 3, "students": {}}', "install a newer"),
        ('{"format": "mlffd-verdict", "version": 1}', "damaged"),
        ('{"format": "mlffd-verdict", "version": 1, "students": {"a": {"verdict": "GREAT"}}}', "damaged"),
        ('{"format": "mlffd-verdict", "version": 2, "students": {}}', "was changed after it was written"),
    ],
)
def test_reading_another_file_is_explained(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "verdict.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_verdict(path)
