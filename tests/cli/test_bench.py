"""``mlffd bench`` as a user meets it: one table, rows as JSON lines, and one sentence for what is wrong."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.cli.bench import _kept
from mlff_distiller.cli.main import main
from mlff_distiller.students.checkpoint import read_header, save
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.student import Student

H2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.75]])
H3 = Structure([1, 1, 1], [[0, 0, 0], [0, 0, 0.75], [2.0, 0, 0]])
QUICK = ("--backend", "kernel", "--seconds", "0.02", "--threads", "1")


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("student") / "hydrogen.safetensors"
    save(Student(PaiNNPlan(preset="ultra-tiny", n_channels=16), {1: -13.6}), path, references=[H2, H2, H3])
    return path


@pytest.fixture
def shown(monkeypatch, capsys) -> Callable[..., str]:
    """Return a function that runs mlffd in this process and returns what it prints to standard output."""

    def run(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["mlffd", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "120")
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    return run


def test_one_table_and_json_lines_of_the_structures_that_a_student_keeps(student, shown, tmp_path):
    out = shown("bench", student, *QUICK, "--backend", "triton", "--json", tmp_path / "new" / "rows.jsonl")
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert [line[0] for line in lines if "eager" in line and "backend" not in line] == ["H2", "H3", "H3"]
    assert "triton cannot be used: " in out
    rows = [json.loads(line) for line in (tmp_path / "new" / "rows.jsonl").read_text().splitlines()]
    assert [(r.get("system"), r["backend"], r.get("n_atoms"), r.get("n_structures")) for r in rows] == [
        ("H2", "eager", 2, 1),
        ("H2", "kernel", 2, 1),
        ("H3", "eager", 3, 1),
        ("H3", "kernel", 3, 1),
        ("H3 x 16", "eager", 48, 16),
        ("H3 x 16", "kernel", 48, 16),
        (None, "triton", None, None),
    ]
    for row in rows[:-1]:
        assert row["student"] == "hydrogen.safetensors"
        assert row["threads"] == 1
        assert row["us_per_atom"] == pytest.approx(1e3 * row["median_ms"] / row["n_atoms"])
    assert [line for line in out.splitlines() if "H2" in line and f"{rows[0]['median_ms']:.3f}" in line]


def test_structures_from_files(student, shown, tmp_path):
    frames = "2\n\nH 0 0 0\nH 0 0 0.8\n" + "2\n\nH 0 0 0\nH 0 0 0.9\n"
    (tmp_path / "pair.xyz").write_text(frames)
    out = shown("bench", student, *QUICK, "--structure", tmp_path / "pair.xyz")
    assert "pair" in out
    assert " x 16" not in out


def test_a_student_without_structures_is_timed_on_a_chain_of_its_elements(tmp_path):
    save(Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6, 8: 0.0}), tmp_path / "a.safetensors")
    systems = _kept(read_header(tmp_path / "a.safetensors")["references"])
    assert {name: len(structures) for name, structures in systems.items()} == {"H2O2": 1, "H2O2 x 16": 16}
    assert _kept([]) == {}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.safetensors"], "missing.safetensors does not exist"),
        (["STUDENT", "--backend", "kernal"], "unknown backend 'kernal' (did you mean 'kernel'?)"),
        (["STUDENT", "--structure", "missing.xyz"], "missing.xyz does not exist"),
        (["STUDENT", "--device", "tpu"], "there is no device 'tpu' here"),
        (["STUDENT", "--json", "."], "is a directory or the student itself"),
        (["carbon.xyz"], "carbon.xyz is not a safetensors file"),
        (["STUDENT", "--structure", "carbon.xyz", "--backend", "kernel"], "holds C, which student"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments, sentence, student, refusal, tmp_path, monkeypatch):
    (tmp_path / "carbon.xyz").write_text("1\n\nC 0 0 0\n")
    monkeypatch.chdir(tmp_path)
    said = refusal("bench", *(student if argument == "STUDENT" else argument for argument in arguments))
    assert sentence in said
