"""Known truths: the whole validation says of deliberately broken potentials what was built into them."""

from functools import cache

import pytest
from truth_cases import cases, errors_on_frames
from truth_harness import Repetition, plan, repeat, summarize, trial


@cache
def once(name: str) -> Repetition:
    """The first of the hundred repetitions of one student."""
    return repeat(cases()[name], 0)


@pytest.mark.parametrize("name", cases())
def test_the_verdict_is_what_it_should_be_and_for_the_right_reason(name) -> None:
    case, found = cases()[name], once(name)
    assert not found.skipped
    assert [preset for preset, right in case.verdicts.items() if found.verdicts[preset] not in right] == []
    assert {check: found.outcomes[check] for check in case.reasons} == dict(case.reasons)


def test_a_healthy_student_fails_nothing_even_of_what_is_only_reported() -> None:
    assert [name for name, outcome in once("healthy").outcomes.items() if outcome == "FAIL"] == []


@pytest.mark.parametrize("name", [name for name, case in cases().items() if case.truths is not dict])
def test_what_is_built_in_is_reported(name) -> None:
    missed = [what for what, truth in cases()[name].truths().items() if not once(name).covers(what, *truth)]
    assert missed == []


def test_errors_on_frames_hold_what_all_frames_say() -> None:
    known = errors_on_frames(cases()["healthy"].make(), n_frames=1000)
    covered = [name for name, truth in known.items() if once("healthy").covers(name, truth, 0.0)]
    assert len(known) >= 7
    assert len(covered) >= len(known) - 1


def test_the_same_seed_gives_the_same_numbers_and_another_one_others() -> None:
    drift = cases()["drift"]
    first, again, other = (plan().timestep.measure(trial(drift, seed)).measurements[0] for seed in (0, 0, 1))
    assert first == again
    assert first.value != other.value


def test_what_lies_outside_the_interval_or_is_missing_is_not_found() -> None:
    found = Repetition("drift", 0, {"nve_drift": (1e-5, 0.8e-5, 1.3e-5)}, {}, {"production": "APPROVED"})
    assert found.covers("nve_drift", 1.2e-5, 0.0)
    assert not found.covers("nve_drift", 1.4e-5, 0.0)
    assert found.covers("nve_drift", 1.4e-5, 0.2e-5)
    assert not found.covers("force_residual", 0.0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases())
def test_of_a_hundred_repetitions(name) -> None:
    """At least 93 of 100 intervals hold what was built in, and 100 of 100 verdicts are right."""
    rows = summarize(cases()[name], [repeat(cases()[name], seed) for seed in range(100)])
    assert {row.what: row.found for row in rows if row.found < (93 if row.is_number else 100)} == {}
