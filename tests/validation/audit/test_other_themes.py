"""Determinism, precision, composition, cost and dynamics, each with a planted fault."""

import time
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.validation.audit import composition, cost, determinism, dynamics
from mlff_distiller.validation.audit.plan import AuditPlan
from mlff_distiller.validation.audit.theme import Subject, Workload, conclude
from mlff_distiller.validation.surface.probe import OutOfTime, Probe


def chance(size, *, seed=0):
    rng = np.random.default_rng(seed)
    return lambda s, x: replace(x, forces=x.forces + rng.normal(scale=size, size=x.forces.shape))


def test_a_potential_that_takes_one_structure_at_a_time_gives_the_same_bits(ethanols, tools, planted):
    class OneByOne(planted):
        def predict(self, structures, properties=("energy", "forces")):
            return [super(OneByOne, self).predict([structure], properties)[0] for structure in structures]

    result = tools.run(determinism.THEME, OneByOne(tools.exact(), lambda s, x: x), ethanols)
    assert result.outcome == "PASS"
    assert tools.measured(result, "repeat_force_spread").detail["bitwise_equal"] is True
    assert tools.value(result, "repeat_force_spread") == tools.value(result, "batch_force_spread") == 0
    assert "to the last bit" in result.sentence


def test_chance_is_measured_at_its_size(ethanols, tools, planted):
    result = tools.run(determinism.THEME, planted(tools.exact(), chance(0.05)), ethanols, n_repeats=20)
    assert tools.value(result, "repeat_force_spread") == pytest.approx(0.05, rel=0.1)
    assert tools.measured(result, "repeat_force_spread").detail["bitwise_equal"] is False
    assert result.outcome == "FAIL"


def test_a_batch_that_differs_from_single_calls_is_found(ethanols, tools, planted):
    class Padded(planted):
        def predict(self, structures, properties=("energy", "forces")):
            found = super().predict(structures, properties)
            if len(found) == 1 or "forces" not in properties:
                return found
            return [replace(x, forces=x.forces + 0.1) for x in found]

    result = tools.run(determinism.THEME, Padded(tools.exact(), lambda s, x: x), ethanols)
    assert tools.outcome(result, "repeat_force_spread") == "PASS"
    assert tools.outcome(result, "batch_force_spread") == "FAIL"
    assert "Batches change forces" in result.sentence


@pytest.mark.parametrize(("offset", "outcome"), [(1e3, "PASS"), (1e6, "FAIL")])
def test_single_precision_is_recognized_and_its_rounding_measured(ethanols, tools, planted, offset, outcome):
    single = planted(tools.exact(), lambda s, x: replace(x, energy=float(np.float32(x.energy - offset))))
    result = tools.run(determinism.THEME, single, ethanols)
    noise = tools.measured(result, "energy_noise")
    assert noise.detail["is_single_precision"]
    assert noise.value == pytest.approx(np.spacing(np.float32(offset)) / 12**0.5 / 9, rel=0.3)
    assert outcome == tools.outcome(result, "energy_noise")
    assert "single precision" in result.sentence


def test_energies_in_double_precision_are_not_called_single(ethanols, tools):
    noise = tools.measured(tools.run(determinism.THEME, tools.exact(), ethanols), "energy_noise")
    assert not noise.detail["is_single_precision"]
    assert noise.value < 1e-10


def test_missing_hydrogens_are_found(ethanols, tools):
    bare = ethanols[0]
    heavy = bare.numbers > 1
    bare = Structure(bare.numbers[heavy], bare.positions[heavy], info={"seed": "ethanol"})
    result = tools.run(composition.THEME, tools.exact(), [bare])
    assert tools.outcome(result, "missing_hydrogens") == "FAIL"
    assert "ydrogens are missing in ethanol" in result.sentence
    assert tools.run(composition.THEME, tools.exact(), ethanols).outcome == "PASS"


def test_an_impossible_number_of_electrons_is_found(tools):
    methyl = from_ase(molecule("CH3"))
    singlet = Structure(methyl.numbers, methyl.positions, spin=1)
    result = tools.run(composition.THEME, tools.exact(), [singlet])
    assert tools.outcome(result, "odd_electrons") == "FAIL"
    assert tools.outcome(result, "missing_hydrogens") == "PASS"
    doublet = Structure(methyl.numbers, methyl.positions, spin=2)
    cation = Structure(methyl.numbers, methyl.positions, charge=1)
    for right in (doublet, cation):
        assert tools.outcome(tools.run(composition.THEME, tools.exact(), [right]), "odd_electrons") == "PASS"


def test_crystals_have_any_number_of_electrons(tools):
    copper = Structure([29], [[0, 0, 0]], cell=2.2 * (1 - np.eye(3)), pbc=True)
    assert composition.electrons_fit_spin(copper)
    assert not composition.electrons_fit_spin(Structure([29], [[0, 0, 0]]))


def test_a_teacher_that_ignores_charges_is_found(tools, planted):
    ammonium = from_ase(molecule("NH3"))
    ammonium = Structure(ammonium.numbers, ammonium.positions, charge=1, spin=2, info={"seed": "ammonia cation"})
    ignores = planted(tools.exact(), lambda s, x: x)
    result = tools.run(composition.THEME, ignores, [ammonium])
    assert tools.outcome(result, "ignored_charges") == "FAIL"
    assert "ignores the charge of ammonia cation" in result.sentence
    looks = planted(tools.exact(), lambda s, x: replace(x, energy=x.energy + 5 * s.charge))
    assert tools.run(composition.THEME, looks, [ammonium]).outcome == "PASS"
    neutral_only = planted(tools.exact(), lambda s, x: x)
    neutral_only.charges = frozenset({1})  # refuses the neutral one, so that it does look
    assert tools.outcome(tools.run(composition.THEME, neutral_only, [ammonium]), "ignored_charges") == "PASS"


def test_an_element_or_charge_that_is_not_covered_is_named(ethanols, tools, planted):
    potential = planted(tools.exact(), lambda s, x: x)
    potential.elements = frozenset({1, 6})
    result = tools.run(composition.THEME, potential, ethanols)
    assert tools.outcome(result, "uncovered_structures") == "FAIL"
    assert "holds O" in result.sentence
    potential.elements, potential.charges = frozenset({1, 6, 8}), frozenset({0})
    ion = Structure(ethanols[0].numbers, ethanols[0].positions, charge=2)
    assert "charge +2" in tools.run(composition.THEME, potential, [ion]).sentence


def test_the_forecast_is_the_measured_time_times_the_work(ethanols, tools, planted):
    for device, unit in (("cpu", "core-hours"), ("unknown", "core-hours"), ("cuda:1", "GPU-hours")):
        potential = planted(tools.exact(), lambda s, x: x, device=device)
        work = Workload(n_structures=7200, n_steps=3600, n_workers=4)
        subject = Subject(Probe(potential, budget_s=60), ethanols, AuditPlan(), 1, workload=work)
        result = conclude(cost.THEME, cost.measure(subject), AuditPlan().limits)
        assert result.outcome == "REPORTED"
        single, batched = (tools.value(result, f"time_{name}") for name in ("per_call", "batched"))
        assert 0 < batched < single * 3
        assert tools.value(result, "labeling_hours") == pytest.approx(7200 * batched / 1000 / 3600 / 4)
        assert tools.value(result, "sampling_hours") == pytest.approx(3600 * single / 1000 / 3600 / 4)
        spent = tools.measured(result, "teacher_cost")
        assert (spent.value, spent.unit) == (pytest.approx((7200 * batched + 3600 * single) / 3.6e6), unit)
        assert tools.measured(result, "time_batched").detail["n_structures_per_call"] == 32


def test_without_a_workload_there_is_no_forecast(ethanols, tools):
    result = tools.run(cost.THEME, tools.exact(), ethanols)
    assert [skipped.check for skipped in result.skipped] == ["labeling_hours"]
    assert result.outcome == "REPORTED"


@pytest.fixture(scope="module")
def bound(starts, teacher):
    return [starts["ethanol"].tagged(seed="ethanol")], teacher


def test_a_conservative_teacher_keeps_its_energy(bound, tools):
    structures, teacher = bound
    result = tools.run(dynamics.THEME, teacher, structures)
    assert result.outcome == "PASS"
    assert tools.measured(result, "nve_failed_runs").detail["duration_ps"] == pytest.approx(0.25)


def test_a_swirl_heats_the_run(bound, tools, make_swirl):
    structures, teacher = bound
    result = tools.run(dynamics.THEME, make_swirl(teacher, 0.1), structures)
    assert result.outcome == "FAIL"


def test_a_run_that_breaks_down_is_reported_with_its_reason(bound, tools, planted):
    structures, teacher = bound

    def hot(structure, labels):
        return replace(labels, forces=labels.forces + 1e4)

    result = tools.run(dynamics.THEME, planted(teacher, hot), structures)
    assert tools.value(result, "nve_failed_runs") == 3
    assert result.outcome == "FAIL"
    assert "failed: explosion: force of" in result.sentence


def test_the_run_is_as_long_as_there_is_time_for(bound, planted):
    structures, teacher = bound

    class Slow(planted):
        def predict(self, structures, properties=("energy", "forces")):
            time.sleep(0.02)
            return super().predict(structures, properties)

    subject = Subject(Probe(Slow(teacher, lambda s, x: x), budget_s=4), structures, AuditPlan(), 1)
    result = conclude(dynamics.THEME, dynamics.measure(subject), AuditPlan().limits)
    assert 0.02 <= result.checks[0].measurement.detail["duration_ps"] <= 0.055
    assert subject.probe.remaining_s > 0
    hurried = Subject(Probe(Slow(teacher, lambda s, x: x), budget_s=0.5), structures, AuditPlan(), 1)
    assert [skipped.check for skipped in dynamics.measure(hurried).skipped] == ["nve_drift"]


def test_a_probe_refuses_what_does_not_fit_into_its_budget(ethanols, tools):
    probe = Probe(tools.exact(), budget_s=0.5)
    probe.predict(ethanols)
    with pytest.raises(OutOfTime):
        probe.predict(ethanols * 100_000)
    probe._deadline = 0.0
    with pytest.raises(OutOfTime):
        probe.predict(ethanols[:1])
