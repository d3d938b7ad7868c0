"""Drift, fluctuation and equipartition of runs whose truth is known: exactly where it is exact, else by coverage."""

from collections.abc import Callable

import numpy as np
import pytest
from ase.build import molecule
from scipy.signal import lfilter

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.elements import MASSES
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.randomness import generator
from mlff_distiller.core.units import BOLTZMANN, FEMTOSECOND
from mlff_distiller.dynamics.nve import NVETrace, run_nve
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.potentials.analytic import harmonic, morse
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.checks.nve.drift import conservation, slopes
from mlff_distiller.validation.checks.nve.record import NVERecord
from mlff_distiller.validation.checks.worst import worst
from mlff_distiller.validation.criteria import AtMost
from mlff_distiller.validation.statistics import Replicated, mean_interval, trends

T, R = 501, 3
TIME = np.linspace(0, 10, T)
WATER = from_ase(molecule("H2O"))
BOND = morse(depth=4.6, width=2.2, distance=0.96, cutoff=6.0)
RING = Structure([8, 1, 1], 0.96 * np.array([[0, 0, 0], [1, 0, 0], [0.5, 0.75**0.5, 0]]))


def found(record: NVERecord) -> dict[str, Measurement]:
    return {m.name: m for m in conservation(record)}


def energies(total: np.ndarray, **more: object) -> NVERecord:
    """Return runs of ten atoms of one system with these total energies per atom (T, R)."""
    runs, kinetic = total.shape[1], np.full_like(total, 0.4)
    kinetic = kinetic * (1 + 0.1 * np.cos(40 * np.linspace(0, 10, len(total))))[:, None]
    fields: dict = {
        "systems": np.array(["X"] * runs),
        "n_atoms": np.full(runs, 10),
        "times_ps": np.linspace(0, 10, len(total)),
        "potential_energy": 10 * total - kinetic,
        "kinetic_energy": kinetic,
        "temperatures_K": np.full_like(total, 300.0),
        "survived_ps": np.full(runs, 10.0),
        "failures": np.array([""] * runs),
    }
    return NVERecord(**{**fields, **more})


def traced(potential: Potential, structure: Structure, n_runs: int = 3, **more: float) -> NVETrace:
    velocities = [maxwell_boltzmann(structure, 300.0, generator(4, "runs", k)) for k in range(n_runs)]
    settings = {"timestep_fs": 0.5, "n_steps": 2000, "record_every": 1, "frame_every": 1} | more
    return run_nve(potential, [structure] * n_runs, velocities, **settings)


def test_the_shadow_of_an_oscillator_is_constant_to_machine_precision_and_its_fluctuation_exact() -> None:
    h2, stiffness, timestep_fs = Structure([1, 1], [[0, 0, 0], [0, 0, 1.05]]), 10.0, 0.5
    trace = traced(
        harmonic(stiffness=stiffness, distance=1.0, cutoff=3.0), h2, 2, timestep_fs=timestep_fs, n_steps=1000
    )
    square = stiffness / (MASSES[1] / 2) * (timestep_fs * FEMTOSECOND) ** 2  # (omega dt)^2
    exact = trace.kinetic_energy + trace.potential_energy * (1 - square / 4)
    assert np.ptp(exact, axis=0).max() < 1e-12
    record = NVERecord.from_trace(trace, ["H2", "H2"], 0.5)
    assert np.abs(slopes(record)).max() < 1e-6
    expected = 1000 * square / 4 * trace.potential_energy / 2
    line = [np.polyval(np.polyfit(record.times_ps, own, 1), record.times_ps) for own in expected.T]
    rms = np.sqrt(((expected - np.transpose(line)) ** 2).mean(0)).mean()
    assert found(record)["nve_energy_fluctuation"].value == pytest.approx(rms, rel=1e-9)
    energy = exact[0].mean()
    assert rms == pytest.approx(1000 * square / 8 * energy / 8**0.5, rel=0.1)  # cos^2 has a deviation of 1/sqrt(8)


def work(trace: NVETrace, forces: Callable[[np.ndarray], np.ndarray], timestep_fs: float, n_runs: int) -> np.ndarray:
    """Return the work per atom (T - 2, R) that forces did along the recorded runs, from the second moment on.

    Velocity Verlet's velocities are central differences of its positions, and its kinetic energy changes in a step by
    dt/4 (F + F') . (v + v'), both exactly.
    """
    dt = timestep_fs * FEMTOSECOND
    positions = trace.frame_positions.reshape(len(trace.frame_positions), n_runs, -1, 3)
    velocities = (positions[2:] - positions[:-2]) / (2 * dt)
    pushes = forces(positions[1:-1])
    power = ((pushes[1:] + pushes[:-1]) * (velocities[1:] + velocities[:-1])).sum((2, 3)) * dt / 4
    return np.concatenate([np.zeros((1, n_runs)), np.cumsum(power, axis=0)]) / positions.shape[2]


def swirl(strength: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda positions: strength * np.cross([0.0, 0.0, 1.0], positions - positions.mean(-2, keepdims=True))


def test_the_work_of_forces_that_are_no_gradient_is_the_change_of_energy_to_machine_precision(make_swirl) -> None:
    free = harmonic(stiffness=0.0, distance=1.0, cutoff=3.0)
    trace = traced(make_swirl(free, 0.5), WATER, n_steps=40)
    done = work(trace, swirl(0.5), 0.5, 3)
    energy = trace.total_energy[1:-1] / 3
    assert np.abs(energy - energy[0] - done).max() < 1e-12
    assert np.abs(done).max() > 1e-5


def test_the_drift_of_a_molecule_is_the_power_of_the_forces_that_are_no_gradient(make_swirl) -> None:
    trace = traced(make_swirl(BOND, 1e-4), RING, n_steps=1500)
    record = NVERecord.from_trace(trace, ["ring"] * 3, 0.75)
    truth, _ = trends(record.times_ps[1:-1], work(trace, swirl(1e-4), 0.5, 3))
    assert slopes(record) == pytest.approx(truth, rel=0.02)
    low, high = found(record)["nve_drift"].ci95
    assert low <= abs(truth.mean()) <= high


def test_the_shadow_resolves_a_drift_that_the_total_energy_hides() -> None:
    trace = traced(BOND, RING, n_steps=2400, record_every=4, frame_every=2400)
    record = NVERecord.from_trace(trace, ["ring"] * 3, 1.2)
    drift = 3 * 1e-5 * record.times_ps[:, None]
    fields = vars(record)
    leaking = NVERecord(
        **{
            **fields,
            "potential_energy": record.potential_energy + drift,
            "shadow_energy": record.shadow_energy + drift,
        }
    )
    blind = NVERecord(**{**fields, "shadow_energy": np.zeros((0, 0))})
    width = [found(own)["nve_drift"].detail["half_width"] for own in (record, blind)]
    assert width[0] < width[1] / 5
    assert width[0] < 1e-6  # in three runs of 1.2 ps; it falls with the length to the power of 1.5
    low, high = found(leaking)["nve_drift"].ci95
    assert 0.9e-5 < low <= 1e-5 <= high < 1.1e-5
    assert found(leaking)["nve_drift"].detail["meV_per_atom_per_ns"] == pytest.approx(10.0, rel=0.1)
    assert found(record)["nve_drift"].ci95[1] < 1e-6


def noise(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return noise (T, R) of a kind, about one in size where it is stationary."""
    drawn = rng.standard_normal((T, R))
    if kind == "walk":
        return drawn.cumsum(0)
    if kind == "cosines":
        rates = 2 * np.pi * np.array([0.4, 1.1, 9.0, 21.0, 33.0])[:, None, None]
        return np.cos(rates * TIME[:, None] + 2 * np.pi * rng.random((5, 1, R))).sum(0)
    rho = float(kind)
    drawn[0] /= np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], drawn, axis=0)


@pytest.mark.parametrize("kind", ["0.0", "0.5", "0.9", "0.99", "cosines", "walk"])
def test_the_interval_of_a_drift_holds_the_truth_in_93_of_100_repetitions(kind: str) -> None:
    rng, covered, n = np.random.default_rng(3), 0, 300
    for _ in range(n):
        low, high = Replicated(*trends(TIME, 0.2 * TIME[:, None] + noise(kind, rng))).interval()
        covered += low <= 0.2 <= high
    assert covered >= 0.93 * n


@pytest.mark.parametrize("excess", [1.0, 2.0, 3.0, 10.0])
def test_it_holds_it_too_where_replicas_truly_differ(excess: float) -> None:
    rng, covered, n = np.random.default_rng(5), 0, 600
    spread = excess * trends(TIME, rng.standard_normal((T, 500)))[0].std()
    for _ in range(n):
        own = 0.2 + spread * rng.standard_normal(R)
        low, high = Replicated(*trends(TIME, own * TIME[:, None] + noise("0.0", rng))).interval()
        covered += low <= 0.2 <= high
    assert covered >= 0.93 * n


def test_vibrations_do_not_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    series = np.cos(2 * np.pi * 20 * TIME[:, None] + 2 * np.pi * rng.random(R))
    centered = TIME - TIME.mean()
    _, plain = mean_interval(centered @ series / (centered @ centered))
    assert np.ptp(Replicated(*trends(TIME, series)).interval()) < 0.05 * np.ptp(plain)


def test_a_sound_potential_of_eight_systems_fails_and_an_unsound_one_passes_at_most_as_often_as_stated() -> None:
    rng, failed, passed, n = np.random.default_rng(7), 0, 0, 100
    limit, one = AtMost(limit=0.01), np.arange(8) == 3
    for _ in range(n):
        estimates, drawn = 0.005 * rng.standard_normal((8, 3)), 0.005 * rng.standard_normal((8, 3, 6))
        sound = {str(k): Replicated(0.01 + estimates[k], drawn[k]) for k in range(8)}
        failed += limit.outcome(worst("nve_drift", "", sound, side="magnitude")) == "FAIL"
        unsound = {str(k): Replicated(0.0101 * one[k] + estimates[k], drawn[k]) for k in range(8)}
        passed += limit.outcome(worst("nve_drift", "", unsound, side="magnitude")) == "PASS"
    assert failed <= 0.05 * n
    assert passed <= 0.05 * n


@pytest.mark.parametrize(("kind", "power"), [("0.0", -1.5), ("walk", -0.5), ("differ", 0.0)])
def test_it_says_how_the_half_width_falls_with_the_duration(kind: str, power: float) -> None:
    rng, told = np.random.default_rng(1), []
    for _ in range(40):
        own = np.array([-3.0, 0.0, 3.0]) if kind == "differ" else np.zeros(3)
        record = energies(own * TIME[:, None] + noise("0.0" if kind == "differ" else kind, rng))
        drift, percent = (found(record)[name].detail for name in ("nve_drift", "nve_drift_percent"))
        assert percent["scaling"] == drift["scaling"] + 1
        told.append(drift["scaling"])
    assert np.mean(np.array(told) == power) >= 0.75
    assert (drift["duration_ps"], drift["n_replicas"]) == (10.0, 3)


def test_half_the_width_is_what_the_interval_has() -> None:
    detail = found(energies(noise("0.5", np.random.default_rng(2))))["nve_drift"].detail
    own = detail["systems"]["X"]
    assert np.diff(own["ci95"])[0] == pytest.approx(2 * detail["half_width"])
    assert own["run_error"] > 0


def test_percent_and_ratio_are_those_built_in() -> None:
    wobble = 1e-3 * np.sin(50 * TIME)[:, None] + np.zeros(3)
    values = found(energies(-2e-4 * TIME[:, None] + wobble))
    assert values["nve_drift_percent"].value == pytest.approx(100 * 2e-4 * 10 / 0.04, rel=1e-2)
    assert values["nve_energy_fluctuation"].value == pytest.approx(1 / 2**0.5, rel=1e-2)
    assert values["nve_conservation_ratio"].value == pytest.approx(1e-3 / 0.004, rel=1e-2)


def test_without_fluctuation_of_the_kinetic_energy_there_is_no_ratio_to_it() -> None:
    record = energies(np.zeros((T, 3)), kinetic_energy=np.full((T, 3), 0.5), potential_energy=np.zeros((T, 3)))
    ratio = found(record)["nve_conservation_ratio"]
    assert np.isnan(ratio.value)
    assert ratio.ci95 is None


def test_a_shadow_that_begins_late_is_used_from_there_on() -> None:
    shadow = 10 * 1e-3 * TIME[:, None] + np.zeros(3)
    shadow[0] = np.nan
    assert slopes(energies(np.zeros((T, 3)), shadow_energy=shadow)) == pytest.approx([1e-3] * 3, rel=1e-9)


@pytest.mark.parametrize(("n_times", "n_known"), [(1, 0), (2, 3), (3, 3), (12, 3)])
def test_short_runs_give_a_slope_as_soon_as_there_are_two_times(n_times: int, n_known: int) -> None:
    times = np.arange(n_times, dtype=np.float64)
    slope, left = trends(times, np.outer(times, [1.0, 2.0, 3.0]))
    assert np.isfinite(slope).sum() == n_known
    assert left.shape[1] <= max(n_times - 2, 0)
    if n_known:
        assert slope == pytest.approx([1.0, 2.0, 3.0])


def thermal(hot: float) -> NVERecord:
    """Return water whose momenta are drawn at every moment anew, without rotation, its oxygen warmer by a factor."""
    n_times, positions, masses = 8000, WATER.positions, MASSES[WATER.numbers]
    arms = positions - masses @ positions / masses.sum()
    rigid = [np.tile(axis, (3, 1)) for axis in np.eye(3)] + [np.cross(axis, arms) for axis in np.eye(3)]
    modes, _ = np.linalg.qr(np.array([(masses[:, None] ** 0.5 * own).ravel() for own in rigid]).T)
    drawn = np.random.default_rng(0).standard_normal((n_times, 3, 9))
    kinetic = 0.5 * BOLTZMANN * 300 * ((drawn - drawn @ modes @ modes.T).reshape(n_times, 3, 3, 3) ** 2).sum(3)
    kelvin = np.stack([kinetic[..., 1:].sum(-1) / 2, hot * kinetic[..., 0]], axis=-1)
    more = {
        "systems": np.array(["water"] * 3),
        "element_temperatures_K": kelvin / (1.5 * BOLTZMANN),
        "elements": np.array([1, 8]),
        "numbers": np.tile(WATER.numbers, 3),
        "frame_positions": np.tile(positions, (4, 3, 1)),
        "pbc": np.zeros((3, 3), dtype=bool),
        "n_atoms": np.array([3, 3, 3]),
    }
    return energies(np.zeros((n_times, 3)), **more)


def test_elements_of_a_molecule_without_rotation_are_equally_warm_and_a_warmer_one_is_named() -> None:
    even = found(thermal(1.0))["nve_equipartition"]
    assert even.value < 5
    assert even.ci95[0] < 1
    assert set(even.detail["systems"]) == {"water H", "water O"}
    uneven = found(thermal(1.3))["nve_equipartition"]
    share = uneven.detail["systems"]["water O"]["mean"]
    assert uneven.detail["worst_system"] == "water O"
    assert 20 < share < 30  # 30 % of the oxygen, which warms the whole a little


def test_a_system_of_one_element_has_no_equipartition_to_test() -> None:
    h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.05]])
    trace = traced(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), h2, 2, n_steps=20)
    assert "nve_equipartition" not in found(NVERecord.from_trace(trace, ["H2", "H2"], 0.01))
