"""Neighbor lists of nvalchemi-toolkit-ops, which runs on a CPU too, against our own."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff_distiller.atoms import device_neighbors
from mlff_distiller.atoms.batch_neighbors import find_batch_edges
from mlff_distiller.atoms.device_neighbors import DeviceGraphs, cell_list_edges, find_device_edges
from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import StructureError

TRICLINIC, FLAT = [[3.0, 0, 0], [1.5, 3, 0], [0.5, 1, 2.5]], [[2.0, 0, 0], [7, 3, 0], [1, -5, 4]]
CELLS = np.array([np.zeros((3, 3)), np.eye(3) * 3, TRICLINIC, np.eye(3) * 12, FLAT])


@pytest.fixture
def package() -> None:
    pytest.importorskip("nvalchemiops", reason="nvalchemi-toolkit-ops (extra 'gpu') is not installed")


def sorted_rows(edges) -> np.ndarray:
    columns = (edges.centers[:, None], edges.neighbors[:, None], edges.vectors)
    rows = np.round(np.concatenate([column.cpu() for column in columns], axis=1), 6) + 0.0
    return rows[np.lexsort(rows.T[::-1])]


def assert_same(positions, sizes, **box) -> None:
    positions = torch.as_tensor(positions, dtype=torch.float64)
    found, wanted = (find(positions, sizes, **box) for find in (cell_list_edges, find_batch_edges))
    assert found.vectors.dtype == torch.float64
    assert found.centers.dtype == found.neighbors.dtype == torch.int64
    assert (found.centers.diff() >= 0).all()
    np.testing.assert_allclose(sorted_rows(found), sorted_rows(wanted), atol=2e-6)


@pytest.mark.usefixtures("package")
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.sampled_from([1, 2, 5, 17]), min_size=1, max_size=4))
def test_same_pairs_for_any_batch(seed, sizes):
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, len(CELLS), len(sizes))
    pbc = rng.integers(0, 2, (len(sizes), 3)).astype(bool) & (kinds > 0)[:, None]
    positions = rng.uniform(-8, 8, (sum(sizes), 3))  # far outside of most cells
    assert_same(positions, np.array(sizes), cells=CELLS[kinds], pbc=pbc, cutoff=5.0)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, False, False)])
def test_same_pairs_for_a_large_structure(pbc):
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(10.0)] * 3), axis=-1).reshape(-1, 3) * 2.3
    assert_same(
        grid + rng.normal(0, 0.2, grid.shape), np.array([1000]), cells=23.0 * np.eye(3)[None], pbc=[pbc], cutoff=5.0
    )


@pytest.mark.usefixtures("package")
def test_denser_than_expected():
    positions = np.random.default_rng(0).uniform(0, 2, (400, 3))
    edges = cell_list_edges(torch.from_numpy(positions), np.array([400]), cells=CELLS[:1], pbc=[[0, 0, 0]], cutoff=5.0)
    assert len(edges.centers) == 400 * 399


@pytest.mark.usefixtures("package")
def test_refuses_what_no_list_can_hold():
    far = torch.tensor([[0, 0, 0], [0, 0, 1e6]], dtype=torch.float64)
    with pytest.raises(StructureError, match="span more than"):
        cell_list_edges(far, np.array([2]), cells=CELLS[:1], pbc=[[0, 0, 0]], cutoff=5.0)


def test_does_without_the_package_and_on_a_cpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "nvalchemiops", None)
    pair = torch.tensor([[0, 0, 0], [0, 0, 0.7]], dtype=torch.float64)
    edges = find_device_edges(pair, np.array([2]), cells=CELLS[:1], pbc=[[0, 0, 0]], cutoff=5.0)
    assert edges.vectors.tolist() == [[0, 0, 0.7], [0, 0, -0.7]]


@pytest.mark.gpu
@pytest.mark.usefixtures("package")
def test_pairs_stay_on_the_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    positions = torch.from_numpy(np.random.default_rng(0).uniform(0, 12, (150, 3)))
    box = {"cells": CELLS[[3, 0]], "pbc": [[1, 1, 1], [0, 0, 0]], "cutoff": 5.0}
    found = find_device_edges(positions.cuda(), np.array([100, 50]), **box)
    assert found.vectors.is_cuda
    assert device_neighbors.is_installed()
    wanted = find_batch_edges(positions, np.array([100, 50]), **box)
    np.testing.assert_allclose(sorted_rows(found), sorted_rows(wanted), atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_graphs_of_a_device_are_those_of_the_structures(dtype):
    rng = np.random.default_rng(3)
    structures = [
        Structure([1, 8, 1], rng.normal(size=(3, 3))),
        Structure([6], [[0, 0, 0]]),
        Structure([6, 1], rng.normal(size=(2, 3)), cell=TRICLINIC, pbc=[True] * 3),
        Structure([6, 1], rng.normal(size=(2, 3)), cell=np.eye(3) * 3, pbc=[True, False, True]),
    ]
    found = DeviceGraphs(4.0, dtype=dtype, device="cpu").graph(structures)
    wanted = Graph.from_structures(structures, 4.0, dtype=dtype)
    assert found.vectors.dtype == dtype
    assert found.n_systems == len(structures)
    for name in ("numbers", "system"):
        assert torch.equal(getattr(found, name), getattr(wanted, name))
    np.testing.assert_allclose(sorted_rows(found), sorted_rows(wanted), atol=2e-6)
