"""Neighbor lists of batches against those of single structures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff_distiller.atoms import batch_neighbors
from mlff_distiller.atoms.batch_neighbors import find_batch_edges
from mlff_distiller.atoms.neighbors import find_edges
from mlff_distiller.atoms.structure import Structure

CUTOFF = 4.0
TRICLINIC = np.array([[2.6, 0, 0], [1.1, 2.4, 0], [-0.9, 0.7, 3.3]])
CELLS = {
    "molecule": (np.zeros((3, 3)), (False, False, False)),
    "smaller than the cutoff": (np.eye(3) * 1.9, (True, True, True)),
    "between one and two cutoffs": (np.eye(3) * 6.1, (True, True, True)),
    "exactly two cutoffs": (np.eye(3) * 2 * CUTOFF, (True, True, True)),
    "larger than two cutoffs": (np.diag([9.0, 8.5, 30.0]), (True, True, True)),
    "triclinic": (TRICLINIC, (True, True, True)),
    "strongly skewed": (np.array([[5.0, 0, 0], [4.9, 1.5, 0], [-4.0, 3.0, 2.0]]), (True, True, True)),
    "slab without a third vector": (np.diag([2.5, 2.7, 0.0]), (True, True, False)),
    "slab with a third vector": (TRICLINIC, (True, False, True)),
    "slab with a vector in its plane": (np.array([[3.0, 0, 0], [0, 3.1, 0], [3.0, 3.1, 0]]), (True, True, False)),
    "wire": (np.diag([0.0, 0.0, 2.2]), (False, False, True)),
    "left handed": (np.diag([3.0, 3.1, -2.9]), (True, True, True)),
    "cell that is not used": (TRICLINIC, (False, False, False)),
}


def make(name: str, n: int, *, spread: float = 5.0, seed: int = 7) -> Structure:
    cell, pbc = CELLS[name]
    positions = np.random.default_rng(seed).uniform(-spread, spread, (n, 3))
    return Structure([1] * n, positions, cell=cell, pbc=pbc)


def batch(structures: list[Structure], cutoff: float = CUTOFF, *, device: str = "cpu"):
    return find_batch_edges(
        torch.from_numpy(np.concatenate([s.positions for s in structures])).to(device),
        np.array([len(s) for s in structures]),
        cells=np.array([s.cell for s in structures]),
        pbc=np.array([s.pbc for s in structures]),
        cutoff=cutoff,
    )


def reference(structures: list[Structure], cutoff: float = CUTOFF):
    edges = [find_edges(s, cutoff) for s in structures]
    first = np.cumsum([0, *(len(s) for s in structures)])
    return (
        np.concatenate([e.centers + f for e, f in zip(edges, first, strict=False)]),
        np.concatenate([e.neighbors + f for e, f in zip(edges, first, strict=False)]),
        np.concatenate([e.vectors for e in edges]),
    )


def assert_same(found, expected):
    """Compare as sets: the images of one pair come in any order."""
    arrays = [[np.asarray(part) for part in edges] for edges in (found, expected)]
    assert len(arrays[0][0]) == len(arrays[1][0])
    ordered = []
    for centers, neighbors, vectors in arrays:
        order = np.lexsort((*np.round(vectors, 6).T, neighbors, centers))
        ordered.append((centers[order], neighbors[order], vectors[order]))
    (c1, n1, v1), (c2, n2, v2) = ordered
    assert np.array_equal(c1, c2)
    assert np.array_equal(n1, n2)
    assert np.abs(v1 - v2).max(initial=0.0) < 1e-12


@pytest.fixture(params=["dense", "default", "cell list"])
def route(request, monkeypatch):
    """Send every structure through the dense search, through the cell list, or as it comes."""
    largest = {"dense": 1 << 40, "default": batch_neighbors.LARGEST_DENSE["cpu"], "cell list": 0}[request.param]
    monkeypatch.setitem(batch_neighbors.LARGEST_DENSE, "cpu", largest)
    return request.param


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("spread", [1.0, 4.0, 40.0])
def test_every_kind_of_cell(name, spread, route):
    structures = [make(name, n, spread=spread) for n in (6, 1, 9)]
    assert_same(batch(structures), reference(structures))


def test_all_kinds_in_one_batch(route):
    structures = [make(name, 1 + k % 8, seed=k) for k, name in enumerate(CELLS)]
    found = batch(structures)
    assert_same(found, reference(structures))
    assert (found.centers.diff() >= 0).all()


def test_a_batch_is_cut_into_chunks_of_bounded_memory(monkeypatch):
    structures = [make(name, 1 + k % 8, seed=k) for k, name in enumerate(list(CELLS) * 3)]
    whole = batch(structures)
    monkeypatch.setitem(batch_neighbors._CHUNK, "cpu", 500)
    sizes = []
    dense = batch_neighbors._dense

    def watched(positions, own_sizes, boxes, cutoff):
        sizes.append((len(own_sizes), int((own_sizes**2 * boxes.n_images).sum())))
        return dense(positions, own_sizes, boxes, cutoff)

    monkeypatch.setattr(batch_neighbors, "_dense", watched)
    assert all(torch.equal(a, b) for a, b in zip(batch(structures), whole, strict=True))
    assert len(sizes) > 5
    assert all(n == 1 or candidates <= 500 for n, candidates in sizes)


def test_large_structures_go_to_the_cell_list(monkeypatch):
    large = make("molecule", 100, spread=8.0)
    small = make("molecule", 5, spread=2.0)
    asked = []
    search = batch_neighbors.find_edges
    monkeypatch.setattr(batch_neighbors, "find_edges", lambda s, cutoff: asked.append(len(s)) or search(s, cutoff))
    structures = [small, large, large, small]
    assert_same(batch(structures), reference(structures))
    assert asked == [100, 100]


def test_atoms_without_neighbors_and_atoms_on_top_of_each_other():
    lone = Structure([18], [[0, 0, 0]])
    assert len(batch([lone, lone]).centers) == 0
    assert batch([lone]).vectors.shape == (0, 3)
    twice = Structure([1, 1], [[1, 2, 3], [1, 2, 3]])
    assert_same(batch([twice]), reference([twice]))
    own_images = Structure([18], [[0.3, 9, -4]], cell=3.0 * np.eye(3), pbc=True)
    found = batch([own_images])
    assert len(found.centers) == 6
    assert not found.centers.any()
    assert not found.neighbors.any()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cutoff=st.floats(0.5, 7.0))
def test_random_cells(seed, cutoff):
    rng = np.random.default_rng(seed)
    structures = []
    for _ in range(4):
        n = int(rng.integers(1, 7))
        cell = rng.normal(0, 0.7, (3, 3)) + np.diag(rng.uniform(2, 9, 3) * rng.choice([-1, 1], 3))
        structures.append(Structure([1] * n, rng.normal(0, 6, (n, 3)), cell=cell, pbc=rng.random(3) < 0.6))
    assert_same(batch(structures, cutoff), reference(structures, cutoff))


def test_moving_atoms_by_lattice_vectors_changes_nothing():
    crystal = make("triclinic", 5)
    steps = np.random.default_rng(0).integers(-3, 4, (5, 3))
    wrapped = crystal.moved(crystal.positions + steps @ crystal.cell)
    assert_same(batch([wrapped]), batch([crystal]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu():
    structures = [make(name, 1 + k % 8, seed=k) for k, name in enumerate(CELLS)]
    found = batch(structures, device="cuda")
    assert found.vectors.device.type == "cuda"
    assert_same([part.cpu() for part in found], reference(structures))
