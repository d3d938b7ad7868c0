"""Backends side by side: rows of honest numbers, and reasons for what cannot be used."""

from pathlib import Path

import pytest
import torch

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking.backends import ready
from mlff_distiller.benchmarking.benchmark import BenchmarkPlan
from mlff_distiller.benchmarking.contenders import student_entrants
from mlff_distiller.core.errors import DataError, PredictionError, UnknownNameError, UnsupportedStructureError
from mlff_distiller.students.backends.kernel import Kernel
from mlff_distiller.students.backends.triton import Triton
from mlff_distiller.students.checkpoint import save
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.student import Student

H2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.75]])
H4 = Structure([1, 1, 1, 1], [[0, 0, 0], [0, 0, 0.75], [2.0, 0, 0], [2.0, 0, 0.75]])
QUICK = BenchmarkPlan(seconds=0.02, threads=1)


@pytest.fixture(scope="module")
def student() -> Student:
    torch.manual_seed(0)
    return Student(PaiNNPlan(preset="ultra-tiny", n_channels=16), {1: -13.6}, neighbor_norm=2.0)


@pytest.fixture(scope="module")
def path(student, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("student") / "hydrogen.safetensors"
    save(student, path)
    return path


def test_rows_of_each_system_and_what_cannot_be_used(student, path) -> None:
    said: list[str] = []
    entrants = student_entrants(path, backends=["eager", "triton", "kernel"], n_threads=1)
    found = QUICK.measure(entrants, {"H2": [H2], "4 H4": [H4] * 4}, tell=said.append)
    assert [(r.system, r.name, r.n_atoms, r.n_structures) for r in found.rows] == [
        ("H2", "hydrogen, eager", 2, 1),
        ("H2", "hydrogen, kernel", 2, 1),
        ("4 H4", "hydrogen, eager", 16, 4),
        ("4 H4", "hydrogen, kernel", 16, 4),
    ]
    for eager, kernel in (found.rows[:2], found.rows[2:4]):
        for row in (eager, kernel):
            own = row.summary()
            assert 0 < own["median_ms"] <= own["p95_ms"] <= own["p99_ms"]
            assert own["n_calls"] >= 3
        assert found.times_faster(eager) == 1.0
        assert found.times_faster(kernel) == pytest.approx(eager.median_ms / kernel.median_ms)
    (refusal,) = found.refusals
    assert refusal.name == "hydrogen, triton"
    assert Triton.obstacle(student) in refusal.reason
    assert said == ["timing H2", "timing 4 H4"]


def test_a_backend_that_fails_at_a_system_is_left_out_there(path, monkeypatch) -> None:
    derive = Kernel.derive

    def failing(self, graph, properties=("energy", "forces")):
        if graph.n_atoms == 16:
            raise PredictionError(0, "too large")
        return derive(self, graph, properties)

    monkeypatch.setattr(Kernel, "derive", failing)
    entrants = student_entrants(path, backends=["eager", "kernel"], n_threads=1)
    found = QUICK.measure(entrants, {"H2": [H2], "4 H4": [H4] * 4})
    assert [(r.system, r.entrant.backend) for r in found.rows] == [
        ("H2", "eager"),
        ("H2", "kernel"),
        ("4 H4", "eager"),
    ]
    assert str(found.refusals[0]).startswith("hydrogen, kernel cannot be used for 4 H4: ")
    assert found.refusals[0].to_json()["system"] == "4 H4"


def test_wrong_requests_are_refused_before_anything_is_timed(path) -> None:
    eager = student_entrants(path, backends=["eager"], n_threads=1)
    for systems in ({}, {"none": []}):
        with pytest.raises(DataError, match="nothing to time"):
            QUICK.measure(eager, systems)
    with pytest.raises(UnknownNameError, match=r"did you mean 'kernel'"):
        student_entrants(path, backends=["kernal"], n_threads=1)
    with pytest.raises(UnsupportedStructureError, match="does not cover"):
        QUICK.measure(eager, {"C": [Structure([6], [[0, 0, 0]])]})


def test_a_backend_is_made_for_the_threads_that_it_is_timed_with(student) -> None:
    assert ready(student, "kernel", 3).choice.backend.n_threads == 3
    with pytest.raises(UnknownNameError):
        ready(student, "kernal", 1)
