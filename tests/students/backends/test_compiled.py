"""The program that is compiled, run operation by operation, and torch.compile of it: both are the eager network."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import BackendError
from mlff_distiller.students import tracing
from mlff_distiller.students.backends import BACKENDS
from mlff_distiller.students.backends.compiled import Compiled
from mlff_distiller.students.backends.traced import Traced, program

PAIR = [Structure([1, 8], [[0, 0, 0], [0, 0, 0.97]])]
DTYPES = [torch.float32, torch.float64]


class AsTraced(Traced):
    """The program as it is given to a compiler."""

    def __init__(self, student, graph=None):
        super().__init__(student)
        self.graph = graph or program(student)[0]

    @classmethod
    def obstacle(cls, student):
        return ""

    def _run(self, inputs):
        return self.graph(*inputs)


@pytest.fixture(scope="module")
def traced_in(student_in):
    return cache(lambda dtype: AsTraced(student_in(dtype)))


@pytest.fixture(params=DTYPES, ids=str)
def as_traced(request, traced_in):
    return traced_in(request.param)


@pytest.fixture
def single(traced_in):
    return traced_in(torch.float32)


def test_the_program_gives_the_numbers_of_the_student(as_traced, case, graph_for, assert_eager):
    assert_eager(as_traced, graph_for(as_traced.student, case))


def test_the_program_holds_nothing_that_compilers_take_amiss(single):
    operations = [node.target for node in single.graph.graph.nodes]
    assert torch.ops.aten.detach.default not in operations
    products = [node for node in single.graph.graph.nodes if node.target is torch.ops.aten.mm.default]
    assert products
    assert all(node.args[0].meta["val"].shape[1] > 1 for node in products)
    assert len([node for node in single.graph.graph.nodes if node.op == "placeholder"]) == 6


def test_only_what_is_asked_for_is_returned(single, graph_for):
    graph = graph_for(single.student, PAIR)
    energies, forces = single.derive(graph, ("energy",)), single.derive(graph)
    assert energies.forces is None
    assert energies.virial is None
    assert forces.forces is not None
    assert forces.virial is None
    assert forces.energy.shape == (1,)
    assert not forces.forces.requires_grad


def test_what_the_program_would_misread_is_refused(single, graph_for):
    graph = graph_for(single.student, PAIR)
    double = graph.with_vectors(graph.vectors.double())
    with pytest.raises(BackendError, match="compiled for float32 and a graph in float64 was given"):
        single.derive(double)
    with pytest.raises(BackendError, match="indices in int64"):
        single.derive(replace(graph, centers=graph.centers.int()))
    with pytest.raises(BackendError, match="compiled for cpu and a graph on meta was given"):
        single.derive(graph.with_vectors(graph.vectors.to("meta")))
    with pytest.raises(BackendError, match="do not belong together"):
        single.derive(graph.with_vectors(graph.vectors[:1]))
    with pytest.raises(BackendError, match="do not belong together"):
        single.derive(replace(graph, system=graph.system[:1]))


def test_tensors_that_lie_otherwise_are_put_in_order(single, graph_for):
    graph = graph_for(single.student, PAIR * 3)
    moved = torch.empty(graph.vectors.numel() + 1)[1:].view(-1, 3).copy_(graph.vectors)
    across = graph.vectors.t().contiguous().t()
    every_second = graph.centers.repeat_interleave(2)[::2]
    assert moved.data_ptr() % 16
    assert not across.is_contiguous()
    assert not every_second.is_contiguous()
    for vectors in (moved, across):
        inputs = single._inputs(replace(graph, vectors=vectors, centers=every_second))
        assert all(tensor.is_contiguous() and tensor.data_ptr() % 16 == 0 for tensor in inputs)
        assert torch.equal(inputs[4], graph.vectors)
        assert torch.equal(inputs[2], graph.centers)


@pytest.mark.parametrize("output", range(4))
def test_a_program_with_other_numbers_is_refused(single, output):
    def spoiled(*inputs):
        return [2 * found if k == output else found for k, found in enumerate(single.graph(*inputs))]

    AsTraced(single.student, single.graph)._demand_agreement()
    with pytest.raises(BackendError, match="differs from the eager one"):
        AsTraced(single.student, spoiled)._demand_agreement()


def test_not_a_number_is_refused(single):
    def spoiled(*inputs):
        return [found * torch.nan for found in single.graph(*inputs)]

    with pytest.raises(BackendError, match="differs from the eager one"):
        AsTraced(single.student, spoiled)._demand_agreement()


def test_without_a_compiler_there_is_a_sentence(student_in, monkeypatch):
    assert BACKENDS.get("compile") is Compiled
    monkeypatch.setattr(tracing, "compiler", lambda: None)
    student = student_in(torch.float32)
    assert Compiled.obstacle(student).startswith("no C++ compiler is found; install g++ or clang++")
    with pytest.raises(BackendError, match=r"cannot be compiled: no C\+\+ compiler is found"):
        Compiled(student)


def test_what_fails_in_torch_is_one_sentence(student_in, monkeypatch):
    def failing(*_, **__):
        raise RuntimeError("it is broken\nin many lines")

    monkeypatch.setattr(tracing, "compiler", lambda: "g++")
    monkeypatch.setattr(tracing, "traced", failing)
    with pytest.raises(BackendError, match=r"torch.compile failed \(it is broken\); use backend='eager'"):
        Compiled(student_in(torch.float32))


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def compiled(request, student_in):
    if tracing.compiler() is None:
        pytest.skip("no C++ compiler")
    return Compiled(student_in(request.param))


@pytest.mark.slow
def test_compiled_it_is_the_student_and_no_size_compiles_it_again(compiled, case, graph_for, assert_eager):
    with torch._dynamo.config.patch(error_on_recompile=True):
        for structures in (case, case[:1], case * 2):
            assert_eager(compiled, graph_for(compiled.student, structures))
