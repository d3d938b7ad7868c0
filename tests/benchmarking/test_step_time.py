"""Step times: turns, medians with honest intervals, and a difference in cost that is found."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking.step_time import StepTimePlan, _median
from mlff_distiller.core.errors import DataError
from mlff_distiller.potentials.analytic import harmonic
from mlff_distiller.potentials.base import Potential

H2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
H3 = Structure([1, 1, 1], [[0, 0, 0], [0, 0, 1.0], [0, 0.9, 0.5]])


@dataclass
class Repeated(Potential):
    """Evaluates a potential several times over, and notes each call in a shared log."""

    inner: Potential
    times: int
    label: str
    log: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.elements, self.properties, self.identity = self.inner.elements, self.inner.properties, self.inner.identity
        self.is_conservative = True

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        self.log.append((self.label, len(structures)))
        return [self.inner.predict(structures, properties) for _ in range(self.times)][-1]


@pytest.fixture
def spring() -> Potential:
    return harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)


def test_a_teacher_of_many_times_the_cost_is_found_slower(spring) -> None:
    plan = StepTimePlan(n_blocks=9, duration_s=0.1)
    found = {m.name: m for m in plan.measure(spring, [H2, H3], teacher=Repeated(spring, 20, "t"))}
    assert found["speedup"].value > 3
    assert found["teacher_step_time"].value > found["step_time"].value > 0
    for m in found.values():
        assert m.ci95[0] <= m.value <= m.ci95[1]
        assert set(m.detail["systems"]) == {"H2", "H3"}
        assert m.n_samples == 9
    assert found["step_time"].unit == "ms"
    assert found["step_time"].detail["torch_threads"] == torch.get_num_threads()


def test_student_and_teacher_take_turns_one_structure_at_a_time(spring) -> None:
    log: list[tuple[str, int]] = []
    student, teacher = (Repeated(spring, 1, label, log) for label in "st")
    StepTimePlan(n_blocks=6, duration_s=0.01, max_steps_per_block=2).measure(student, [H2], teacher=teacher)
    assert {n for _, n in log} == {1}
    labels = "".join(label for label, _ in log)
    turns = len([k for k in range(1, len(labels)) if labels[k] != labels[k - 1]])
    assert turns == 2 * 6 + 1  # a warm-up of each, then six blocks of each


def test_without_a_teacher_only_the_student_is_timed(spring) -> None:
    done: list[int] = []
    plan = StepTimePlan(n_blocks=6, duration_s=0.01)
    found = plan.measure(spring, [H2, H2], names=["a", "a"], advance=lambda n=1, *, note="": done.append(n))
    assert [m.name for m in found] == ["step_time"]
    assert list(found[0].detail["systems"]) == ["a", "a (2)"]
    assert sum(done) == 2


def test_the_number_of_threads_is_left_alone(spring) -> None:
    before = torch.get_num_threads()
    StepTimePlan(n_blocks=6, duration_s=0.01).measure(spring, [H2])
    assert torch.get_num_threads() == before


def test_the_interval_of_a_median_holds_it_for_a_skewed_distribution() -> None:
    rng = np.random.default_rng(0)
    for n in (6, 20, 41):
        medians = [_median(np.exp(rng.standard_normal(n))) for _ in range(500)]
        covered = np.mean([m.ci95[0] <= 1.0 <= m.ci95[1] for m in medians])
        assert covered >= 0.93, n


def test_nothing_to_time_is_refused(spring) -> None:
    with pytest.raises(DataError, match="no systems to time"):
        StepTimePlan().measure(spring, [])
