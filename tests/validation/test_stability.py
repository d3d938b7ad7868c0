"""What happened to trajectories is found as it was planted: bonds, topology, distances, failures and their causes."""

from collections.abc import Collection, Sequence

import numpy as np
import pytest
from ase.build import molecule
from scipy.spatial.transform import Rotation

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.core.evidence import Evidence
from mlff_distiller.dynamics.nve import run_nve
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.validation.checks.nve.forensics import _first_astray, failures_of, with_labels
from mlff_distiller.validation.checks.nve.plan import NVEPlan
from mlff_distiller.validation.checks.nve.record import NVERecord
from mlff_distiller.validation.checks.nve.stability import completion, geometry, kabsch_rmsd
from mlff_distiller.validation.held_out import HeldOut
from mlff_distiller.validation.records import read_evidence, write_evidence
from mlff_distiller.validation.trial import Trial

WATER = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


class Broken(Potential):
    """Another potential whose force on one atom grows without bound from a distance between two atoms on."""

    is_conservative = False
    properties = frozenset({"energy", "forces"})
    identity = Identity("broken", "test", "0")

    def __init__(self, inner: Potential, pair: tuple[int, int], *, beyond: float, strength: float) -> None:
        self.inner, self.pair, self.beyond, self.strength = inner, pair, beyond, strength
        self.elements = inner.elements

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        found = self.inner.predict(structures, properties)
        return [Labels(x.energy, x.forces + self._push(s)) for x, s in zip(found, structures, strict=True)]

    def _push(self, structure: Structure) -> np.ndarray:
        i, j = self.pair
        vector = structure.positions[j] - structure.positions[i]
        r = np.linalg.norm(vector)
        push = np.zeros_like(structure.positions)
        push[j] = self.strength * max(r - self.beyond, 0.0) * vector / r
        return push


def recorded(positions: np.ndarray, start: Structure = WATER, systems: Sequence[str] = ("water",)) -> NVERecord:
    """Return a record of runs that went through given geometries (F, R, N, 3); the last ten are the last ones too."""
    n_frames, n_runs = positions.shape[:2]
    trace = run_nve(
        Still(),
        [start] * n_runs,
        [np.zeros(start.positions.shape)] * n_runs,
        timestep_fs=1.0,
        n_steps=1,
        record_every=1,
    )
    plain = vars(NVERecord.from_trace(trace, [systems[k % len(systems)] for k in range(n_runs)], 1.0))
    joined = positions.reshape(n_frames, -1, 3)
    times = np.linspace(0, 1, n_frames)
    last = {"last_positions": joined[-10:], "last_times_ps": np.repeat(times[-10:, None], n_runs, axis=1)}
    return NVERecord(**{**plain, "frame_positions": joined, "frame_times_ps": times, **last})


class Still(Potential):
    """No forces."""

    is_conservative = True
    properties = frozenset({"energy", "forces"})
    elements = frozenset(range(1, 119))
    identity = Identity("still", "test", "0")

    def predict(self, structures, properties=("energy", "forces")):
        return [Labels(0.0, np.zeros(s.positions.shape)) for s in structures]


def values(evidence: Evidence) -> dict:
    return {m.name: m for m in evidence.measurements}


def test_kabsch_agrees_with_scipy():
    rng = np.random.default_rng(0)
    for n in (3, 9, 40):
        reference, moved = rng.normal(0, 2, (n, 3)), rng.normal(0, 2, (5, n, 3))
        moved[0] = Rotation.random(random_state=1).apply(reference) + np.array([4, 5, 6])
        moved[1] = reference * [1, 1, -1]  # a mirror image is not the same
        for ours, one in zip(kabsch_rmsd(moved, reference), moved, strict=True):
            fixed, free = reference - reference.mean(0), one - one.mean(0)
            rotation, _ = Rotation.align_vectors(fixed, free)
            expected = np.sqrt(((rotation.apply(free) - fixed) ** 2).sum() / n)
            assert ours == pytest.approx(expected, abs=1e-9)
    assert kabsch_rmsd(moved, reference)[0] < 1e-12
    assert kabsch_rmsd(moved, reference)[1] > 1
    pairs = np.array([[[0, 0, 0], [0, 0, 1.0]], [[3.0, 0, 0], [3, 1.3, 0]]])
    assert kabsch_rmsd(pairs, pairs[0]) == pytest.approx([0, 0.15])


def test_the_bond_that_changed_most_is_found():
    rng = np.random.default_rng(0)
    positions = np.tile(WATER.positions, (100, 4, 1, 1)) + rng.normal(0, 0.002, (100, 4, 3, 3))
    positions[:, 2, 2] += np.linspace(0, 0.1, 100)[:, None] * (WATER.positions[2] / np.linalg.norm(WATER.positions[2]))
    found = values(geometry(recorded(positions, systems=("a", "b"))))
    drift = found["nve_bond_drift"]
    assert drift.value == pytest.approx(0.08, abs=0.004)  # means over fifths are 0.8 of the way apart
    assert drift.detail["worst_system"] == "a"
    assert drift.detail["systems"]["a"]["bond"] == "O0-H2"
    assert drift.detail["systems"]["a"]["replica"] == 2
    assert drift.detail["systems"]["b"]["change_A"] < 0.004
    assert found["nve_topology_changes"].value == 0


def test_shrinking_counts_as_drift():
    positions = np.tile(WATER.positions, (50, 1, 1, 1))
    positions[:, 0, 1, 0] -= np.linspace(0, 0.05, 50)
    assert values(geometry(recorded(positions)))["nve_bond_drift"].value == pytest.approx(0.04, abs=0.002)


def test_bonds_that_broke_and_formed_are_named():
    positions = np.tile(WATER.positions, (60, 3, 1, 1))
    positions[40:, 1, 2] = [1.2, 0.65, 0.0]  # from the oxygen to the other hydrogen
    positions[-1:, 2, 1] *= 1.8  # one wide swing is no broken bond
    changes = values(geometry(recorded(positions)))["nve_topology_changes"]
    assert changes.value == 1
    assert changes.n_samples == 3
    assert changes.detail["changes"] == [
        {"system": "water", "replica": 2, "broken": ["O0-H2"], "formed": ["H1-H2"]},
    ] or changes.detail["changes"] == [{"system": "water", "replica": 2, "broken": [], "formed": ["H1-H2"]}]


def test_the_distance_from_the_start_ignores_rotation_and_is_that_of_the_second_half():
    rng = np.random.default_rng(0)
    ethanol = from_ase(molecule("CH3CH2OH"))
    turned = Rotation.random(80, random_state=2).as_matrix()
    positions = np.einsum("fij,nj->fni", turned, ethanol.positions)[:, None] + rng.normal(0, 5, (80, 1, 1, 3))
    positions[0, 0] = ethanol.positions
    positions = np.repeat(positions, 2, axis=1)
    assert values(geometry(recorded(positions, ethanol)))["nve_rmsd"].value < 1e-9
    noise = rng.normal(0, 0.1, (40, 2, 9, 3))
    positions[40:] += noise
    rmsd = values(geometry(recorded(positions, ethanol)))["nve_rmsd"]
    assert rmsd.value == pytest.approx(0.1 * np.sqrt(3 - 6 / 9), rel=0.03)  # six of 27 motions are superposed away
    assert rmsd.ci95[0] < rmsd.value < rmsd.ci95[1]


def test_metals_have_neither_bonds_nor_a_molecule():
    copper = Structure([29, 29], [[0, 0, 0], [0, 0, 2.5]], cell=np.eye(3) * 9, pbc=True)
    evidence = geometry(recorded(np.tile(copper.positions, (10, 1, 1, 1)), copper))
    assert {skipped.check: skipped.applies for skipped in evidence.skipped} == {
        "nve_bond_drift": False,
        "nve_rmsd": False,
    }
    assert values(evidence)["nve_topology_changes"].value == 0


def test_how_much_of_what_there_is_was_run():
    positions = np.tile(WATER.positions, (2, 4, 1, 1))
    record = recorded(positions, systems=("a", "b"))
    found = {n: {m.name: m for m in completion(record, n)} for n in (None, 2, 3, 9)}
    assert [found[n]["nve_systems"].value for n in (None, 2, 3, 9)] == pytest.approx([1, 1, 2 / 3, 2 / 3])
    assert found[9]["nve_systems"].detail == {"run": ["a", "b"], "there_are": 9}
    assert found[9]["nve_replicas"].value == 2


def test_systems_that_were_trained_on_count_though_there_is_nothing_to_start_from(teacher, starts, held_out):
    frames = HeldOut(
        held_out.structures, held_out.labels, held_out.segments, held_out.systems, trained=[*starts, "another"]
    )
    water = {"water": [starts["water"]]}
    plan = NVEPlan(duration_ps=0.005, n_replicas=1)
    few = plan.measure(Trial(teacher, water, held_out=frames)).measurement("nve_systems")
    assert few.value == pytest.approx(1 / 3)
    assert few.detail["there_are"] == 5
    assert plan.measure(Trial(teacher, water)).measurement("nve_systems").value == 1


def planted(teacher: Potential, **changes) -> tuple[Potential, dict]:
    """Return a potential that throws a hydrogen of methane off, and where dynamics start."""
    settings = {"beyond": 1.12, "strength": 3e3, **changes}
    return Broken(teacher, (0, 3), **settings), {"methane": [from_ase(molecule("CH4"))]}


def test_the_cause_of_a_failure_is_found(teacher):
    student, start = planted(teacher)
    plan = NVEPlan(duration_ps=1.0, record_every=2, n_replicas=3, temperature_K=1000)
    trial = Trial(student, start, make_teacher=lambda: teacher)
    evidence = plan.measure(trial)
    failures = evidence.measurement("nve_stability").detail["failures"]
    assert len(failures) >= 2
    assert failures == evidence.measurement("nve_duration").detail["failures"]
    for failure in failures:
        assert failure["system"] == "methane"
        assert failure["kind"] in {"explosion", "broken bond"}
        assert failure["pair"] in {"C0-H3", "H3-C0"}
        assert sorted(failure["atoms"]) == [0, 3]
        assert failure["distance_A"] > 1.12
        assert failure["first_atom"] == "H3"
        assert failure["student_force"] > 100
        assert failure["teacher_force"] < 30
        assert failure["teacher_force_good"] < 10
        assert failure["first_time_ps"] <= failure["time_ps"]
        assert 0 < failure["time_ps"] - failure["good_time_ps"] <= 0.0011
    record = NVERecord(**evidence.arrays)
    run = record.failed[0]
    good = record.last(run)[-2]
    labels = teacher.predict([record.structure(run, good)])[0]
    np.testing.assert_allclose(record.last_teacher_forces[-2, record.atoms(run)], labels.forces)
    assert record.last_teacher_energies[-2, run] == labels.energy
    assert np.isnan(record.last_teacher_forces[:-2]).all()
    assert np.isfinite(record.last_student_forces[-1, record.atoms(run)]).all()
    assert [record.replica(run) for run in record.failed] == [failure["replica"] for failure in failures]
    assert evidence.measurement("nve_topology_changes").value == sum(f["kind"] == "broken bond" for f in failures)


def test_without_a_teacher_only_the_student_is_asked(teacher):
    student, start = planted(teacher)
    plan = NVEPlan(duration_ps=1.0, record_every=2, n_replicas=1, temperature_K=600)
    failure = plan.measure(Trial(student, start)).measurement("nve_stability").detail["failures"][0]
    assert failure["teacher_force"] is None
    assert failure["teacher_energy_change"] is None
    assert failure["student_force"] > 100


def test_a_run_that_fails_at_its_start_is_told_too(teacher):
    h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 9.8]], cell=np.eye(3) * 10, pbc=True)
    evidence = NVEPlan(duration_ps=0.01, n_replicas=1).measure(Trial(Still(), {"H2": [h2], "water": [WATER]}))
    (failure,) = evidence.measurement("nve_stability").detail["failures"]
    assert (failure["system"], failure["time_ps"], failure["good_time_ps"]) == ("H2", 0.0, None)
    assert failure["reason"].startswith("a hole in the potential")
    assert failure["distance_A"] == pytest.approx(0.2)  # through the boundary
    assert failure["first_atom"] is None
    assert evidence.measurement("nve_duration").value == 0


@pytest.mark.parametrize(
    ("largest", "frame"),
    [
        ([3, 4, 3, 5, 3, 4, 400], 6),
        ([3, 4, 3, 5, 60, 90, 400], 4),
        ([0, 400], 1),
        ([0, 0, 1, 50, 400], 3),
        ([400], 0),
        ([3, 4, 3, 4, 3.9], 1),  # nothing is out of the ordinary: the first that is as large as in the end
    ],
)
def test_the_first_force_to_go_astray(largest, frame):
    """Atom 1 has the largest force of every geometry."""
    forces = np.array([[0.1 * x, x, 0.5 * x] for x in largest])
    assert _first_astray(forces) == (frame, 1)
    assert _first_astray(np.full((3, 2), np.nan))[1] is None


class Refusing(Still):
    """A teacher that cannot say anything where atoms are far apart."""

    def predict(self, structures, properties=("energy", "forces")):
        if max(np.ptp(s.positions) for s in structures) > 1.5:
            raise PredictionError(0, "SCF did not converge")
        return super().predict(structures)


def test_what_nobody_can_say_is_not_known(teacher):
    """A student that gives up where it failed, and a teacher that gives up there too."""
    h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.8]])
    away = np.array([[0, 0, -0.05], [0, 0, 0.05]])
    trace = run_nve(Refusing(), [h2], [away], timestep_fs=1.0, n_steps=200, record_every=5)
    record = with_labels(NVERecord.from_trace(trace, ["H2"], 0.2), Refusing(), Refusing())
    (failure,) = failures_of(record)
    assert failure["reason"] == "SCF did not converge"
    assert failure["kind"] == "no answer"
    assert failure["pair"] in {"H0-H1", "H1-H0"}
    assert failure["distance_A"] > 1.5
    assert failure["student_force"] is None
    assert failure["teacher_force"] is None
    assert failure["first_atom"] is None


def test_evidence_survives_the_disk_and_is_judged_the_same_again(teacher, tmp_path):
    student, start = planted(teacher)
    plan = NVEPlan(duration_ps=0.2, record_every=2, n_replicas=2, temperature_K=600)
    evidence = plan.measure(Trial(student, start, make_teacher=lambda: teacher))
    write_evidence(tmp_path, evidence)
    read = read_evidence(tmp_path)
    again = plan.summarize(NVERecord(**read.arrays), n_systems=1)
    assert repr(again) == repr(list(read.measurements))


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_check_that_was_killed_goes_on_and_ends_the_same(teacher, starts, tmp_path):
    plan = NVEPlan(duration_ps=1.1, n_replicas=2)
    water = {"water": [starts["water"]]}

    class Dying(Still):
        identity, n_calls = teacher.identity, 0

        def predict(self, structures, properties=("energy", "forces")):
            self.n_calls += 1
            if self.n_calls == 1500:
                raise Killed
            return teacher.predict(structures, properties)

    with pytest.raises(Killed):
        plan.measure(Trial(Dying(), water, folder=tmp_path))
    continued = Dying()
    evidence = plan.measure(Trial(continued, water, folder=tmp_path))
    assert 1200 <= continued.n_calls < 1210  # the thousand steps of the first chunk are not done again
    whole = plan.measure(Trial(teacher, water))
    assert all(
        np.array_equal(evidence.arrays[name], array, equal_nan=array.dtype.kind == "f")
        for name, array in whole.arrays.items()
    )
    assert repr(evidence.measurements) == repr(whole.measurements)


def test_frames_are_a_hundred_to_two_hundred_whatever_the_length(teacher, starts):
    for duration_ps in (0.7, 1.0, 50.0):
        settings = NVEPlan(duration_ps=duration_ps).settings
        assert 100 <= settings.n_frames <= 201
        assert settings.frame_every % settings.record_every == 0
    velocities = maxwell_boltzmann(starts["water"], 300.0, np.random.default_rng(0))
    trace = run_nve(teacher, [starts["water"]], [velocities], timestep_fs=0.5, n_steps=20, frame_every=10)
    record = NVERecord.from_trace(trace, ["water"], 0.01)
    assert record.positions(0).shape == (3, 3, 3)
    assert record.structure(0, record.positions(0)[1]).formula == "H2O"
