"""Packages: the numbers of the student, kept once built, and one sentence for each that is not what it should be."""

import json
import shutil
import zipfile
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.cli.main import app
from mlff_distiller.core.errors import BackendError, DistillerError
from mlff_distiller.students import tracing
from mlff_distiller.students.backends import BACKENDS, package
from mlff_distiller.students.backends.backend import Eager
from mlff_distiller.students.backends.package import FORMAT, Package, build, demand_fits, facts, read_facts
from mlff_distiller.students.backends.traced import program
from mlff_distiller.students.checkpoint import save

DTYPES = [torch.float32, torch.float64]
PAIR = Structure([1, 8], [[0, 0, 0], [0, 0, 0.97]])


def archive(path, told):
    """Write what looks like a package, without machine code."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("aoti/data/aotinductor/model/k.wrapper_metadata.json", json.dumps(told))
        file.writestr("aoti/data/aotinductor/model/k.wrapper.so", b"ELF" * 1000)
    return path


def refusal(path, student) -> str:
    with pytest.raises(BackendError) as caught:
        Package(student, path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def student(student_in):
    return student_in(torch.float32)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"device": "cuda"}, "was compiled for the device cuda, here it is cpu"),
        ({"dtype": "float64"}, "was compiled in the precision float64, here it is float32"),
        ({"torch": "2.0.1"}, "was compiled with torch 2.0.1, here it is "),
        ({"release": "0.0.1"}, "was compiled with mlff-distiller 0.0.1, here it is "),
        ({"processor": "Z80"}, "was compiled for the processor Z80, here it is "),
        ({"student": "0"}, "was compiled from another student"),
        ({"version": "2"}, "has format version 2, this release reads 1"),
        ({"format": "other"}, "is not a compiled student"),
    ],
)
def test_a_package_for_something_else_is_refused(tmp_path, student, changes, sentence):
    told = facts(student, threads=3)
    path = archive(tmp_path / "other.pt2", {FORMAT: json.dumps(told)})
    demand_fits(path, student)
    assert read_facts(path) == told
    archive(path, {FORMAT: json.dumps(told | changes)})
    said = refusal(path, student)
    assert said.startswith(f"{path} {sentence}")
    assert "mlffd compile STUDENT" in said


def test_another_student_is_told_by_weights_scale_and_architecture(student, student_in):
    told = facts(student, threads=1)
    assert facts(student_in(torch.float32), threads=1) == told
    assert facts(student_in(torch.float32).double(), threads=1) == told | {"dtype": "float64"}
    others = [student_in(torch.float32, seed=2), *(student_in(torch.float32) for _ in range(2))]
    others[1].scaling.unit += 0.1
    others[2].network.neighbor_norm += 0.1
    assert len({told["student"], *(facts(other, threads=1)["student"] for other in others)}) == 4


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"PK\x03\x04" + b"0" * 500], ids=["empty", "text", "cut"])
def test_what_is_no_package_is_refused(tmp_path, student, content):
    path = tmp_path / "student.pt2"
    assert f"{path} does not exist; build it with `mlffd compile" in refusal(path, student)
    path.write_bytes(content)
    assert f"{path} is damaged or no package; build it anew with" in refusal(path, student)
    assert "does not exist" in refusal(tmp_path, student)


def test_each_damaged_byte_is_found_or_harmless(tmp_path, student):
    told = facts(student, threads=1)
    whole = archive(tmp_path / "whole.pt2", {FORMAT: json.dumps(told)}).read_bytes()
    path = tmp_path / "student.pt2"
    for place in range(0, len(whole), 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(BackendError):
            assert read_facts(path) == told
    path.write_bytes(whole[: len(whole) // 2])
    assert "is damaged" in refusal(path, student)


@pytest.mark.parametrize("told", [{}, {FORMAT: "["}, {FORMAT: "[]"}, {FORMAT: 3}, []])
def test_an_archive_of_somebody_else_is_refused(tmp_path, student, told):
    assert "is not a compiled student" in refusal(archive(tmp_path / "other.pt2", told), student)


def test_machine_code_that_cannot_be_loaded_is_refused(tmp_path, student):
    path = archive(tmp_path / "hollow.pt2", {FORMAT: json.dumps(facts(student, threads=1))})
    assert f"{path} cannot be loaded (" in refusal(path, student)


@pytest.fixture(scope="module")
def graph(student):
    return program(student)[0]


@pytest.fixture
def interpreted(graph, monkeypatch):
    """Let packages hold facts only, and run the program operation by operation; return the threads of each written."""
    written = []

    def write(student, path, threads):
        written.append(threads)
        archive(path, {FORMAT: json.dumps(facts(student, threads))})

    loaded = SimpleNamespace(loader=SimpleNamespace(run=lambda inputs: graph(*inputs)))
    monkeypatch.setattr(package, "_write", write)
    monkeypatch.setattr(tracing, "load_package", lambda path, device: loaded)
    monkeypatch.setattr(tracing, "compiler", lambda: "g++")
    return written


def test_the_cache_is_filled_once_and_again_if_damaged(tmp_path, student, interpreted, graph_for, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    told: list[str] = []
    graph = graph_for(student, [PAIR])
    for _ in range(2):
        found = Package(student, tell=told.append).derive(graph)
        torch.testing.assert_close(found.forces, Eager(student).derive(graph).forces)
    assert interpreted == [torch.get_num_threads()]
    assert told == ["compiling the student for this machine, once; this takes about a minute"]
    (kept,) = (tmp_path / "mlff-distiller" / "packages").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    Package(student)
    assert len(interpreted) == 2
    assert tracing.is_whole(kept)


def test_without_a_compiler_only_the_cache_helps(tmp_path, student, interpreted, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tracing, "compiler", lambda: None)
    assert BACKENDS.get("package") is Package
    assert Package.obstacle(student).startswith("no C++ compiler is found; install")
    with pytest.raises(BackendError, match=r"cannot be compiled: no C\+\+ compiler is found"):
        Package(student)
    with pytest.raises(BackendError, match=r"cannot be compiled: no C\+\+ compiler is found"):
        build(student, tmp_path / "student.pt2")
    monkeypatch.setattr(tracing, "compiler", lambda: "g++")
    Package(student)
    monkeypatch.setattr(tracing, "compiler", lambda: None)
    assert Package.obstacle(student) == ""
    Package(student)
    assert len(interpreted) == 1


def test_where_nothing_can_be_kept_it_is_used_all_the_same(tmp_path, student, interpreted, graph_for, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    told: list[str] = []
    Package(student, tell=told.append).derive(graph_for(student, [PAIR]))
    assert told[1].startswith("the compiled student is not kept for the next time: cannot write ")


def test_a_package_with_other_numbers_is_neither_used_nor_written(tmp_path, student, student_in, interpreted):
    other = student_in(torch.float32, seed=2)
    with pytest.raises(BackendError, match="differs from the eager one"):
        build(other, tmp_path / "other.pt2")
    assert interpreted
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["/proc/student.pt2", "file/student.pt2"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, student, interpreted, place):
    (tmp_path / "file").touch()
    with pytest.raises(DistillerError, match="cannot write"):
        build(student, tmp_path / place)


def test_the_command_writes_beside_the_student(tmp_path, student, interpreted):
    file = tmp_path / "h.safetensors"
    save(student, file)
    result = CliRunner().invoke(app, ["compile", str(file), "--threads", "3"])
    assert result.exit_code == 0, result.output
    assert read_facts(tmp_path / "h.pt2")["threads"] == "3"
    result = CliRunner().invoke(app, ["compile", str(file), "--out", str(tmp_path / "a" / "b.pt2")])
    assert result.exit_code == 0, result.output
    Package(student, tmp_path / "a" / "b.pt2")
    assert interpreted == [3, torch.get_num_threads()]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.safetensors"], "none.safetensors does not exist"),
        (["h.safetensors", "--device", "gpu"], "there is no device 'gpu' here; give --device cpu"),
        (["h.safetensors", "--device", "meta"], "there is no device 'meta' here; give --device cpu"),
        (["h.safetensors", "--out", "h.safetensors"], "would overwrite the student"),
    ],
)
def test_the_command_refuses_in_one_sentence(tmp_path, student, interpreted, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    save(student, tmp_path / "h.safetensors")
    result = CliRunner().invoke(app, ["compile", *arguments])
    assert isinstance(result.exception, DistillerError)
    assert sentence in str(result.exception)
    assert not interpreted


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def built(request, student_in, tmp_path_factory):
    """A student and its package, built by the command."""
    if tracing.compiler() is None:
        pytest.skip("no C++ compiler")
    student, file = student_in(request.param), tmp_path_factory.mktemp("package") / "h.safetensors"
    save(student_in(torch.float64), file)
    dtype = str(request.param).removeprefix("torch.")
    result = CliRunner().invoke(app, ["compile", str(file), "--dtype", dtype, "--threads", "1"])
    assert result.exit_code == 0, result.output
    student = student_in(torch.float64).to(request.param)
    return Package(student, file.with_suffix(".pt2")), file.with_suffix(".pt2")


@pytest.mark.slow
def test_a_package_is_the_student(built, case, graph_for, assert_eager):
    backend, path = built
    for structures in (case, case[:1], case * 2):
        assert_eager(backend, graph_for(backend.student, structures))
    told = read_facts(path)
    assert told == facts(backend.student, threads=1)


@pytest.mark.slow
def test_a_package_gets_what_lies_otherwise_in_order(built, graph_for):
    backend, _ = built
    graph = graph_for(backend.student, [PAIR] * 3)
    across = graph.with_vectors(graph.vectors.t().contiguous().t())
    assert not across.vectors.is_contiguous()
    assert torch.equal(backend.derive(across).forces, backend.derive(graph).forces)
    other = torch.float32 if graph.vectors.dtype == torch.float64 else torch.float64
    with pytest.raises(BackendError, match="make the graph in the precision of the student"):
        backend.derive(graph.with_vectors(graph.vectors.to(other)))


@pytest.mark.slow
def test_a_real_package_with_a_damaged_byte_is_refused(built, tmp_path):
    backend, path = built
    copy = tmp_path / "copy.pt2"
    shutil.copyfile(path, copy)
    whole = copy.read_bytes()
    copy.write_bytes(whole.replace(b"\x7fELF", b"\x7fFLE", 1))
    assert copy.read_bytes() != whole
    assert "is damaged" in refusal(copy, backend.student)
