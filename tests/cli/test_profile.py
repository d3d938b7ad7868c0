"""``mlffd profile`` as a user meets it: tables, a page, a trace, and one sentence for what is wrong."""

import json

import pytest

from mlff_distiller.atoms.structure import Structure

H2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.75]])
H3 = Structure([1, 1, 1], [[0, 0, 0], [0, 0, 0.75], [2.0, 0, 0]])


def test_tables_page_and_trace(student, shown, tmp_path):
    page, trace = tmp_path / "new" / "profile.html", tmp_path / "trace.json"
    out = shown("profile", student, "--steps", 40, "--threads", 1, "--html", page, "--trace", trace)
    assert "on H3, 3 atoms, backend kernel:" in out
    for words in (
        "Parts of a step",
        "integrator (ASE)",
        "Inside the compiled kernel",
        "messages, backward",
        "Memory: ",
    ):
        assert words in out
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert json.loads(trace.read_text())["traceEvents"]


def test_structures_from_files_and_backends_by_name(student, shown, tmp_path):
    (tmp_path / "pair.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.8\n")
    out = shown("profile", student, "--steps", 20, "--backend", "eager", "--structure", tmp_path / "pair.xyz")
    assert "on H2, 2 atoms, backend eager" in out
    assert "Operators of torch" in out
    assert "aten::" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.safetensors"], "missing.safetensors does not exist"),
        (["carbon.xyz"], "carbon.xyz is not a safetensors file"),
        (["STUDENT", "--backend", "kernal"], "unknown backend 'kernal' (did you mean 'kernel'?)"),
        (["STUDENT", "--structure", "missing.xyz"], "missing.xyz does not exist"),
        (["STUDENT", "--structure", "carbon.xyz"], "holds C, which student"),
        (["STUDENT", "--device", "tpu"], "there is no device 'tpu' here"),
        (["STUDENT", "--html", "."], "is a directory or the student itself"),
        (["STUDENT", "--trace", "STUDENT"], "is a directory or the student itself"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments, sentence, student, refusal, tmp_path, monkeypatch):
    (tmp_path / "carbon.xyz").write_text("1\n\nC 0 0 0\n")
    monkeypatch.chdir(tmp_path)
    said = refusal("profile", *(student if argument == "STUDENT" else argument for argument in arguments))
    assert sentence in said
