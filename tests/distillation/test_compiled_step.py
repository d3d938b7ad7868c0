"""The traced step: the gradients of the eager one for every term, and the trap that makes them wrong."""

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from training_tasks import STUDENT, structures

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import TrainingError
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.distillation import compiled_step
from mlff_distiller.distillation.compiled_step import CompiledStep, traced
from mlff_distiller.distillation.flat import FlatParameters
from mlff_distiller.distillation.initial import new_student
from mlff_distiller.distillation.losses.loss import Loss
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.distillation.step import EagerStep

EVERYTHING = [
    {"kind": "energy"},
    *({"kind": "forces", "form": form} for form in ("mse", "mae", "huber", "relative")),
    {"kind": "stress"},
    {"kind": "force_angle"},
    {"kind": "atomic_energies"},
    {"kind": "hessian"},
]
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}


def labeled(frames) -> MolecularDataset:
    """Frames with random labels of every kind."""
    rng = np.random.default_rng(0)
    labels = [
        Labels(
            energy=float(rng.normal()),
            forces=rng.normal(size=(n, 3)),
            stress=_symmetric(rng.normal(size=(3, 3))),
            atomic_energies=rng.normal(size=n),
            hessian_directions=rng.normal(size=(n, 2, 3)),
            hessian_products=rng.normal(size=(n, 2, 3)),
        )
        for n in (len(frame.numbers) for frame in frames)
    ]
    return MolecularDataset.from_structures(frames, labels)


def _symmetric(a):
    return (a + a.T) / 2


CRYSTALS = structures(9, 0, periodic=True)
APART = [Structure([1, 6], [[0, 0, 0], [0, 0, 9.0]], cell=20 * np.eye(3), pbc=True)]
DATA = labeled([*CRYSTALS, *APART])
BATCHES = {"eight": list(range(8)), "one": [8], "two of different size": [3, 9], "no edges": [9]}


def batch_of(rows, dtype):
    data = DATA.subset(rows)
    return next(GraphLoader(data, cutoff=3.0, batch_size=len(rows), seed=0, dtype=dtype, shuffle=False).batches(0))


def prepared(dtype):
    student = new_student(STUDENT, DATA, seed=1, dtype=dtype)
    loss = Loss(TrainingPlan(loss=EVERYTHING).loss, DATA.properties, scale=1.0)
    assert len(loss.terms) == len(EVERYTHING)
    return EagerStep(student, loss), FlatParameters(student).values.detach().clone()


def error(step, eager, weights, batch) -> float:
    factors = torch.ones(len(EVERYTHING), dtype=torch.float64)
    sums, gradient = step(weights, factors, batch)
    expected_sums, expected = eager(weights, factors, batch)
    torch.testing.assert_close(sums, expected_sums, rtol=1e-4, atol=1e-6)
    return float((gradient - expected).norm() / expected.norm().clamp(min=1e-30))


@pytest.fixture(
    scope="module",
    params=[pytest.param(torch.float32, marks=pytest.mark.slow), torch.float64],
    ids=["float32", "float64"],
)
def program(request):
    """The traced step, run operation by operation, as it is compiled."""
    eager, weights = prepared(request.param)
    graph, _ = traced(eager, weights, batch_of([0, 1], request.param))
    assert not [node for node in graph.graph.nodes if node.target is torch.ops.aten.detach.default]

    def step(weights, factors, batch):
        return graph(weights, factors, *compiled_step._tensors(batch).values(), *eager.buffers)

    return step, eager, weights, request.param


@pytest.mark.parametrize("rows", BATCHES.values(), ids=BATCHES)
def test_the_traced_step_gives_the_gradient_of_all_terms_for_batches_of_any_size(program, rows):
    step, eager, weights, dtype = program
    assert error(step, eager, weights, batch_of(rows, dtype)) < TOLERANCES[dtype]


def test_without_a_compiler_there_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled_step, "compiler", lambda: None)
    monkeypatch.setattr(
        compiled_step, "traced", lambda *_: (torch.fx.symbolic_trace(torch.nn.Identity()), [torch.ones(1)])
    )
    eager, weights = prepared(torch.float32)
    sentence = r"cannot be compiled \(no C\+\+ compiler is found\); set training.compile to 'never', or install"
    with pytest.raises(TrainingError, match=sentence):
        CompiledStep(eager, weights, batch_of([0], torch.float32), folder=tmp_path)


def doubling(eager, weights, sample):
    """A program with the inputs of a step that is compiled in no time."""
    inputs = [weights, torch.ones(len(EVERYTHING)), *compiled_step._tensors(sample).values(), *eager.buffers]
    return make_fx(lambda weights, factors, *_: (2 * factors, 2 * weights), tracing_mode="symbolic")(*inputs), inputs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch about its own parts
@pytest.mark.skipif(compiled_step.compiler() is None, reason="no C++ compiler")
def test_a_compiled_step_is_kept_made_anew_if_damaged_and_used_where_it_cannot_be_kept(monkeypatch, tmp_path):
    eager, weights = prepared(torch.float32)
    sample, told, n_built, build = batch_of([0, 1], torch.float32), [], [], compiled_step._build
    monkeypatch.setattr(compiled_step, "traced", doubling)
    monkeypatch.setattr(compiled_step, "_build", lambda *given: n_built.append(1) or build(*given))

    def assert_it_works(folder):
        step = compiled_step._compiled(eager, weights, sample, folder=folder, tell=told.append)
        found = step(weights, torch.ones(len(EVERYTHING)), *compiled_step._tensors(sample).values(), *eager.buffers)
        assert torch.equal(found[1], 2 * weights)
        return len(n_built)

    assert [assert_it_works(tmp_path) for _ in range(2)] == [1, 1]
    (package,) = tmp_path.glob("*.pt2")
    whole = package.read_bytes()
    package.write_bytes(whole[: len(whole) // 2])
    assert not compiled_step._is_whole(package)
    package.write_bytes(whole.replace(b"ELF", b"FLE", 1))
    assert assert_it_works(tmp_path) == 2
    assert compiled_step._is_whole(package)
    assert not told
    (tmp_path / "file").touch()
    assert_it_works(tmp_path / "file" / "steps")
    assert len(told) == 1
    assert told[0].startswith("the compiled step is not kept for the next time: cannot write ")


def test_a_user_without_a_home_gets_a_new_folder(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compiled_step.Path, "home", homeless)
    first, second = compiled_step.cache_folder(), compiled_step.cache_folder()
    assert first.is_dir()
    assert first != second
    for folder in (first, second):
        folder.rmdir()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_the_compiled_step_is_the_eager_one(tmp_path, dtype):
    eager, weights = prepared(dtype)
    step = CompiledStep(eager, weights, batch_of([0, 1], dtype), folder=tmp_path)
    for rows in BATCHES.values():
        assert error(step, eager, weights, batch_of(rows, dtype)) < TOLERANCES[dtype]


@pytest.mark.slow
def test_with_detach_left_in_the_compiled_gradient_is_wrong(tmp_path, monkeypatch):
    """The trap: forces are right, and training fails for no visible reason. The comparison with eager finds it."""
    monkeypatch.setattr(torch.fx.Graph, "erase_node", lambda *_: None)
    monkeypatch.setattr(torch.fx.Node, "replace_all_uses_with", lambda *_, **__: [])
    eager, weights = prepared(torch.float64)
    graph, inputs = traced(eager, weights, batch_of([0, 1], torch.float64))
    monkeypatch.undo()
    assert [node for node in graph.graph.nodes if node.target is torch.ops.aten.detach.default]
    monkeypatch.setattr(compiled_step, "traced", lambda *_: (graph, inputs))
    with pytest.raises(TrainingError, match="differs from the eager one"):
        CompiledStep(eager, weights, batch_of([0, 1], torch.float64), folder=tmp_path)
