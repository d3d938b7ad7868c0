"""Graphs of moving atoms against neighbor lists made anew at every step."""

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff_distiller.atoms import verlet
from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.neighbors import find_edges, find_pairs
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.atoms.verlet import VerletGraphs
from mlff_distiller.core.errors import StructureError

CUTOFF = 3.0
TRICLINIC = np.array([[2.6, 0, 0], [1.1, 2.4, 0], [-0.9, 0.7, 3.3]])
CELLS = {
    "molecule": (np.zeros((3, 3)), (False, False, False)),
    "molecule with a cell that is not used": (TRICLINIC, (False, False, False)),
    "smaller than the cutoff": (np.eye(3) * 1.9, (True, True, True)),
    "larger than two cutoffs": (np.diag([7.0, 8.5, 30.0]), (True, True, True)),
    "triclinic": (TRICLINIC, (True, True, True)),
    "strongly skewed": (np.array([[5.0, 0, 0], [4.9, 1.5, 0], [-4.0, 3.0, 2.0]]), (True, True, True)),
    "slab without a third vector": (np.diag([2.5, 2.7, 0.0]), (True, True, False)),
    "slab with a third vector": (TRICLINIC, (True, False, True)),
    "wire": (np.diag([0.0, 0.0, 2.2]), (False, False, True)),
    "left handed": (np.diag([3.0, 3.1, -2.9]), (True, True, True)),
}


def make(name: str, n: int, rng: np.random.Generator, *, spread: float = 3.0) -> Structure:
    cell, pbc = CELLS[name]
    return Structure(rng.integers(1, 9, n), rng.uniform(-spread, spread, (n, 3)), cell=cell, pbc=pbc)


def assert_same(graph: Graph, structures: list[Structure], cutoff: float = CUTOFF) -> None:
    """Compare as sets; a pair within 1e-9 of the cutoff may be rounded to either side."""
    first = np.cumsum([0, *map(len, structures)])
    edges = [find_edges(structure, cutoff) for structure in structures]
    expected = _rows(
        np.concatenate([e.centers + f for e, f in zip(edges, first, strict=False)]),
        np.concatenate([e.neighbors + f for e, f in zip(edges, first, strict=False)]),
        np.concatenate([e.vectors for e in edges]),
        cutoff,
    )
    found = _rows(graph.centers.numpy(), graph.neighbors.numpy(), graph.vectors.double().numpy(), cutoff)
    assert found.shape == expected.shape
    assert np.array_equal(found[:, :2], expected[:, :2])
    assert np.abs(found - expected).max(initial=0.0) < 1e-10
    assert graph.centers.dtype == graph.neighbors.dtype == torch.int64
    assert (graph.centers.diff() >= 0).all()
    assert graph.n_systems == len(structures)
    assert graph.numbers.tolist() == [z for structure in structures for z in structure.numbers.tolist()]
    assert graph.system.tolist() == [k for k, structure in enumerate(structures) for _ in range(len(structure))]


def _rows(centers, neighbors, vectors, cutoff):
    rows = np.column_stack([centers, neighbors, vectors])[np.linalg.norm(vectors, axis=1) < cutoff - 1e-9]
    return rows[np.lexsort((*np.round(rows[:, 2:], 6).T, rows[:, 1], rows[:, 0]))]


@pytest.fixture
def searches(monkeypatch):
    """Return the lengths of structures for which lists were made, as they are made."""
    made: list[int] = []
    monkeypatch.setattr(verlet, "find_pairs", lambda s, reach: made.append(len(s)) or find_pairs(s, reach))
    return made


def change(structure: Structure, rng: np.random.Generator) -> Structure:
    """Move the atoms as dynamics, a barostat, or a user may."""
    positions, cell = structure.positions, structure.cell
    what = rng.choice(["thermal"] * 5 + ["still", "strain", "strain", "jump", "wrap", "shift", "leave", "cell", "back"])
    if what in ("thermal", "strain"):
        positions = positions + rng.normal(0, rng.choice([0.01, 0.05, 0.15]), positions.shape)
    if what == "strain" and structure.pbc.any():
        strain = np.eye(3) + rng.normal(0, rng.choice([0.001, 0.02, 0.2]), (3, 3))
        positions, cell = positions @ strain, cell @ strain
    if what == "cell" and structure.is_periodic:  # the cell alone, atoms where they are
        cell = cell * rng.uniform(0.97, 1.03)
    if what == "jump":
        positions = rng.permutation(positions + rng.normal(0, 1.0, positions.shape))
    if what == "wrap":
        positions = positions + rng.integers(-2, 3, positions.shape) * structure.pbc @ cell
    if what == "shift":
        positions = positions + rng.normal(0, 5, 3)
    if what == "leave":
        positions = positions + (np.arange(len(positions)) == 0)[:, None] * np.array([40.0, 0, 0])
    return structure.moved(positions, cell=cell)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), skin=st.sampled_from([0.05, 0.5, 1.5]))
def test_random_trajectories_of_batches(seed, skin):
    rng = np.random.default_rng(seed)
    names = rng.choice(list(CELLS), rng.integers(1, 4))
    batch = [make(name, int(rng.integers(1, 6)), rng) for name in names]
    graphs = VerletGraphs(CUTOFF, skin=skin, dtype=torch.float64)
    for _ in range(12):
        assert_same(graphs.graph(batch), batch)
        batch = [change(structure, rng) if rng.random() < 0.8 else structure for structure in batch]
        event = rng.random()
        if event < 0.05:
            batch = batch[::-1]
        elif event < 0.1:
            batch = batch[:-1] or batch
        elif event < 0.15:
            numbers = rng.permutation(batch[0].numbers + 1)
            batch[0] = Structure(numbers, batch[0].positions, cell=batch[0].cell, pbc=batch[0].pbc)
        elif event < 0.2 and np.linalg.matrix_rank(batch[0].cell) == 3:
            batch[0] = Structure(batch[0].numbers, batch[0].positions, cell=batch[0].cell, pbc=rng.random(3) < 0.5)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from([n for n, (_, pbc) in CELLS.items() if all(pbc)]))
def test_a_barostat_keeps_its_list_and_never_misses_a_pair(seed, name):
    """Small steps that add up: the criterion alone decides, and decides in time."""
    rng = np.random.default_rng(seed)
    structure = make(name, 4, rng)
    graphs, rate = VerletGraphs(CUTOFF, dtype=torch.float64), np.eye(3) + rng.normal(0, 0.003, (3, 3))
    with pytest.MonkeyPatch.context() as patch:
        made: list[int] = []
        patch.setattr(verlet, "find_pairs", lambda s, reach: made.append(1) or find_pairs(s, reach))
        for _ in range(40):
            assert_same(graphs.graph([structure]), [structure])
            moved = structure.positions @ rate + rng.normal(0, 0.005, (4, 3))
            structure = structure.moved(moved, cell=structure.cell @ rate)
    assert 1 <= len(made) < 25


def test_two_atoms_that_approach_each_other_are_seen_at_the_cutoff(searches):
    graphs, n_edges = VerletGraphs(CUTOFF, skin=0.5, dtype=torch.float64), []
    for distance in np.arange(3.6, 2.5, -0.01):
        pair = Structure([1, 1], [[-distance / 2, 0, 0], [distance / 2, 0, 0]])
        graph = graphs.graph([pair])
        assert_same(graph, [pair])
        n_edges.append(len(graph.centers))
    assert n_edges[0] == 0
    assert n_edges[-1] == 2
    assert 2 <= len(searches) <= 4  # 1.1 A, the skin is 0.5 A


def test_a_list_serves_until_two_atoms_may_have_crossed_the_skin(searches):
    graphs, start = VerletGraphs(CUTOFF, skin=0.5), Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
    for x in (0.0, 0.1, 0.2, 0.34):  # the list is made at the second call, 0.25 A serve
        graphs.graph([start.moved(np.array([[x, 0, 0], [0, 0, 1.0]]))])
    assert searches == [2]
    graphs.graph([start.moved(np.array([[0.36, 0, 0], [0, 0, 1.0]]))])
    assert searches == [2, 2]


def test_calls_with_other_structures_pay_nothing(searches, monkeypatch):
    rng = np.random.default_rng(1)
    monkeypatch.setattr(VerletGraphs, "_listed", None)
    graphs = VerletGraphs(CUTOFF)
    for _ in range(6):
        batch = [make("molecule", 5, rng), make("triclinic", 3, rng)]
        graph, plain = graphs.graph(batch), Graph.from_structures(batch, CUTOFF)
        assert torch.equal(graph.vectors, plain.vectors)
    same_molecule = [batch[0].moved(rng.uniform(-3, 3, (5, 3))) for _ in range(6)]
    for structure in same_molecule:
        graphs.graph([structure])
    assert searches == []


def test_one_replica_that_moved_far_enough_gets_a_list_alone(searches):
    rng = np.random.default_rng(2)
    batch = [make("molecule", 3 + k, rng) for k in range(4)]
    graphs = VerletGraphs(CUTOFF, dtype=torch.float64)
    graphs.graph(batch)
    graphs.graph(batch)
    assert searches == [3, 4, 5, 6]
    for _ in range(2):
        batch[2] = batch[2].moved(batch[2].positions + 0.1)
        assert_same(graphs.graph(batch), batch)
    assert searches == [3, 4, 5, 6, 5]


def test_batches_that_come_in_turns_keep_their_lists(searches):
    rng = np.random.default_rng(3)
    batches = {place: [make("triclinic", 2 + place, rng)] for place in range(3)}
    graphs = VerletGraphs(CUTOFF, dtype=torch.float64)
    for _ in range(5):
        for place, batch in batches.items():
            assert_same(graphs.graph(batch, place=place), batch)
    assert searches == [2, 3, 4]


def test_no_more_than_a_number_of_batches_is_remembered(searches):
    graphs, atom = VerletGraphs(CUTOFF), Structure([1], [[0, 0, 0]])
    for _ in range(2):
        for place in range(100):
            graphs.graph([atom], place=place)
    assert len(graphs._own.places) == verlet._MOST_PLACES
    assert searches == []


def test_graphs_are_never_written_to_by_later_calls():
    rng = np.random.default_rng(4)
    graphs, structure, held = VerletGraphs(CUTOFF), make("triclinic", 4, rng), []
    for _ in range(6):
        structure = structure.moved(structure.positions + rng.normal(0, 0.01, (4, 3)))
        graph = graphs.graph([structure])
        held.append((graph, graph.vectors.clone(), graph.centers.clone(), graph.neighbors.clone()))
    for graph, vectors, centers, neighbors in held:
        assert torch.equal(graph.vectors, vectors)
        assert torch.equal(graph.centers, centers)
        assert torch.equal(graph.neighbors, neighbors)


def test_every_pair_is_there_in_both_directions_with_opposite_vectors():
    rng = np.random.default_rng(5)
    graphs, structure = VerletGraphs(CUTOFF), make("triclinic", 5, rng)
    for _ in range(3):
        structure = structure.moved(structure.positions + rng.normal(0, 0.02, (5, 3)))
        graph = graphs.graph([structure])
    centers, neighbors = graph.centers.tolist(), graph.neighbors.tolist()
    there = {(i, j, *v) for i, j, v in zip(centers, neighbors, (graph.vectors + 0.0).tolist(), strict=True)}
    back = {(j, i, *v) for i, j, v in zip(centers, neighbors, (0.0 - graph.vectors).tolist(), strict=True)}
    assert there == back
    assert len(there) == len(graph.centers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_vectors_are_rounded_once(dtype):
    graphs, far = VerletGraphs(CUTOFF, dtype=dtype), np.full(3, 5e4)
    structure = Structure([1, 1], [far, far + np.array([0.1, 0.2, 0.3])])
    for _ in range(3):
        graph = graphs.graph([structure])
    expected = torch.from_numpy(find_edges(structure, CUTOFF).vectors).to(dtype)
    assert graph.vectors.dtype == dtype
    assert torch.equal(graph.vectors.sort(0).values, expected.sort(0).values)


def test_positions_that_are_no_numbers_are_never_near(monkeypatch):
    graphs, structure = VerletGraphs(CUTOFF), Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
    for _ in range(3):
        graphs.graph([structure])
    asked = []
    monkeypatch.setattr(Graph, "from_structures", lambda *a, **k: asked.append(a))
    monkeypatch.setattr(VerletGraphs, "_listed", None)
    for bad in (np.nan, np.inf):
        graphs.graph([structure.moved(np.array([[bad, 0, 0], [0, 0, 1.0]]))])
    assert len(asked) == 2


def test_atoms_that_fly_too_far_apart_are_refused_and_the_list_survives():
    graphs, structure = VerletGraphs(CUTOFF, dtype=torch.float64), Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
    for _ in range(3):
        graphs.graph([structure])
    with pytest.raises(StructureError, match="span more than"):
        graphs.graph([structure.moved(np.array([[0, 0, 0], [0, 0, 1e6]]))])
    assert_same(graphs.graph([structure]), [structure])


@pytest.mark.parametrize("name", ["slab with a third vector", "wire"])
def test_a_cell_that_changes_without_being_periodic_all_around_gets_a_new_search(name, searches):
    structure = make(name, 4, np.random.default_rng(6))
    graphs = VerletGraphs(CUTOFF, dtype=torch.float64)
    for _ in range(4):
        structure = structure.moved(structure.positions, cell=structure.cell * 1.001)
        assert_same(graphs.graph([structure]), [structure])
    assert searches == []
    for _ in range(3):
        assert_same(graphs.graph([structure]), [structure])
    assert searches == [4]


def test_without_a_skin_there_are_no_lists(searches):
    graphs, structure = (
        VerletGraphs(CUTOFF, skin=0.0, dtype=torch.float64),
        make("molecule", 5, np.random.default_rng(7)),
    )
    for _ in range(4):
        assert_same(graphs.graph([structure]), [structure])
    assert searches == []


def test_copies_begin_without_lists():
    graphs = VerletGraphs(CUTOFF, skin=0.3, dtype=torch.float64)
    graphs.graph([Structure([1], [[0, 0, 0]])])
    for other in (copy.deepcopy(graphs), pickle.loads(pickle.dumps(graphs))):
        assert (other.cutoff, other.skin, other.dtype, other.device) == (CUTOFF, 0.3, torch.float64, graphs.device)
        assert "places" not in vars(other._own)


def test_threads_have_lists_of_their_own():
    graphs, failures = VerletGraphs(CUTOFF, dtype=torch.float64), []

    def run(seed: int) -> None:
        try:
            rng = np.random.default_rng(seed)
            structure = make("triclinic", 3 + seed, rng)
            for _ in range(150):
                structure = structure.moved(structure.positions + rng.normal(0, 0.03, structure.positions.shape))
                assert_same(graphs.graph([structure]), [structure])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_the_compiled_functions_are_the_ones_that_are_read(monkeypatch):
    rng = np.random.default_rng(8)
    batch = [make("triclinic", 4, rng), make("molecule", 3, rng), make("wire", 2, rng)]
    steps = [[s.moved(s.positions + rng.normal(0, 0.04, s.positions.shape)) for s in batch] for _ in range(8)]
    compiled, plain = VerletGraphs(CUTOFF), VerletGraphs(CUTOFF)
    first = [compiled.graph(step) for step in steps]
    monkeypatch.setattr(verlet, "_compiled", lambda function: function)
    for graph, step in zip(first, steps, strict=True):
        other = plain.graph(step)
        assert torch.equal(graph.vectors, other.vectors)
        assert torch.equal(graph.neighbors, other.neighbors)


def test_a_package_that_cannot_be_written_is_compiled_without_a_cache(monkeypatch):
    import numba

    njit = numba.njit

    def unwritable(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba, "njit", unwritable)
    function = verlet._compiled.__wrapped__(verlet._far)
    then = np.zeros((1, 3))
    settings = np.array([0, 1]), np.eye(3)[None], np.ones(1), 3.5, CUTOFF
    assert function(then, then + 0.1, *settings).tolist() == []
    assert function(then, then + 0.2, *settings).tolist() == [0]
