"""From observations to measurements: runs and systems that lack something are left out, never forgotten."""

import numpy as np
import pytest

from mlff_distiller.core.evidence import texts
from mlff_distiller.validation.observables.measures import SAMPLED, compare
from mlff_distiller.validation.observables.observations import Observations
from mlff_distiller.validation.observables.plan import ObservationPlan
from mlff_distiller.validation.observables.statics import STATICS


def observed(**systems: dict) -> Observations:
    """Return observations; what is missing of a system is given as text."""
    full = [{"failures": texts([""] * 4), "missing": texts([]), **arrays} for arrays in systems.values()]
    return Observations(list(systems), full, "")


def runs(shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(int(10 * shift)).normal(size=4) + shift


def measured(student: Observations, teacher: Observations, name: str):
    evidence = compare(student, teacher, ObservationPlan())
    skipped = {one.check: one for one in evidence.skipped}
    return evidence.measurement(name) or skipped[name]


def test_a_run_of_the_teacher_without_a_number_is_left_out():
    broken = runs()
    broken[2] = np.nan
    found = measured(observed(a={"pressure_GPa": runs(1.0)}), observed(a={"pressure_GPa": broken}), "pressure")
    assert found.detail["systems"]["a"]["n_runs"] == 3
    assert np.isfinite(found.value)


def test_one_run_of_the_teacher_is_no_yardstick():
    lonely = np.array([1.0, np.nan, np.nan, np.nan])
    found = measured(observed(a={"pressure_GPa": runs()}), observed(a={"pressure_GPa": lonely}), "pressure")
    assert "fewer than two" in found.reason
    assert found.applies


def test_a_system_the_teacher_could_not_do_is_named():
    teacher = observed(a={"pressure_GPa": runs()}, b={"missing": texts(["pressure: no stress"])})
    found = measured(observed(a={"pressure_GPa": runs(1.0)}, b={"pressure_GPa": runs()}), teacher, "pressure")
    assert found.detail["left_out"] == {"b": "the teacher: no stress"}


def test_a_student_without_stress_leaves_pressure_undecided():
    student = observed(a={"missing": texts(["pressure: it cannot give stress"])})
    found = measured(student, observed(a={"pressure_GPa": runs()}), "pressure")
    assert found.applies
    assert found.reason == "a: the student: it cannot give stress"


def test_a_student_that_fails_one_system_of_two_is_infinitely_wrong():
    teacher = observed(a={"frequencies": np.ones(3)}, b={"frequencies": np.ones(3)})
    student = observed(a={"frequencies": np.ones(3)}, b={"missing": texts(["frequencies: it broke"])})
    found = measured(student, teacher, "frequency_mae")
    assert found.value == np.inf
    assert found.detail["worst_system"] == "b"
    assert found.detail["failures"] == {"b": "the student: it broke"}


def test_linear_for_one_and_bent_for_the_other_is_matched_from_above():
    teacher = observed(a={"frequencies": np.array([100.0, 200.0, 300.0, 400.0])})
    student = observed(a={"frequencies": np.array([210.0, 310.0, 410.0])})
    assert measured(student, teacher, "frequency_mae").value == pytest.approx(10.0)


@pytest.mark.parametrize("name", [*SAMPLED, *STATICS])
def test_what_no_system_has_does_not_apply(name):
    found = measured(observed(a={}), observed(a={}), name)
    assert not found.applies
    assert found.reason


@pytest.mark.parametrize("name", [*SAMPLED, *STATICS])
def test_a_teacher_that_does_not_cover_a_system_leaves_all_undecided(name):
    found = measured(observed(a={}), observed(a={"missing": texts(["everything: no parameters for Og"])}), name)
    assert found.applies
    assert "no parameters for Og" in found.reason


def test_only_the_student_has_no_minimum_of_the_volume():
    teacher = observed(a={"bulk_modulus_GPa": np.array([80.0]), "eos_volume": np.array([10.0])})
    student = observed(a={"bulk_modulus_GPa": np.array([np.nan]), "eos_volume": np.array([np.nan])})
    assert measured(student, teacher, "eos_error").value == np.inf
    found = measured(teacher, student, "eos_error")
    assert "no minimum" in found.reason
