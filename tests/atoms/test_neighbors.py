"""Neighbor lists against brute force over images."""

import itertools

import numpy as np
import pytest

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.neighbors import find_edges
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import StructureError

CELLS = {
    "molecule": (np.zeros((3, 3)), (False, False, False)),
    "small cubic": (np.eye(3) * 1.9, (True, True, True)),
    "triclinic": (np.array([[2.6, 0, 0], [1.1, 2.4, 0], [-0.9, 0.7, 3.3]]), (True, True, True)),
    "slab": (np.diag([2.5, 2.7, 0.0]), (True, True, False)),
    "wire": (np.diag([0.0, 0.0, 2.2]), (False, False, True)),
    "left handed": (np.diag([3.0, 3.1, -2.9]), (True, True, True)),
}


def brute_force(structure: Structure, cutoff: float) -> list[tuple]:
    ranges = [range(-4, 5) if p else range(1) for p in structure.pbc]
    found = []
    for i, j in itertools.product(range(len(structure)), repeat=2):
        for shift in itertools.product(*ranges):
            vector = structure.positions[j] + np.array(shift) @ structure.cell - structure.positions[i]
            if (i != j or any(shift)) and np.linalg.norm(vector) < cutoff:
                found.append((i, j, *np.round(vector, 6) + 0.0))
    return sorted(found)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_agrees_with_brute_force(name, spread):
    cell, pbc = CELLS[name]
    positions = np.random.default_rng(7).uniform(-spread, spread, (6, 3))
    structure = Structure([1] * 6, positions, cell=cell, pbc=pbc)
    edges = find_edges(structure, 4.0)
    found = sorted(
        (int(i), int(j), *np.round(v, 6) + 0.0)
        for i, j, v in zip(edges.centers, edges.neighbors, edges.vectors, strict=True)
    )
    assert found == brute_force(structure, 4.0)
    assert (np.diff(edges.centers) >= 0).all()


def test_graph_keeps_structures_apart():
    pair = Structure([1, 8], [[0, 0, 0], [0, 0, 1]])
    lone = Structure([6], [[0, 0, 0]])
    graph = Graph.from_structures([pair, lone, pair], cutoff=3.0)
    assert graph.n_systems == 3
    assert graph.n_atoms == 5
    assert graph.system.tolist() == [0, 0, 1, 2, 2]
    assert graph.centers.tolist() == [0, 1, 3, 4]
    assert (graph.system[graph.centers] == graph.system[graph.neighbors]).all()


def test_atoms_too_far_apart_are_refused_instead_of_ending_the_process():
    far = Structure([1, 1], [[0, 0, 0], [5e5, 0, 0]])
    with pytest.raises(StructureError, match="span more than 100,000 Angstrom"):
        find_edges(far, 2.0)
    assert len(find_edges(Structure([1, 1], [[0, 0, 0], [9e4, 0, 0]]), 2.0)) == 0
