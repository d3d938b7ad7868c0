"""The Triton backend; what its kernels must do is in `triton_cases.py`, which needs a process of its own."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import BackendError
from mlff_distiller.students.backends import BACKENDS
from mlff_distiller.students.backends import triton as module
from mlff_distiller.students.backends.triton import PaddedGraph, Triton, capacity
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.student import Student

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="the package triton is not installed; pip install triton"
)


@pytest.fixture
def student() -> Student:
    return Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6, 8: -2040.0})


@pytest.fixture
def ready(monkeypatch) -> None:
    """Whatever is installed and set: triton is, the interpreter is not."""
    monkeypatch.setattr(module, "find_spec", lambda name: name)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def cases(**environment) -> None:
    """Run the cases in a process of their own: triton chooses between compiling and interpreting at its import."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "triton_cases.py"]
    environment = {**os.environ, **environment}
    done = subprocess.run(command, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


@needs_triton
def test_kernels_interpreted_on_the_cpu():
    cases(TRITON_INTERPRET="1")


@pytest.mark.gpu
@needs_triton
def test_kernels_and_recordings_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    cases(TRITON_INTERPRET="0")


@needs_triton
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="TRITON_INTERPRET=1: nothing is compiled")
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", ["_receive", "_send"])
def test_kernels_compile_for_a_gpu_that_is_not_there(name, first, tmp_path, monkeypatch):
    """Machine code for an A100 from the kernels as they are launched, without a driver."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from mlff_distiller.students.kernels import triton_messages

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(triton_messages, name)
    sizes = {"BLOCK_E": triton_messages.TILE[0], "BLOCK_C": triton_messages.TILE[1]}
    constants = {"INVERSE_STEP": 409.6, "LAST": 2047, "CHANNELS": 112, "FIRST": first, **sizes}
    types = {"starts": "*i64", "neighbors": "*i64", "n_edges": "i32", **dict.fromkeys(constants, "constexpr")}
    signature = {argument: types.get(argument, "*fp32") for argument in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs={})
    options = {"num_warps": triton_messages.WARPS, "enable_fp_fusion": True}
    compiled = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=options)
    assert compiled.asm["cubin"]
    assert "ld.local" not in compiled.asm["ptx"]  # nothing that should be in registers went to memory


def test_registered():
    assert BACKENDS.get("triton") is Triton


def test_says_what_is_missing(student, ready, monkeypatch):
    assert "it is on cpu, and the kernels run on a GPU" in Triton.obstacle(student)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert Triton.obstacle(student) == ""
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert "pip install 'mlff-distiller[gpu]'" in Triton.obstacle(student)
    with pytest.raises(BackendError, match="the package triton is not installed"):
        Triton(student)


def test_refuses_other_precisions_and_networks(student, ready):
    assert Triton.knows(student)
    assert "it is in float64" in Triton.obstacle(student.double())
    assert not Triton.knows(student)  # and so is not even tried, nor warned about, by "auto"
    student.float().network = torch.nn.Linear(2, 2)
    assert "the kernels know PaiNN" in Triton.obstacle(student)
    assert not Triton.knows(student)


@given(st.integers(0, 10_000_000), st.sampled_from([2, 8, 64]))
def test_capacity_leaves_room_for_one_more_and_little_else(n, finest):
    room = capacity(n, finest)
    assert n < room <= n + max(finest, n / 8)
    assert capacity(room - 1, finest) == room  # everything up to it shares its buffers


def test_padding_is_out_of_reach_of_everything(student):
    held = PaddedGraph.empty(8, 20, 4, student=student)
    water = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [0, 0.96, 0]])
    for structures in ([water, water], [water], [Structure([8], np.zeros((1, 3)))]):
        previous = (6, 12)
        graph = Graph.from_structures(structures, student.cutoff)
        n, n_edges = graph.n_atoms, len(graph.centers)
        held.hold(graph, instead_of=previous)
        for name, size in (("numbers", n), ("system", n), ("centers", n_edges), ("neighbors", n_edges)):
            assert torch.equal(getattr(held, name)[:size], getattr(graph, name))
        assert torch.equal(held.vectors[:n_edges], graph.vectors)
        assert (held.system[n:] == 3).all()
        assert (held.centers[n_edges:] == 7).all()
        assert (held.vectors[n_edges:].norm(dim=1) > student.cutoff).all()
        assert held.starts[-1] == held.starts[-2] == n_edges
        assert torch.equal(held.starts[: n + 1], torch.searchsorted(graph.centers, torch.arange(n + 1)))
