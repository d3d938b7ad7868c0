"""Backends side by side: rows of honest numbers, and reasons for what cannot be used."""

import pytest
import torch

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking.backends import BackendTime, compare_backends, ready
from mlff_distiller.core.errors import DataError, PredictionError, UnknownNameError, UnsupportedStructureError
from mlff_distiller.students.backends.kernel import Kernel
from mlff_distiller.students.backends.triton import Triton
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.student import Student

H2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.75]])
H4 = Structure([1, 1, 1, 1], [[0, 0, 0], [0, 0, 0.75], [2.0, 0, 0], [2.0, 0, 0.75]])


@pytest.fixture(scope="module")
def student() -> Student:
    torch.manual_seed(0)
    return Student(PaiNNPlan(preset="ultra-tiny", n_channels=16), {1: -13.6}, neighbor_norm=2.0)


def test_what_follows_from_a_median() -> None:
    row = BackendTime("eager", 1, system="x", n_atoms=42, n_structures=2, median_ms=8.4, p95_ms=9.0, n_calls=7)
    assert row.us_per_atom == pytest.approx(200.0)
    assert row.ns_per_day == pytest.approx(2 * 86400 / 8.4e-3 * 0.5e-6)
    assert row.to_json()["n_atoms"] == 42
    assert BackendTime("triton", 1, "no GPU").to_json() == {"backend": "triton", "threads": 1, "reason": "no GPU"}


def test_rows_of_each_system_then_what_cannot_be_used(student) -> None:
    said: list[str] = []
    rows = compare_backends(
        student,
        {"H2": [H2], "4 H4": [H4] * 4},
        backends=["triton", "kernel"],
        n_threads=1,
        seconds=0.02,
        tell=said.append,
    )
    assert [(r.system, r.backend, r.n_atoms, r.n_structures) for r in rows] == [
        ("H2", "eager", 2, 1),
        ("H2", "kernel", 2, 1),
        ("4 H4", "eager", 16, 4),
        ("4 H4", "kernel", 16, 4),
        ("", "triton", 0, 0),
    ]
    for eager, kernel in (rows[:2], rows[2:4]):
        assert all(0 < row.median_ms <= row.p95_ms and row.n_calls >= 3 for row in (eager, kernel))
        assert eager.times_eager == 1.0
        assert kernel.times_eager == pytest.approx(eager.median_ms / kernel.median_ms)
    assert rows[-1].reason == Triton.obstacle(student) != ""
    assert said == ["timing H2", "timing 4 H4"]


def test_a_backend_that_fails_at_a_system_is_left_out_there(student, monkeypatch) -> None:
    derive = Kernel.derive

    def failing(self, graph, properties=("energy", "forces")):
        if graph.n_atoms == 16:
            raise PredictionError(0, "too large")
        return derive(self, graph, properties)

    monkeypatch.setattr(Kernel, "derive", failing)
    rows = compare_backends(student, {"H2": [H2], "4 H4": [H4] * 4}, backends=["kernel"], seconds=0.01)
    assert [(r.system, r.backend) for r in rows] == [
        ("H2", "eager"),
        ("H2", "kernel"),
        ("4 H4", "eager"),
        ("", "kernel"),
    ]
    assert rows[-1].reason.startswith("4 H4: ")


def test_wrong_requests_are_refused_before_anything_is_timed(student) -> None:
    with pytest.raises(DataError, match="nothing to time"):
        compare_backends(student, {})
    with pytest.raises(DataError, match="nothing to time"):
        compare_backends(student, {"none": []})
    with pytest.raises(UnknownNameError, match=r"did you mean 'kernel'"):
        compare_backends(student, {"H2": [H2]}, backends=["kernal"])
    with pytest.raises(UnsupportedStructureError, match="does not cover"):
        compare_backends(student, {"C": [Structure([6], [[0, 0, 0]])]}, backends=["kernel"])


def test_a_backend_is_made_for_the_threads_that_it_is_timed_with(student) -> None:
    assert ready(student, "kernel", 3).choice.backend.n_threads == 3
    with pytest.raises(UnknownNameError):
        ready(student, "kernal", 1)
