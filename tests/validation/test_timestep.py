"""The order of the energy error tells the integrator's error from forces that do not belong to the energy."""

from collections.abc import Collection, Sequence

import numpy as np
import pytest

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DistillerError
from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.html.markup import Numbered
from mlff_distiller.potentials.analytic import morse
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.validation.checks.timestep import TimestepPlan
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.report import StudentReport
from mlff_distiller.validation.report.sections.timestep import section
from mlff_distiller.validation.trial import Trial
from mlff_distiller.validation.verdict import judge

H2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.05]])
PLAN = TimestepPlan(duration_ps=0.2)


class Spring(Potential):
    """A spring between two atoms, whose force may jump by a step where they pass a distance; its energy does not."""

    properties = frozenset({"energy", "forces"})
    elements = frozenset({1, 2})
    identity = Identity("spring", "analytic", "one")

    def __init__(self, jump: float = 0.0) -> None:
        self.jump, self.is_conservative, self.calls_left = jump, jump == 0, 10**9

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise Killed
        return [self._label(structure) for structure in structures]

    def _label(self, structure: Structure) -> Labels:
        if len(structure) == 1:
            return Labels(energy=0.0, forces=np.zeros((1, 3)))
        bond = structure.positions[1] - structure.positions[0]
        r = np.linalg.norm(bond)
        pull = -10.0 * (r - 1) + self.jump * (r > 1.02)
        return Labels(energy=float(5 * (r - 1) ** 2), forces=np.outer([-1, 1], pull * bond / r))


class Killed(Exception):
    """Stands for a process that was killed."""


def measured(potential: Potential, starts: dict, plan: TimestepPlan = PLAN, **more: object) -> Evidence:
    return plan.measure(Trial(potential, starts, **more))


def shown(evidence: Evidence) -> str:
    verdict = judge(list(evidence.measurements), CriteriaPlan())
    return section(Numbered(), "<tiny>", StudentReport(1, verdict, {"timestep": evidence}))


def test_a_sound_potential_has_order_two_and_no_floor(starts, teacher) -> None:
    own = {name: [starts[name]] for name in ("water", "methane")}
    evidence = measured(teacher, own)
    order = evidence.measurement("timestep_order")
    assert 1.95 < order.value < 2.15  # terms of higher order make it a little more at the longest step
    assert order.ci95[0] > 1.9
    assert order.ci95[0] <= order.value <= order.ci95[1]
    assert order.n_samples == 3
    assert all(found["floor_percent"] < 2 for found in order.detail["systems"].values())
    assert evidence.arrays["fluctuations"].shape == (3, 6)
    page = shown(evidence)
    assert "hints at forces" in page
    assert "&lt;tiny&gt;" in page
    assert "<tiny>" not in page


def test_an_oscillator_fluctuates_as_velocity_verlet_is_known_to() -> None:
    evidence = measured(Spring(), {"H2": [H2]}, TimestepPlan(duration_ps=1.0, n_replicas=2))
    own = evidence.measurement("timestep_order").detail["systems"]["H2"]["fluctuations_meV_per_atom"]
    assert own[1] / own[0] == pytest.approx(4.0, rel=0.01)
    assert own[2] / own[1] == pytest.approx(4.0, rel=0.02)


def test_forces_that_are_no_gradient_lower_the_order_and_leave_a_floor(starts, teacher, make_swirl) -> None:
    evidence = measured(make_swirl(teacher, 0.05), {"water": [starts["water"]]})
    order = evidence.measurement("timestep_order")
    assert order.value < 0.5
    assert order.ci95[1] < 1.8
    own = order.detail["systems"]["water"]
    assert own["floor_percent"] > 90
    assert own["floor_meV_per_atom"] == pytest.approx(own["fluctuations_meV_per_atom"][0], rel=0.1)
    assert "not the gradient" in shown(evidence)


def test_forces_that_jump_lower_the_order() -> None:
    order = measured(Spring(jump=0.2), {"H2": [H2]}).measurement("timestep_order")
    assert order.value < 1.5
    assert order.detail["systems"]["H2"]["floor_percent"] > 10


def test_the_worst_system_is_the_one_of_lowest_order(starts, teacher, make_swirl) -> None:
    class OnlyWater(make_swirl):
        def _torque(self, structure: Structure) -> np.ndarray:
            return super()._torque(structure) * (len(structure) == 3)

    own = {name: [starts[name]] for name in ("methane", "water")}
    order = measured(OnlyWater(teacher, 0.05), own).measurement("timestep_order")
    assert order.detail["worst_system"] == "water"
    assert order.value == min(found["mean"] for found in order.detail["systems"].values())


def test_a_failed_run_leaves_the_order_open_and_says_why() -> None:
    collapse = morse(depth=5.0, width=0.5, distance=0.1, cutoff=6.0)
    evidence = measured(collapse, {"H2": [H2]})
    order = evidence.measurement("timestep_order")
    assert np.isnan(order.value)
    assert order.ci95 is None
    assert {one["timestep_fs"] for one in order.detail["failures"]} == {0.25, 0.5, 1.0}
    assert "failed at 0.25 fs" in shown(evidence)


def test_single_atoms_are_left_out_and_alone_there_is_nothing_to_measure() -> None:
    alone = Structure([2], [[0, 0, 0]])
    evidence = measured(Spring(), {"He": [alone]})
    assert [one.applies for one in evidence.skipped] == [False]
    assert shown(evidence) == ""
    both = measured(Spring(), {"He": [alone], "H2": [H2]}).measurement("timestep_order")
    assert list(both.detail["systems"]) == ["H2"]


def test_the_same_seed_gives_the_same_numbers_and_one_replica_no_interval() -> None:
    plan = TimestepPlan(duration_ps=0.05, n_replicas=1)
    first, again = (measured(Spring(), {"H2": [H2]}, plan, seed=3) for _ in range(2))
    assert first.measurement("timestep_order") == again.measurement("timestep_order")
    assert first.measurement("timestep_order").ci95 is None
    assert all(np.array_equal(first.arrays[key], again.arrays[key]) for key in first.arrays)


def test_a_run_that_was_killed_goes_on_and_ends_the_same(tmp_path) -> None:
    spring = Spring()
    spring.calls_left = 2800
    plan = TimestepPlan(duration_ps=0.5, n_replicas=1)
    with pytest.raises(Killed):
        measured(spring, {"H2": [H2]}, plan, folder=tmp_path)
    assert any(tmp_path.rglob("*"))
    went_on = measured(Spring(), {"H2": [H2]}, plan, folder=tmp_path)
    whole = measured(Spring(), {"H2": [H2]}, plan)
    assert went_on.measurement("timestep_order") == whole.measurement("timestep_order")


@pytest.mark.parametrize("factors", [[1.0], [1.0, 1.0], [0.0, 1.0]])
def test_one_time_step_has_no_order(factors: list[float]) -> None:
    with pytest.raises(DistillerError, match="two different"):
        TimestepPlan.parse({"factors": factors}, where="timestep")


def test_without_a_check_the_section_is_empty() -> None:
    verdict = judge([], CriteriaPlan())
    assert section(Numbered(), "tiny", StudentReport(1, verdict)) == ""
