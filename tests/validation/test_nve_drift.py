"""The NVE check reports what was built in: known slopes, known failures, non-conservative forces."""

import numpy as np
import pytest

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.potentials.analytic import harmonic, morse
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.checks.nve.drift import slopes
from mlff_distiller.validation.checks.nve.plan import NVEPlan
from mlff_distiller.validation.checks.nve.record import NVERecord
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.trial import Trial
from mlff_distiller.validation.verdict import judge


def record(slope: float | list[float], *, n_replicas: int = 3, noise: float = 1e-3, seed: int = 0) -> NVERecord:
    """Return traces of 10 atoms whose energy per atom drifts by a known slope under correlated noise."""
    rng = np.random.default_rng(seed)
    by_system = np.atleast_1d(slope)
    time = np.linspace(0, 10, 401)
    systems = np.repeat([f"m{k}" for k in range(len(by_system))], n_replicas)
    innovations = rng.standard_normal((len(time), len(systems)))
    wobble = np.zeros_like(innovations)
    for step in range(1, len(time)):
        wobble[step] = 0.9 * wobble[step - 1] + innovations[step]
    energy = -500 + 10 * (np.repeat(by_system, n_replicas) * time[:, None] + noise * wobble)
    kinetic = np.full_like(energy, 10 * 0.0388)
    ones = np.ones(len(systems))
    return NVERecord(
        systems=systems,
        n_atoms=(10 * ones).astype(int),
        times_ps=time,
        potential_energy=energy - kinetic,
        kinetic_energy=kinetic,
        temperatures_K=np.full_like(energy, 300.0),
        survived_ps=10 * ones,
        failures=np.array([""] * len(systems)),
    )


def measured(
    plan: NVEPlan, potential: Potential, starts: dict, *, seed: int = 0
) -> tuple[list[Measurement], NVERecord]:
    evidence = plan.measure(Trial(potential, starts, seed=seed))
    return list(evidence.measurements), NVERecord(**evidence.arrays)


def summary(traces: NVERecord) -> dict[str, Measurement]:
    return {m.name: m for m in NVEPlan().summarize(traces)}


def test_a_straight_line_gives_its_slope_exactly() -> None:
    assert slopes(record(-2e-3, noise=0)) == pytest.approx([-2e-3] * 3, rel=1e-9)
    found = summary(record(-2e-3, noise=0))
    assert found["nve_drift"].value == pytest.approx(2e-3)
    assert found["nve_drift"].detail["systems"]["m0"]["mean"] == pytest.approx(-2e-3)
    assert found["nve_drift_percent"].value == pytest.approx(100 * 2e-3 * 10 / 0.0388)
    assert found["nve_energy_fluctuation"].value == pytest.approx(0, abs=1e-9)


def test_the_interval_covers_a_known_drift_under_correlated_noise() -> None:
    covered = 0
    for seed in range(200):
        low, high = summary(record(2e-3, seed=seed))["nve_drift"].ci95
        covered += low <= 2e-3 <= high
    assert covered >= 186


def test_no_drift_gives_an_interval_that_starts_near_zero_and_fluctuation_that_was_put_in() -> None:
    found = summary(record(0.0, n_replicas=5))
    assert found["nve_drift"].ci95[0] < 2e-4
    expected = 1.0 / np.sqrt(1 - 0.9**2)  # standard deviation of the noise, 1 meV/atom times that
    assert found["nve_energy_fluctuation"].value == pytest.approx(expected, rel=0.15)


def test_the_worst_system_is_reported_and_its_interval_bounds_all() -> None:
    found = summary(record([1e-4, -5e-3, 2e-4]))["nve_drift"]
    assert found.detail["worst_system"] == "m1"
    assert found.ci95[0] <= 5e-3 <= found.ci95[1]
    assert found.detail["systems"]["m1"]["mean"] < 0


def test_the_energy_zero_does_not_matter() -> None:
    plain = record(1e-3)
    moved = NVERecord(**{**vars(plain), "potential_energy": plain.potential_energy + 12345.0})
    assert summary(moved)["nve_drift"].value == pytest.approx(summary(plain)["nve_drift"].value, rel=1e-6)


def test_one_replica_gives_no_interval() -> None:
    assert summary(record(1e-3, n_replicas=1))["nve_drift"].ci95 is None


def test_a_failed_replica_makes_the_drift_undefined_and_names_the_reason() -> None:
    traces = record(1e-3)
    energy = traces.potential_energy.copy()
    energy[200:, 1] = np.nan
    failed = NVERecord(
        **{
            **vars(traces),
            "potential_energy": energy,
            "survived_ps": np.array([10.0, 5.0, 10.0]),
            "failures": np.array(["", "atoms 0 and 1 are 0.2 Angstrom apart", ""]),
        }
    )
    found = summary(failed)
    assert np.isnan(found["nve_drift"].value)
    assert found["nve_drift"].ci95 is None
    assert found["nve_duration"].value == 5.0
    assert not found["nve_duration"].detail["censored"]
    assert found["nve_stability"].value == pytest.approx(2 / 3)
    assert found["nve_duration"].detail["failures"] == [
        {"system": "m0", "replica": 2, "time_ps": 5.0, "reason": "atoms 0 and 1 are 0.2 Angstrom apart"}
    ]
    checks = {c.name: c.outcome for c in judge(list(found.values()), CriteriaPlan()).checks}
    assert checks["nve_duration"] == "FAIL"
    assert checks["nve_drift_percent"] == "INCONCLUSIVE"


def test_a_conservative_potential_keeps_its_energy(starts, teacher) -> None:
    plan = NVEPlan(duration_ps=0.5, record_every=5)
    measurements, traces = measured(plan, teacher, {name: [start] for name, start in starts.items()})
    found = {m.name: m for m in measurements}
    assert found["nve_stability"].value == 1
    assert found["nve_duration"].value == 0.5
    assert found["nve_duration"].detail["censored"]
    assert found["nve_drift_percent"].value < 1
    assert traces.energy_per_atom.shape == (201, 12)
    assert traces.names == list(starts)


def test_forces_that_are_no_gradient_drift_and_fail(starts, teacher, make_swirl) -> None:
    plan = NVEPlan(duration_ps=0.5, record_every=5)
    measurements, _ = measured(plan, make_swirl(teacher, 0.003), {"ethanol": [starts["ethanol"]]})
    verdict = judge(measurements, CriteriaPlan())
    assert verdict.check("nve_drift").outcome == "FAIL"
    assert verdict.check("nve_drift_percent").outcome == "FAIL"
    assert verdict.verdict == "REJECTED"


def test_a_potential_without_repulsion_is_caught(starts) -> None:
    collapse = morse(depth=5.0, width=0.5, distance=0.1, cutoff=6.0)
    measurements, _ = measured(NVEPlan(duration_ps=0.5), collapse, {"H2O": [starts["water"]]})
    found = {m.name: m for m in measurements}
    assert found["nve_stability"].value == 0
    assert 0 < found["nve_duration"].value < 0.5
    assert len(found["nve_duration"].detail["failures"]) == 3


def test_velocities_differ_between_replicas_and_repeat_with_the_seed() -> None:
    h3 = Structure([1, 1, 1], [[0, 0, 0], [0, 0, 1.05], [0, 0.9, 0.5]])
    spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
    plan = NVEPlan(duration_ps=0.02, n_replicas=2)
    _, first = measured(plan, spring, {"H3": [h3]}, seed=1)
    _, again = measured(plan, spring, {"H3": [h3]}, seed=1)
    _, other = measured(plan, spring, {"H3": [h3]}, seed=2)
    assert np.array_equal(first.potential_energy, again.potential_energy)
    assert not np.allclose(first.potential_energy[-1, 0], first.potential_energy[-1, 1])
    assert not np.allclose(first.potential_energy[-1], other.potential_energy[-1])


@pytest.mark.parametrize(("timestep_fs", "n_steps"), [(0.5, 20_000), (0.1, 100_000), (0.3, 33_334)])
def test_a_run_is_never_shorter_than_asked(timestep_fs: float, n_steps: int) -> None:
    assert NVEPlan(timestep_fs=timestep_fs).n_steps == n_steps


def test_several_starting_points_of_a_system_are_used_in_turn() -> None:
    spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
    stretched = [Structure([1, 1], [[0, 0, 0], [0, 0, d]]) for d in (1.0, 1.2)]
    _, record = measured(NVEPlan(duration_ps=0.01, n_replicas=3), spring, {"H2": stretched})
    assert record.names == ["H2"]
    np.testing.assert_allclose(record.potential_energy[0], [0.0, 0.2, 0.0], atol=1e-12)


def test_without_systems_it_says_so() -> None:
    spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
    with pytest.raises(DataError, match="no systems"):
        NVEPlan().measure(Trial(spring))
