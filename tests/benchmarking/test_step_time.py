"""Step times: turns, medians with honest intervals, and a difference in cost that is found."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking import trajectory
from mlff_distiller.benchmarking.memory import MemoryPlan
from mlff_distiller.benchmarking.quantiles import median
from mlff_distiller.benchmarking.step_time import StepTimePlan
from mlff_distiller.core.errors import DataError, PredictionError
from mlff_distiller.potentials.analytic import harmonic
from mlff_distiller.potentials.base import Potential

H2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
H3 = Structure([1, 1, 1], [[0, 0, 0], [0, 0, 1.0], [0, 0.9, 0.5]])
SPEED_ALONE = MemoryPlan(enabled=False)


@dataclass
class Costly(Potential):
    """A potential whose evaluation takes a known time of a clock that only it moves; notes each call in a log."""

    inner: Potential
    label: str
    log: list[tuple[str, int]]
    cost_s: float = 0.0
    clock: list[float] = field(default_factory=lambda: [0.0])

    def __post_init__(self) -> None:
        self.elements, self.properties, self.identity = self.inner.elements, self.inner.properties, self.inner.identity
        self.is_conservative = True

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        self.log.append((self.label, len(structures)))
        self.clock[0] += self.cost_s * len(structures[0])
        return self.inner.predict(structures, properties)


@pytest.fixture
def spring() -> Potential:
    return harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)


def test_known_costs_are_reported_as_they_are(spring, monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(trajectory.time, "perf_counter", lambda: clock[0])
    student, teacher = Costly(spring, "s", [], 0.001, clock), Costly(spring, "t", [], 0.02, clock)
    plan = StepTimePlan(n_blocks=9, duration_s=0.1, memory=SPEED_ALONE)
    evidence = plan.measure(student, [H2, H3, H3], names=["a", "b", "c"], teacher=teacher)
    found = {m.name: m for m in evidence.measurements}
    assert {name: m.value for name, m in found.items()} == pytest.approx(
        {"step_time": 3.0, "teacher_step_time": 60.0, "speedup": 20.0}
    )
    assert found["step_time"].detail["systems"]["a"]["median"] == pytest.approx(2.0)
    assert {m.unit for name, m in found.items() if name != "speedup"} == {"ms"}
    for m in found.values():
        assert m.ci95 == pytest.approx((m.value, m.value))
        assert m.n_samples == 9
    detail = found["step_time"].detail
    assert [detail["p95"], detail["p99"]] == pytest.approx([3.0, 3.0])
    assert detail["ns_per_day"] == pytest.approx(86_400e3 / 3.0 * 0.5e-6)
    assert detail["systems"]["a"]["p99"] == pytest.approx(2.0)
    assert "p95" not in found["speedup"].detail
    assert found["step_time"].detail["torch_threads"] == torch.get_num_threads()


def test_student_and_teacher_take_turns_one_structure_at_a_time(spring) -> None:
    log: list[tuple[str, int]] = []
    student, teacher = (Costly(spring, label, log) for label in "st")
    StepTimePlan(n_blocks=6, duration_s=0.01, max_steps_per_block=2, memory=SPEED_ALONE).measure(
        student, [H2], teacher=teacher
    )
    assert {n for _, n in log} == {1}
    labels = "".join(label for label, _ in log)
    turns = len([k for k in range(1, len(labels)) if labels[k] != labels[k - 1]])
    assert turns == 2 * 6 + 1  # a warm-up of each, then six blocks of each


def test_without_a_teacher_only_the_student_is_timed(spring) -> None:
    done: list[int] = []
    plan = StepTimePlan(n_blocks=6, duration_s=0.01, memory=SPEED_ALONE)
    found = plan.measure(spring, [H2, H2], names=["a", "a"], advance=lambda n=1, *, note="": done.append(n))
    assert [m.name for m in found.measurements] == ["step_time"]
    assert list(found.measurements[0].detail["systems"]) == ["a", "a (2)"]
    assert [one.check for one in found.skipped] == ["memory_growth"]
    arrays = found.arrays
    assert arrays["step_systems"].tolist() == ["a", "a (2)"]
    assert {len(arrays[f"step_{name}"]) for name in ("ms", "system", "potential", "block")} == {len(arrays["step_ms"])}
    assert set(arrays["step_block"]) == set(range(6))
    assert sum(done) == 2


def test_the_number_of_threads_is_left_alone(spring) -> None:
    before = torch.get_num_threads()
    StepTimePlan(n_blocks=6, duration_s=0.01, memory=SPEED_ALONE).measure(spring, [H2])
    assert torch.get_num_threads() == before


def test_the_interval_of_a_median_holds_it_for_a_skewed_distribution() -> None:
    rng = np.random.default_rng(0)
    for n in (6, 20, 41):
        medians = [median(np.exp(rng.standard_normal(n))) for _ in range(500)]
        covered = np.mean([m.ci95[0] <= 1.0 <= m.ci95[1] for m in medians])
        assert covered >= 0.93, n


def test_nothing_to_time_is_refused(spring) -> None:
    with pytest.raises(DataError, match="no systems to time"):
        StepTimePlan().measure(spring, [])


def test_a_trajectory_that_breaks_down_is_timed_all_the_same() -> None:
    @dataclass
    class Breaks(Costly):
        """Can be evaluated only near the start."""

        def predict(
            self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
        ) -> list[Labels]:
            if np.abs(structures[0].positions - H2.positions).max() > 0.01:
                raise PredictionError(0, "exploded")
            return super().predict(structures, properties)

    spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
    measured = StepTimePlan(n_blocks=6, duration_s=0.05, memory=SPEED_ALONE).measure(
        Breaks(spring, "student", []), [H2], teacher=spring
    )
    assert all(np.isfinite(m.value) and m.value > 0 for m in measured.measurements)
