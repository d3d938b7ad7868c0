"""The descriptor: what must not change it, what must, and an independent definition."""

import ase.build
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.neighbors import find_edges
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.blocks import blocks
from mlff_distiller.data.columns import pack
from mlff_distiller.data.similarity.descriptors import RadialDescriptor, _element_vectors, embed, nearest_distances

PLAN = RadialDescriptor(cutoff=4.5, n_radial=9)


def described(*structures):
    return PLAN.describe(pack(range(len(structures)), structures)).astype(np.float64)


def molecule(name="CH3CH2OH"):
    return from_ase(ase.build.molecule(name))


def crystal(seed=0):
    rng = np.random.default_rng(seed)
    cell = np.array([[3.4, 0.0, 0.0], [0.7, 3.1, 0.0], [-0.4, 0.9, 3.8]])
    return Structure([6, 8, 1, 1], rng.uniform(-1, 2, (4, 3)) @ cell, cell=cell, pbc=True)


def slab():
    return Structure([14, 8], [[0, 0, 0], [1.2, 0.3, 1.1]], cell=[[3, 0, 0], [0.5, 3.2, 0], [0, 0, 0]], pbc=[1, 1, 0])


def cut_from(structure, matrix, order=None, shift=0.0):
    order = np.arange(len(structure)) if order is None else order
    positions = (structure.positions @ matrix + shift)[order]
    return Structure(structure.numbers[order], positions, cell=structure.cell @ matrix, pbc=structure.pbc)


@pytest.mark.parametrize("structure", [molecule(), crystal(), slab()], ids=["molecule", "crystal", "slab"])
@pytest.mark.parametrize("reflect", [1, -1])
def test_rotation_reflection_translation_and_order_change_nothing(structure, reflect):
    rng = np.random.default_rng(1)
    matrix = reflect * Rotation.random(rng=rng).as_matrix()
    other = cut_from(structure, matrix, rng.permutation(len(structure)), rng.normal(size=3))
    first, second = described(structure, other)
    np.testing.assert_allclose(first, second, atol=2e-6)
    assert np.abs(first).max() > 0.1


def test_images_cells_and_supercells_change_nothing():
    structure = crystal()
    moved = structure.positions + np.array([[1, 0, -2], [0, 3, 0], [0, 0, 0], [-1, 1, 1]]) @ structure.cell
    sheared = np.array([[1, 0, 0], [1, 1, 0], [0, -2, 1]]) @ structure.cell
    atoms = ase.Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=True)
    others = [
        Structure(structure.numbers, moved, cell=structure.cell, pbc=True),
        Structure(structure.numbers, structure.positions, cell=sheared, pbc=True),
        from_ase(atoms.repeat((2, 1, 3))),
    ]
    found = described(structure, *others)
    np.testing.assert_allclose(found[1:], np.broadcast_to(found[0], found[1:].shape), atol=3e-6)


@pytest.mark.parametrize("structure", [molecule(), crystal(), slab()], ids=["molecule", "crystal", "slab"])
def test_it_is_the_mean_over_pairs_of_its_definition(structure):
    vectors = _element_vectors()[structure.numbers].astype(np.float64)
    centers = np.linspace(0.5, PLAN.cutoff, PLAN.n_radial)
    total = np.zeros((4, 4, PLAN.n_radial))
    edges = find_edges(structure, PLAN.cutoff)
    for i, j, vector in zip(edges.centers, edges.neighbors, edges.vectors, strict=True):
        r = np.linalg.norm(vector)
        radial = (
            np.exp(-0.5 * ((r - centers) / (centers[1] - centers[0])) ** 2) * np.cos(np.pi * r / PLAN.cutoff / 2) ** 2
        )
        total += np.einsum("a,b,k->abk", vectors[i], vectors[j], radial) / len(structure)
    expected = [total[a, b] * (1 if a == b else np.sqrt(2)) for a in range(4) for b in range(a, 4)]
    expected = np.concatenate([np.ravel(expected), vectors.mean(0)])
    np.testing.assert_allclose(described(structure)[0], expected, atol=3e-6)


def test_atoms_are_described_by_their_surroundings():
    ethane = pack([0], [molecule("C2H6")])
    atoms = PLAN.describe_atoms(ethane)
    assert atoms.shape == (8, 4 + 4 * 9)
    assert np.abs(atoms[0] - atoms[1]).max() < 1e-5  # the two carbons
    assert np.abs(atoms[0] - atoms[2]).max() > 0.1


def test_it_is_smooth_where_a_neighbor_leaves():
    pairs = [Structure([1, 8], [[0, 0, 0], [0, 0, d]]) for d in PLAN.cutoff + np.array([-1e-3, 1e-3])]
    near, far = described(*pairs)
    assert np.abs(near - far).max() < 1e-5
    assert not far[:-4].any()


def test_conformers_isomers_and_rattled_copies_differ_and_more_so_the_larger_the_change():
    rng = np.random.default_rng(0)
    start = molecule("trans-butane")
    move = rng.normal(size=start.positions.shape)
    rattled = [start.moved(start.positions + step * move) for step in (0, 0.01, 0.05, 0.2)]
    found = described(*rattled, molecule("isobutane"))
    distances = np.linalg.norm(found - found[0], axis=1)
    assert (np.diff(distances) > 1e-3).all()


def test_elements_that_meet_often_are_orthogonal_and_all_are_different():
    vectors = _element_vectors()
    np.testing.assert_allclose(vectors[[1, 6, 7, 8]] @ vectors[[1, 6, 7, 8]].T, np.eye(4), atol=1e-6)
    cosines = vectors[1:] @ vectors[1:].T
    assert np.abs(cosines - np.eye(118)).max() < 0.9999


def test_embedding_in_blocks_is_the_same_as_at_once():
    structures = [crystal(k) for k in range(7)] + [molecule()] * 3
    columns = pack(range(10), structures)
    np.testing.assert_allclose(embed(columns, PLAN), described(*structures), atol=1e-6)
    parts = [PLAN.describe(block) for _, block in blocks(columns, max_atoms=5)]
    np.testing.assert_allclose(np.concatenate(parts), described(*structures), atol=1e-6)
    assert len(parts) == 10


def test_nothing_to_describe_is_one_sentence():
    with pytest.raises(DataError, match="no structures to describe"):
        embed(pack([], []))


def test_nearest_distances_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    points, queries = (rng.normal(100, 1, (n, 5)).astype(np.float32) for n in (40, 11))
    expected = [min(np.linalg.norm(q - p) for p in points) for q in queries]
    np.testing.assert_allclose(nearest_distances(queries, points), expected, rtol=1e-5)
    itself = nearest_distances(points[:5], points, itself=np.arange(5))
    assert (itself > 0).all()
    assert not nearest_distances(points[:5], points).any()
