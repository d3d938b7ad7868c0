"""What the Triton kernels must do; `test_triton.py` runs this file in a process that interprets them, or on a GPU."""

import dataclasses
import os

import numpy as np
import pytest
import torch
from ase.build import molecule

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import BackendError
from mlff_distiller.potentials.derivatives import derive
from mlff_distiller.students.backends import triton as backend
from mlff_distiller.students.backends.backend import Eager
from mlff_distiller.students.backends.triton import Triton
from mlff_distiller.students.kernels import triton_messages
from mlff_distiller.students.kernels.triton_messages import Messages, Rows, Spline
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.student import Student

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
ALL = ("energy", "forces", "stress")


CAPACITY = backend.capacity


@pytest.fixture(autouse=True)
def fewer_programs(monkeypatch):
    """Large tiles and little padding, because the interpreter needs about as long for each tile and atom."""
    if DEVICE == "cpu":
        monkeypatch.setattr(triton_messages, "TILE", (64, 64))
        monkeypatch.setattr(backend, "capacity", lambda n, finest: n + 1)


def student(**settings) -> Student:
    plan = PaiNNPlan(preset="ultra-tiny", **{"n_channels": 8, **settings})
    return Student(plan, {1: -13.6, 6: -1030.0, 8: -2041.0}, neighbor_norm=3.0, seed=5).to(DEVICE)


def cloud(n, edge, **box) -> Structure:
    rng = np.random.default_rng(n)
    return Structure(rng.choice([1, 6, 8], n), rng.uniform(0, edge, (n, 3)), **box)


def from_ase(name) -> Structure:
    atoms = molecule(name)
    return Structure(atoms.numbers, atoms.positions + np.random.default_rng(0).normal(0, 0.05, atoms.positions.shape))


CELL = np.array([[3.4, 0, 0], [1.1, 3.8, 0], [-0.6, 0.9, 4.1]])
CASES = {
    "molecule": [from_ase("CH3CH2OH")],
    "batch": [from_ase("H2O"), from_ase("CO"), from_ase("H2O"), Structure([8], [[1.0, 2.0, 3.0]])],
    "triclinic": [Structure([8, 1, 1], [[0, 0, 0], [0.8, 0.6, 0], [-0.8, 0.6, 0.1]], cell=CELL, pbc=[1, 1, 1])],
    "slab": [Structure([8, 1], [[0, 0, 0], [0, 0.1, 0.97]], cell=CELL, pbc=[1, 0, 1]), from_ase("H2O")],
    "one atom": [Structure([6], [[0, 0, 0]])],
    "isolated": [Structure([1, 8, 1], [[0, 0, 0], [0, 0, 20], [0, 30, 0]])],
    "dense": [cloud(8, 2.2)],
}


def graph_of(structures, cutoff=5.0) -> Graph:
    return Graph.from_structures(structures, cutoff, device=DEVICE)


def check(found, wanted) -> None:
    assert found.energy.dtype == torch.float64
    for name in ("energy", "atomic_energies", "forces", "virial"):
        a, b = getattr(found, name), getattr(wanted, name)
        largest = 0.0 if "energ" in name else float(b.abs().max())
        torch.testing.assert_close(a, b, atol=1e-5 + 2e-6 * largest, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_eager(case):
    painn = student()
    fast, graph = Triton(painn), graph_of(CASES[case])
    wanted = Eager(painn).derive(graph, ALL)
    for _ in range(1 if DEVICE == "cpu" else 4):  # on a GPU the second is recorded, and the third replayed
        check(fast.derive(graph, ALL), wanted)


@pytest.mark.parametrize(
    "settings",
    [
        {"radial": "gaussian"},
        {"n_channels": 13, "n_layers": 3},
        {"n_layers": 1, "n_channels": 7},
        {"repulsion": "none", "cutoff": 3.5, "n_radial": 5},
    ],
    ids=str,
)
def test_agrees_for_other_plans(settings):
    painn = student(**settings)
    graph = graph_of([from_ase("H2O"), *CASES["triclinic"]], painn.cutoff)
    check(Triton(painn).derive(graph, ALL), Eager(painn).derive(graph, ALL))


def test_gives_what_is_asked_for():
    painn = student()
    fast, graph = Triton(painn), graph_of([from_ase("H2O")])
    for _ in range(1 if DEVICE == "cpu" else 3):
        alone = fast.derive(graph, ("energy",))
        assert alone.forces is None
        assert alone.virial is None
        both = fast.derive(graph, ("stress",))
        assert both.forces is None
        torch.testing.assert_close(alone.energy, both.energy, atol=1e-6, rtol=0)


def test_edges_in_a_skin_change_nothing():
    painn = student()
    near, far = (graph_of([*CASES["triclinic"], *CASES["slab"]], cutoff) for cutoff in (5.0, 6.0))
    assert len(far.centers) > len(near.centers)
    check(Triton(painn).derive(far, ALL), Eager(painn).derive(near, ALL))


def test_more_padding_changes_nothing(monkeypatch):
    painn, graph = student(), graph_of([*CASES["triclinic"], from_ase("H2O")])
    found = Triton(painn).derive(graph, ALL)
    monkeypatch.setattr(backend, "capacity", lambda n, finest: 2 * n + 3)
    wide = Triton(painn)
    again = wide.derive(graph, ALL)
    assert wide.capacities == [(2 * 6 + 3, 2 * len(graph.centers) + 3, 2 * 2 + 3)]
    for name in ("energy", "atomic_energies", "forces", "virial"):
        torch.testing.assert_close(getattr(again, name), getattr(found, name), atol=2e-6, rtol=1e-6)
        assert getattr(again, name).shape == getattr(found, name).shape


def test_what_was_there_before_leaves_no_trace(monkeypatch):
    monkeypatch.setattr(backend, "capacity", CAPACITY)
    painn = student()
    first, second = graph_of([cloud(6, 2.5)]), graph_of([from_ase("H2O")])
    used, fresh = Triton(painn), Triton(painn)
    before = used.derive(first, ALL)
    kept = before.forces.clone()
    found, wanted = used.derive(second, ALL), fresh.derive(second, ALL)
    assert used.capacities == fresh.capacities  # the same buffers, that is
    assert torch.equal(found.forces, wanted.forces)
    assert torch.equal(found.energy, wanted.energy)
    assert torch.equal(found.virial, wanted.virial)
    assert torch.equal(before.forces, kept)


def test_capacity_grows_with_the_graph(monkeypatch):
    monkeypatch.setattr(backend, "capacity", CAPACITY)
    monkeypatch.setattr(backend, "MOST_CAPACITIES", 1)
    painn = student(n_layers=1, n_channels=4)
    fast, eager = Triton(painn), Eager(painn)
    for n in (2, 9, 2):
        graph = graph_of([cloud(n, 4.0)])
        check(fast.derive(graph, ALL), eager.derive(graph, ALL))
        n_atoms, n_edges, n_systems = fast.capacities[-1]
        assert n_atoms > n
        assert n_edges > len(graph.centers)
        assert n_systems > 1
        assert len(fast.capacities) == 1


def test_refuses_unsorted_edges():
    painn, graph = student(n_layers=1, n_channels=4), graph_of([from_ase("H2O")])
    mixed = {name: getattr(graph, name).flip(0) for name in ("centers", "neighbors", "vectors")}
    with pytest.raises(BackendError, match="not sorted by center"):
        Triton(painn).derive(dataclasses.replace(graph, **mixed))


class Recording:
    """What a CUDA graph does: the same step again, on what is in the buffers now, into the same results."""

    def __init__(self, painn, held, properties):
        self.step = lambda: derive(painn, held, properties)
        self.results = self.step()

    def replay(self):
        for name, value in vars(self.step()).items():
            if value is not None:
                getattr(self.results, name).copy_(value)


@pytest.mark.skipif(DEVICE == "cuda", reason="there it is recorded in all tests")
def test_second_step_is_recorded_and_others_are_replays(monkeypatch):
    recordings = []

    def record(*step):
        recordings.append(Recording(*step))
        return recordings[-1], recordings[-1].results

    monkeypatch.setattr(backend, "_recorded", record)
    painn = student(n_layers=1, n_channels=4)
    fast, eager = Triton(painn), Eager(painn)
    fast._records = True
    graphs = [graph_of([Structure([8, 1], [[0, 0, 0], [0, 0, 0.9 + 0.1 * k]])]) for k in range(4)]
    found = [fast.derive(graph, ALL) for graph in graphs]
    for graph, derived in zip(graphs, found, strict=True):
        check(derived, eager.derive(graph, ALL))
    assert len(recordings) == 1
    for _ in range(2):
        assert fast.derive(graphs[0], ("energy",)).forces is None
    assert len(recordings) == 2


def test_says_when_a_step_cannot_be_recorded(monkeypatch):
    def fail(*step):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(backend, "_recorded", fail)
    fast, graph = Triton(student(n_layers=1, n_channels=4)), graph_of(CASES["one atom"])
    fast._records = True
    fast.derive(graph)
    with pytest.raises(BackendError, match=r"recorded as a CUDA graph \(operation not permitted .* cuda_graphs=False"):
        fast.derive(graph)


def test_student_keeps_its_gradients():
    painn = student(n_layers=1, n_channels=4)
    Triton(painn).derive(graph_of([from_ase("H2O")]))
    assert all(weight.requires_grad and weight.grad is None for weight in painn.parameters())


def reference(scalars, vectors, content, edges, *, rows, centers, spline):
    """A message in plain torch, from the same table."""
    width, (table, inverse_step) = content.shape[1], spline
    r = edges.norm(dim=1)
    s = r * inverse_step
    k = s.detach().long().clamp(max=len(table) - 1)
    filters = (table[k] * (s - k)[:, None, None] ** torch.arange(4, device=s.device)[:, None]).sum(1)
    sent = torch.where(s[:, None] < len(table), filters, 0.0) * content[rows.neighbors]
    to_scalars, along, *gates = sent.split(scalars.shape[1], dim=1)
    outgoing = (edges / r[:, None])[:, :, None] * along[:, None]
    if vectors is None:
        vectors = scalars.new_zeros(len(scalars), 3, scalars.shape[1])
    else:
        outgoing = outgoing + gates[0][:, None] * vectors[rows.neighbors]
    assert width == table.shape[2]
    return scalars.index_add(0, centers, to_scalars), vectors.index_add(0, centers, outgoing)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("first", "n_channels", "tile"), [(True, 5, (4, 4)), (False, 5, (4, 4)), (False, 3, (8, 64))])
def test_a_message_and_its_gradients(first, n_channels, tile, dtype, monkeypatch):
    monkeypatch.setattr(triton_messages, "TILE", tile)  # small enough for several tiles of edges and of channels
    graph = graph_of([*CASES["triclinic"], from_ase("H2O"), *CASES["one atom"]], 4.0)
    drawn = np.random.default_rng(1).normal

    def draw(*shape):
        return torch.tensor(drawn(size=shape), dtype=dtype, device=DEVICE)

    n, width = graph.n_atoms, (2 if first else 3) * n_channels
    spline = Spline(draw(11, 4, width), 11 / 3.9)  # some edges are longer than 3.9
    rows = Rows(torch.searchsorted(graph.centers, torch.arange(n + 1, device=DEVICE)), graph.neighbors)
    inputs = draw(n, n_channels), None if first else draw(n, 3, n_channels), draw(n, width), graph.vectors.to(dtype)
    weights = draw(n, n_channels), draw(n, 3, n_channels)
    gradients = []
    for function in (
        lambda *x: Messages.apply(*x, rows, spline),
        lambda *x: reference(*x, rows=rows, centers=graph.centers, spline=spline),
    ):
        leaves = [None if x is None else x.clone().requires_grad_() for x in inputs]
        outputs = function(*leaves)
        sum((w * x).sum() for w, x in zip(weights, outputs, strict=True)).backward()
        *others, of_edges = (x.grad for x in leaves if x is not None)
        pull = torch.zeros(n, 3, dtype=dtype, device=DEVICE)  # what forces are made of, with any gradient by edges
        pull = pull.index_add(0, graph.centers, of_edges).index_add(0, graph.neighbors, -of_edges)
        gradients.append([*(x.detach() for x in outputs), *others, pull, inputs[3].T @ of_edges])
    for found, wanted in zip(*gradients, strict=True):
        tolerance = (1e-13 if dtype == torch.float64 else 3e-6) * float(wanted.abs().max())
        torch.testing.assert_close(found, wanted, atol=10 * tolerance, rtol=0)


def test_padding_has_no_gradient():
    graph = graph_of([from_ase("H2O")])
    spline = Spline(torch.ones(3, 4, 8, device=DEVICE), 3 / 5.0)
    starts = torch.tensor([0, 2, 4, 4], device=DEVICE)  # the last two edges belong to nobody
    edges = graph.vectors.clone().requires_grad_()
    inputs = torch.ones(3, 4, device=DEVICE), None, torch.ones(3, 8, device=DEVICE), edges
    Messages.apply(*inputs, Rows(starts, graph.neighbors), spline)[0].sum().backward()
    assert (edges.grad[:4] != 0).any(1).all()
    assert (edges.grad[4:] == 0).all()
