"""``mlffd bench`` as a user meets it: one table, rows as JSON lines, and one sentence for what is wrong."""

import json
import sys

import pytest
import torch

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.cli.main import main
from mlff_distiller.students.checkpoint import save
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.student import Student

H2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.75]])
H3 = Structure([1, 1, 1], [[0, 0, 0], [0, 0, 0.75], [2.0, 0, 0]])
QUICK = ("--backend", "kernel", "--seconds", "0.02", "--threads", "1")


def test_one_table_and_json_lines_of_the_structures_that_a_student_keeps(student, shown, tmp_path):
    out = shown("bench", student, *QUICK, "--backend", "triton", "--json", tmp_path / "new" / "rows.jsonl")
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert [line[0] for line in lines if "hydrogen, eager" in " ".join(line)][:3] == ["H2", "H3", "H3"]
    assert "hydrogen, triton cannot be used: " in out
    assert "over eager" in out
    rows = [json.loads(line) for line in (tmp_path / "new" / "rows.jsonl").read_text().splitlines()]
    assert [(r["system"], r["contender"], r.get("n_atoms"), r.get("n_structures")) for r in rows] == [
        (name, f"hydrogen, {backend}", n, copies)
        for name, n, copies in (("H2", 2, 1), ("H3", 3, 1), ("H3 x 8", 24, 8), ("H3 x 64", 192, 64))
        for backend in ("eager", "kernel")
    ] + [("", "hydrogen, triton", None, None)]
    for row in rows[:-1]:
        assert row["threads"] == 1
        assert row["us_per_atom"] == pytest.approx(1e3 * row["median_ms"] / row["n_atoms"])
        assert row["structures_per_s"] == pytest.approx(1e3 * row["n_structures"] / row["median_ms"])
        assert row["p99_ms"] >= row["p95_ms"] >= row["median_ms"]
    assert [line for line in out.splitlines() if "H2" in line and f"{rows[0]['median_ms']:.3f}" in line]


def test_students_and_a_teacher_side_by_side(student, shown, tmp_path):
    run = tmp_path / "run"
    (run / "students").mkdir(parents=True)
    for name in ("small", "large"):
        (run / "students" / f"{name}.safetensors").write_bytes(student.read_bytes())
    (run / "recipe.yaml").write_text("teacher:\n  kind: xtb\n")
    page = tmp_path / "bench.html"
    brief = ("--seconds", "0.01", "--threads", "1", "--batches", "1,4", "--sizes", "1,2,4")
    out = shown("bench", run, *brief, "--html", page)
    assert "over xtb" in out
    for name in ("large", "small", "xtb"):
        assert f"{name}: " in out  # what its time is made of
    assert "large on cpu is faster than xtb at every size timed (2 to 12 atoms)" in out
    assert "H3 x 4" in out
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "xtb" not in shown("bench", run, *brief, "--teacher", "none")


def test_a_baseline_is_kept_and_compared_with(student, shown, monkeypatch, capsys, tmp_path):
    file = tmp_path / "baseline.json"
    shown("bench", student, "--seconds", "0.3", "--threads", "1", "--batches", "1", "--save-baseline", file)
    out = shown("bench", "--compare", file, "--seconds", "0.3", "--tolerance", "0.5")
    assert "Compared with the baseline" in out
    assert "normalized" in out
    torch.manual_seed(0)
    slow = tmp_path / "slow.safetensors"
    save(Student(PaiNNPlan(preset="ultra-tiny", n_channels=256, n_layers=5), {1: -13.6}), slow)
    monkeypatch.setattr(sys, "argv", ["mlffd", "bench", str(slow), "--compare", str(file), "--seconds", "0.3"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert "Slower than the baseline by more than 10 % and beyond noise: hydrogen on" in said.err
    assert "paired" in said.out


def test_another_machine_is_named(student, shown, monkeypatch, capsys, tmp_path):
    file = tmp_path / "baseline.json"
    shown("bench", student, "--seconds", "0.1", "--threads", "1", "--batches", "1", "--save-baseline", file)
    value = json.loads(file.read_text()) | {"machine": {"processor": "Abacus", "cores": 7, "system": "x"}}
    for entry in value["entries"]:
        entry["normalized"] = [1e6] * len(entry["normalized"])
    file.write_text(json.dumps(value))
    monkeypatch.setattr(sys, "argv", ["mlffd", "bench", "--compare", str(file), "--seconds", "0.1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert "measured on another machine (Abacus, 7 cores)" in said.err
    assert "faster" in said.out


def test_structures_from_files(student, shown, tmp_path):
    frames = "2\n\nH 0 0 0\nH 0 0 0.8\n" + "2\n\nH 0 0 0\nH 0 0 0.9\n"
    (tmp_path / "pair.xyz").write_text(frames)
    out = shown("bench", student, *QUICK, "--structure", tmp_path / "pair.xyz")
    assert "pair" in out
    assert " x 8" not in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.safetensors"], "missing.safetensors does not exist"),
        (["STUDENT", "--backend", "kernal"], "unknown backend 'kernal' (did you mean 'kernel'?)"),
        (["STUDENT", "--structure", "missing.xyz"], "missing.xyz does not exist"),
        (["STUDENT", "--device", "tpu"], "there is no device 'tpu' here"),
        (["STUDENT", "--json", "."], "is a directory or one of the inputs"),
        (["STUDENT", "--save-baseline", "STUDENT"], "is a directory or one of the inputs"),
        (["STUDENT", "--batches", "1,two"], "--batches 1,two: give whole numbers from 1 on with commas"),
        (["STUDENT", "--sizes", "0"], "--sizes 0: give whole numbers"),
        (["STUDENT", "--teacher", "xbt"], "unknown teacher 'xbt' (did you mean 'xtb'?)"),
        (["STUDENT", "--teacher", "missing.yaml"], "missing.yaml does not exist"),
        (["STUDENT", "--compare", "missing.json"], "missing.json does not exist; write a baseline first"),
        (["STUDENT", "--compare", "newer.json"], "newer.json has format version 9"),
        (["STUDENT", "--compare", "carbon.xyz"], "carbon.xyz is no baseline"),
        (["--compare", "newer.json", "--teacher", "xtb"], "leave out --teacher"),
        ([], "there is nothing to time; give a student file"),
        (["--teacher", "xtb"], "a teacher alone keeps no structures"),
        (["."], "is a directory without students"),
        (["carbon.xyz"], "carbon.xyz is not a safetensors file"),
        (["STUDENT", "--structure", "carbon.xyz", "--backend", "kernel"], "holds C, which student"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments, sentence, student, refusal, tmp_path, monkeypatch):
    (tmp_path / "carbon.xyz").write_text("1\n\nC 0 0 0\n")
    (tmp_path / "newer.json").write_text('{"format": "mlffd-baseline", "version": 9}')
    monkeypatch.chdir(tmp_path)
    said = refusal("bench", *(student if argument == "STUDENT" else argument for argument in arguments))
    assert sentence in said
