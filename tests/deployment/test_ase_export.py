"""The ASE target: a file that reproduces its student, or no file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import ParityError
from mlff_distiller.deployment import TARGETS, ase_export
from mlff_distiller.deployment.ase_export import ASEExportPlan
from mlff_distiller.students.calculator import StudentCalculator
from mlff_distiller.students.checkpoint import load, read_header
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.student import Student

WATER = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


@pytest.fixture
def student() -> Student:
    return Student(PaiNNPlan(preset="ultra-tiny"), {1: -10.0, 8: -100.0}, seed=1)


def test_the_file_reproduces_the_student_in_ase(tmp_path: Path, student: Student) -> None:
    path = tmp_path / "student.safetensors"
    agreement = ASEExportPlan().write(student, path, [WATER], training={"teacher": "xtb"})
    assert (agreement.energy_error_per_atom, agreement.force_error, agreement.n_structures) == (0.0, 0.0, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["student.safetensors"]
    assert read_header(path)["training"] == {"teacher": "xtb"}
    from mlff_distiller.atoms.conversion import to_ase

    atoms = to_ase(WATER)
    atoms.calc = StudentCalculator(path)
    expected = StudentPotential(student).predict([WATER])[0]
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-6)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-6)


def test_a_file_that_does_not_reproduce_the_student_is_never_there(tmp_path: Path, student, monkeypatch) -> None:
    def damaged(path: Path, **_) -> Student:
        loaded = load(path)
        with torch.no_grad():
            next(iter(loaded.network.parameters())).add_(0.05)
        return loaded

    monkeypatch.setattr(ase_export, "load", damaged)
    with pytest.raises(ParityError, match=r"student.safetensors was not written: the file differs"):
        ASEExportPlan().write(student, tmp_path / "student.safetensors", [WATER])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_an_older_file_as_it_was(tmp_path: Path, student, monkeypatch) -> None:
    path = tmp_path / "student.safetensors"
    ASEExportPlan().write(student, path, [WATER])
    before = path.read_bytes()
    other = Student(PaiNNPlan(preset="ultra-tiny"), {1: -10.0, 8: -100.0}, seed=2)
    monkeypatch.setattr(ase_export, "load", lambda _, **__: student)
    with pytest.raises(ParityError):
        ASEExportPlan().write(other, path, [WATER])
    assert path.read_bytes() == before


def test_a_student_that_says_nan_does_not_pass_the_gate(tmp_path: Path, student: Student) -> None:
    with torch.no_grad():
        for parameter in student.network.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ParityError, match="nan"):
        ASEExportPlan().write(student, tmp_path / "student.safetensors", [WATER])
    assert list(tmp_path.iterdir()) == []


def test_the_gate_needs_something_to_compare_on(tmp_path: Path, student: Student) -> None:
    with pytest.raises(ParityError, match="at least one structure"):
        ASEExportPlan().write(student, tmp_path / "student.safetensors", [])


def test_targets_are_found_by_kind() -> None:
    assert TARGETS.get("ase") is ASEExportPlan
    assert "ase" in TARGETS.names()
