"""The check as a whole: what it finds, what it cannot find, and that it ends the same when it was killed."""

import pickle
from collections.abc import Collection, Sequence
from dataclasses import replace

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Silent
from mlff_distiller.core.errors import DataError, PlanError, PredictionError, UnsupportedStructureError
from mlff_distiller.core.evidence import Evidence
from mlff_distiller.potentials.analytic import lennard_jones, morse
from mlff_distiller.potentials.base import Potential
from mlff_distiller.scale.local import LocalPool
from mlff_distiller.teachers.ase_factory import ASEFactoryPlan
from mlff_distiller.validation.checks.observables import ObservablesPlan
from mlff_distiller.validation.observables.measures import NAMES
from mlff_distiller.validation.observables.observations import Observations, joined
from mlff_distiller.validation.observables.observe import SystemTask, observe, observe_teacher_system
from mlff_distiller.validation.records import read_evidence, write_evidence
from mlff_distiller.validation.trial import Trial

RATIOS = ("bond_distribution", "angle_distribution", "dihedral_distribution", "vdos")


@pytest.fixture(scope="module")
def observed(springs, warm, plan) -> Evidence:
    """Return what the teacher did, one system after the other, as the pipeline has it."""
    tasks = [SystemTask(springs, name, own, plan, 1) for name, own in warm.items()]
    return joined([observe_teacher_system(task, Silent()) for task in tasks])


@pytest.fixture(scope="module")
def same(springs, warm, plan, observed) -> Evidence:
    return plan.measure(Trial(springs(), warm, found={"teacher": observed}, seed=1))


class Refusing(Potential):
    """A potential that cannot evaluate hot geometries, or gives nonsense for them."""

    is_conservative = True

    def __init__(self, inner: Potential, *, explode: bool) -> None:
        self.inner, self.explode = inner, explode
        self.properties, self.elements, self.identity = inner.properties, inner.elements, inner.identity

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        if not self.explode:
            raise PredictionError(0, "SCF did not converge")
        found = self.inner.predict(structures, properties)
        return [x if x.forces is None else replace(x, forces=1e6 + x.forces) for x in found]


def test_a_student_that_is_the_teacher_is_as_far_as_two_of_its_runs(same):
    for name in RATIOS:
        found = same.measurement(name)
        assert found.ci95[0] <= 1 <= found.ci95[1], found
    for name in ("frequency_mae", "geometry_rmsd", "torsion_error"):
        assert same.measurement(name).value == pytest.approx(0.0, abs=1e-9)


def test_longer_bonds_are_found_in_all_that_depends_on_them(springs, warm, plan, observed):
    found = plan.measure(Trial(springs(1.0, 0.1), warm, found={"teacher": observed}, seed=1))
    assert found.measurement("bond_distribution").ci95[0] > 1
    assert 0.03 < found.measurement("geometry_rmsd").value < 0.2
    raw = found.measurement("bond_distribution").detail["systems"]["water"]
    assert raw["to_teacher"] > 0.05


def test_stiffer_springs_raise_frequencies_by_the_root(springs, warm, plan, observed):
    found = plan.measure(Trial(springs(1.21), warm, found={"teacher": observed}, seed=1))
    frequencies = Observations.of(observed.arrays).get("water")["frequencies"]
    per_system = found.measurement("frequency_mae").detail["systems"]
    assert per_system["water"]["mae"] == pytest.approx(0.1 * frequencies.mean(), rel=0.01)
    assert per_system["water"]["mean_error"] == pytest.approx(per_system["water"]["mae"])


def test_everything_is_either_measured_or_skipped_with_a_reason(same):
    assert {m.name for m in same.measurements} | {s.check for s in same.skipped} == set(NAMES)
    skipped = {one.check: one for one in same.skipped}
    assert not skipped["rdf"].applies
    assert not skipped["eos_error"].applies
    assert skipped["dimer_error"].applies  # springs know no dimers: it should have been measured


def test_the_same_trial_gives_the_same_numbers(springs, warm, plan, observed, same):
    again = plan.measure(Trial(springs(), warm, found={"teacher": observed}, seed=1))
    assert again.measurements == same.measurements
    for name, array in same.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[name], err_msg=name)


def test_evidence_survives_the_disk(same, tmp_path):
    write_evidence(tmp_path, same)
    back = read_evidence(tmp_path)
    assert [m.value for m in back.measurements] == [m.value for m in same.measurements]
    assert Observations.of(back.arrays, "student/").names == ["water", "ethanol"]


def test_a_teacher_that_was_not_observed_is_observed_here(springs, warm, plan, same):
    found = plan.measure(Trial(springs(), warm, make_teacher=springs, seed=1))
    assert [m.value for m in found.measurements] == [m.value for m in same.measurements]


def test_finished_systems_are_not_observed_again(springs, warm, plan, observed, tmp_path):
    teacher = springs()
    tasks = [SystemTask(lambda: teacher, name, own, plan, 1, tmp_path) for name, own in warm.items()]
    observe_teacher_system(tasks[0], Silent())  # killed here
    asked = teacher.n_asked
    assert asked > 1000
    first = observe_teacher_system(tasks[0], Silent())
    assert teacher.n_asked == asked
    both = joined([first, observe_teacher_system(tasks[1], Silent())])
    for name, array in observed.arrays.items():
        np.testing.assert_array_equal(array, both.arrays[name], err_msg=name)
    other = plan.model_copy(update={"temperature_K": 310.0})
    observe_teacher_system(replace(tasks[0], plan=other), Silent())
    assert teacher.n_asked > 2 * asked


def test_the_forecast_of_calls_is_right(springs, warm, plan):
    for name, own in warm.items():
        teacher = springs()
        observe_teacher_system(SystemTask(lambda t=teacher: t, name, own, plan, 1), Silent())
        expected = plan.n_teacher_calls({name: own[0]}) - plan.dimer_points * 3  # it refuses dimers
        assert teacher.n_asked == pytest.approx(expected, rel=0.1)


def test_tasks_travel_to_other_processes(warm, plan):
    task = SystemTask(ASEFactoryPlan(factory="ase.calculators.emt:EMT").build, "water", warm["water"], plan, 1)
    assert pickle.loads(pickle.dumps(task)).name == "water"


@pytest.mark.slow
def test_systems_observed_in_a_pool_are_those_observed_in_turn(tmp_path):
    make = ASEFactoryPlan(factory="ase.calculators.emt:EMT").build
    plan = ObservablesPlan(duration_ps=0.04, timestep_fs=4.0, dimer_points=5, record_every=1)
    solids = {name: [from_ase(ase.build.bulk(name, cubic=True))] for name in ("Cu", "Al")}
    tasks = [SystemTask(make, name, own, plan, 1, tmp_path) for name, own in solids.items()]
    pooled = dict(LocalPool(2).run(observe_teacher_system, tasks, reporter=Silent()))
    joint = joined([pooled[k] for k in range(2)])
    for name, array in joined(
        [observe_teacher_system(replace(t, folder=None), Silent()) for t in tasks]
    ).arrays.items():
        np.testing.assert_array_equal(array, joint.arrays[name], err_msg=name)
    assert Observations.of(joint.arrays).get("Cu")["elastic_GPa"][0, 0] > 100


def test_without_a_teacher_nothing_is_measured_and_nothing_passes(springs, warm, plan):
    found = plan.measure(Trial(springs(), warm))
    assert not found.measurements
    assert {s.check for s in found.skipped} == set(NAMES)
    assert all(s.applies for s in found.skipped)


def test_a_student_that_explodes_is_infinitely_far(springs, warm, plan, observed):
    found = plan.measure(Trial(Refusing(springs(), explode=True), warm, found={"teacher": observed}))
    assert found.measurement("bond_distribution").value == np.inf
    assert "force" in found.measurement("bond_distribution").detail["failures"]["water"][0]
    assert found.measurement("geometry_rmsd") is None or found.measurement("geometry_rmsd").value == np.inf


def test_a_teacher_that_fails_is_said_to(springs, warm, plan):
    found = plan.measure(Trial(springs(), warm, make_teacher=lambda: Refusing(springs(), explode=False)))
    reasons = {s.check: s for s in found.skipped}
    assert "SCF did not converge" in reasons["bond_distribution"].reason
    assert reasons["bond_distribution"].applies
    assert "SCF did not converge" in reasons["geometry_rmsd"].reason


def test_a_student_that_does_not_cover_a_system_is_skipped(warm, plan, observed):
    hydrogen = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0, elements={1})
    found = plan.measure(Trial(hydrogen, warm, found={"teacher": observed}))
    assert len(found.skipped) == len(NAMES)
    assert "does not cover" in found.skipped[0].reason
    with pytest.raises(UnsupportedStructureError):
        observe(hydrogen, warm, plan, seed=0, role="student")


def test_a_teacher_that_does_not_cover_a_system_says_so_and_goes_on(warm, plan):
    hydrogen = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0, elements={1})
    h2 = {"h2": [Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])], "water": warm["water"]}
    parts = [observe_teacher_system(SystemTask(lambda: hydrogen, n, own, plan, 0), Silent()) for n, own in h2.items()]
    found = plan.measure(
        Trial(morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0), h2, found={"teacher": joined(parts)})
    )
    frequencies = found.measurement("frequency_mae")
    assert frequencies.value == pytest.approx(0.0, abs=1e-6)
    assert "does not cover" in frequencies.detail["left_out"]["water"]


def test_large_systems_get_no_frequencies(springs, warm, plan, observed):
    short = plan.model_copy(update={"max_hessian_atoms": 3})
    found = short.measure(Trial(springs(), {"ethanol": warm["ethanol"]}, make_teacher=springs))
    reason = next(s for s in found.skipped if s.check == "frequency_mae")
    assert reason.applies
    assert "more than 3 atoms" in reason.reason


def test_runs_too_short_to_say_anything_are_refused():
    with pytest.raises(PlanError, match="lengthen duration_ps"):
        ObservablesPlan.parse({"duration_ps": 0.001}, where="validation.observables")


def test_a_teacher_observed_with_other_settings_is_refused(springs, warm, plan, observed):
    other = plan.model_copy(update={"temperature_K": 350.0})
    with pytest.raises(DataError, match="other settings"):
        other.measure(Trial(springs(), warm, found={"teacher": observed}))


def test_a_solid_is_measured_in_all_that_only_solids_have():
    crystal = from_ase(ase.build.bulk("Ar", "fcc", a=5.3, cubic=True))
    teacher, student = (lennard_jones(epsilon=e, sigma=3.4, cutoff=8.0) for e in (0.0104, 0.0108))
    plan = ObservablesPlan(duration_ps=0.4, timestep_fs=2.0, temperature_K=20.0, record_every=2, frame_every=10)
    found = plan.measure(Trial(student, {"argon": [crystal]}, make_teacher=lambda: teacher))
    stiffer = 100 * 0.0004 / 0.0104
    assert found.measurement("eos_error").value == pytest.approx(stiffer, rel=1e-3)
    assert found.measurement("elastic_error").value == pytest.approx(stiffer, rel=1e-3)
    assert found.measurement("frequency_mae").value > 0
    assert found.measurement("rdf").value > 0
    assert found.measurement("pressure").detail["distance_unit"] == "GPa"
    skipped = {s.check: s.applies for s in found.skipped}
    assert skipped == dict.fromkeys(
        ("bond_distribution", "angle_distribution", "dihedral_distribution", "diffusion", "torsion_error"), False
    )


def test_a_gas_diffuses(gas, box):
    plan = ObservablesPlan(duration_ps=1.5, timestep_fs=5.0, friction_per_ps=5.0, max_hessian_atoms=1, frame_every=100)
    found = plan.measure(Trial(gas, {"argon": [box]}, make_teacher=lambda: gas))
    low, high = found.measurement("diffusion").ci95
    assert low < 1 < high


def test_starts_in_other_periodic_images_have_the_same_bonds(make_student):
    silicon = from_ase(ase.build.bulk("Si", "diamond", a=5.43, cubic=True))
    wrapped = silicon.moved(silicon.positions + 5.43 * np.eye(3)[np.arange(8) % 3])
    potential = lennard_jones(epsilon=0.01, sigma=2.1, cutoff=5.0)
    plan = ObservablesPlan(duration_ps=0.02, equilibration_ps=0.0, n_replicas=2, temperature_K=1.0)
    found = Observations.of(observe(potential, {"si": [silicon, wrapped]}, plan, seed=0, role="teacher").arrays)
    assert found.get("si")["bond_quantiles"] == pytest.approx(5.43 * 3**0.5 / 4, abs=0.1)
