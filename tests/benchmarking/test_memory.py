"""Memory of a long run: flat where it is flat, and a leak of known size found at its size."""

from collections.abc import Callable
from mmap import mmap

import numpy as np
import pytest

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking import memory
from mlff_distiller.benchmarking.memory import MemoryPlan, resident_bytes, slope_with_error
from mlff_distiller.benchmarking.step_time import StepTimePlan
from mlff_distiller.potentials.analytic import harmonic

H2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
H3 = Structure([1, 1, 1], [[0, 0, 0], [0, 0, 1.0], [0, 0.9, 0.5]])

needs_linux = pytest.mark.skipif(resident_bytes() is None, reason="reads memory where Linux says it")


@pytest.fixture
def leaking() -> Callable[[int], object]:
    """Return a function that makes a potential which keeps so many bytes of every call."""

    def make(n_bytes: int):
        spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
        kept: list[mmap] = []
        predict = spring.predict

        def leaks(*arguments):
            pages = mmap(-1, n_bytes)  # new ones, whatever the process has set free before
            pages.write(b"x" * n_bytes)
            kept.append(pages)
            return predict(*arguments)

        spring.predict = leaks
        return spring

    return make


@needs_linux
def test_a_planted_leak_is_found_and_nothing_is_found_without_it(leaking) -> None:
    plan = MemoryPlan(n_steps=1500, n_warmup_steps=300, n_blocks=20)
    flat = plan.measure(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), H2)
    found = plan.measure(leaking(20_480), H2, name="hydrogen")
    (growth,), (none,) = found.measurements, flat.measurements
    assert growth.detail["kB_per_step"] == pytest.approx(20.48, rel=0.15)
    assert growth.value == pytest.approx(100 * 20_480 * 1500 / (1e6 * growth.detail["start_MB"]), rel=0.15)
    assert growth.ci95[0] > 1.0
    assert abs(none.value) < 1.0
    assert found.arrays["memory_system"].tolist() == ["hydrogen"]
    assert found.arrays["memory_steps"][-1] == 1500
    assert len(found.arrays["memory_MB"]) == len(found.arrays["memory_step_ms"]) == 20


def test_the_slope_of_noise_is_known_as_well_as_it_is_said_to_be() -> None:
    rng, x, covered = np.random.default_rng(0), np.arange(50.0), []
    for correlation in (0.0, 0.5):
        hits = []
        for _ in range(300):
            noise = rng.standard_normal(50)
            for k in range(1, 50):
                noise[k] += correlation * noise[k - 1]
            slope, error = slope_with_error(x, 0.1 * x + noise)
            hits.append(abs(slope - 0.1) <= 2.01 * error)
        covered.append(np.mean(hits))
    assert covered[0] >= 0.93
    assert covered[1] >= 0.86  # 50 blocks know their own correlation badly; without it, 0.75


def test_a_step_up_in_the_middle_is_growth() -> None:
    held = np.where(np.arange(50) < 25, 100.0, 110.0)
    slope, error = slope_with_error(np.arange(50.0), held)
    assert slope * 50 > 10.0
    assert slope > 2 * error


def test_where_nobody_says_what_is_held_it_is_left_open(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(memory, "_STATM", tmp_path / "missing")
    found = MemoryPlan().measure(harmonic(stiffness=1.0, distance=1.0, cutoff=3.0), H2)
    assert found.measurements == ()
    assert [(one.check, one.applies) for one in found.skipped] == [("memory_growth", True)]


def test_a_potential_that_cannot_be_called_at_all_leaves_it_open() -> None:
    carbon = Structure([6, 6], [[0, 0, 0], [0, 0, 1.0]])
    only_hydrogen = harmonic(stiffness=1.0, distance=1.0, cutoff=3.0)
    only_hydrogen.elements = frozenset({1})
    found = MemoryPlan(n_steps=100, n_warmup_steps=1, n_blocks=10).measure(only_hydrogen, carbon)
    assert "C2" in found.skipped[0].reason


@needs_linux
def test_the_timing_watches_the_largest_system() -> None:
    spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
    brief = MemoryPlan(n_steps=100, n_warmup_steps=10, n_blocks=10)
    found = StepTimePlan(n_blocks=6, duration_s=0.01, memory=brief).measure(spring, [H2, H3, H2], names=["a", "b", "c"])
    assert found.measurement("memory_growth").detail["system"] == "b"
    assert found.arrays["memory_system"].tolist() == ["b"]
