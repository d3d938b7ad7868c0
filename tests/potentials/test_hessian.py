"""Products with Hessians: exact and by finite differences, the same through every way to ask for them."""

import ase.build
import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError, PropertyError
from mlff_distiller.potentials.analytic import lennard_jones, morse
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.combination import Committee, WeightedSum
from mlff_distiller.potentials.derivatives import derive, hessian_product
from mlff_distiller.potentials.graph_potential import GraphPotential
from mlff_distiller.potentials.hessian import finite_difference_products, random_directions
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.student import Student
from mlff_distiller.teachers.xtb import XTBPlan

MORSE = morse(depth=4.0, width=1.9, distance=1.2, cutoff=4.0)
STUDENT = StudentPotential(
    Student(PaiNNPlan(preset="ultra-tiny"), {1: -10.7, 6: -49.0, 8: -102.0}, scale=1.4, neighbor_norm=2.8, seed=3).to(
        torch.float64
    )
)


def structures() -> list[Structure]:
    """Return a molecule, a triclinic cell with atoms that see their own images, and a pair without neighbors."""
    rng = np.random.default_rng(0)
    ethanol = from_ase(ase.build.molecule("CH3CH2OH"))
    cell = np.array([[3.4, 0.0, 0.0], [0.7, 3.1, 0.0], [-0.4, 0.9, 3.8]])
    crystal = Structure([6, 8, 1], [[0, 0, 0], [1.4, 1.2, 0.3], [0.2, 1.6, 2.1]], cell=cell, pbc=True)
    apart = Structure([1, 1], [[0, 0, 0], [0, 0, 9.0]])
    return [ethanol.moved(ethanol.positions + rng.normal(0, 0.05, (9, 3))), crystal, apart]


def directions(count: int = 3) -> list[np.ndarray]:
    return [random_directions(len(s), count, seed=0, number=k) for k, s in enumerate(structures())]


def by_differences(potential: Potential, step: float) -> list[np.ndarray]:
    def forces(moved):
        return [labels.forces for labels in potential.predict(moved, ("forces",))]

    return finite_difference_products(forces, structures(), directions(), step=step)


def whole_hessian(potential: Potential, structure: Structure, step: float) -> np.ndarray:
    """Return the Hessian (3 N, 3 N), each coordinate displaced by itself, to fourth order in the step."""
    n, rows = len(structure), []
    for coordinate in range(3 * n):
        unit = np.zeros(3 * n)
        unit[coordinate] = step
        moved = [structure.moved(structure.positions + k * unit.reshape(n, 3)) for k in (-2, -1, 1, 2)]
        a, b, c, d = (labels.forces.ravel() for labels in potential.predict(moved, ("forces",)))
        rows.append(-(a - 8 * b + 8 * c - d) / (12 * step))
    return np.array(rows)


@pytest.mark.parametrize("potential", [MORSE, STUDENT], ids=["morse", "student"])
def test_exact_products_are_those_of_finite_differences(potential):
    exact = potential.hessian_products(structures(), directions())
    coarse, fine = (by_differences(potential, step) for step in (4e-4, 2e-4))
    for one, far, near in zip(exact, coarse, fine, strict=True):
        assert one.shape == near.shape
        np.testing.assert_allclose(one, (4 * near - far) / 3, atol=2e-6)
    error, smaller = (np.abs(found[0] - exact[0]).max() for found in (coarse, fine))
    assert error / smaller == pytest.approx(4, rel=0.02)
    assert np.abs(exact[0]).max() > 1
    assert np.abs(exact[1]).max() > 0.1
    assert not exact[2].any()


@pytest.mark.parametrize("potential", [MORSE, STUDENT], ids=["morse", "student"])
def test_the_hessian_is_symmetric(potential):
    for structure, along in zip(structures(), directions(), strict=True):
        (products,) = potential.hessian_products([structure], [along])
        scalars = np.einsum("nkx,nlx->kl", along, products)
        np.testing.assert_allclose(scalars, scalars.T, atol=1e-9)


@pytest.mark.parametrize("potential", [MORSE, STUDENT], ids=["morse", "student"])
def test_translation_and_nothing_else_costs_nothing(potential):
    shifts = [np.broadcast_to(np.eye(3), (len(s), 3, 3)) for s in structures()]
    for products in potential.hessian_products(structures(), shifts):
        np.testing.assert_allclose(products, 0, atol=1e-9)


def test_products_turn_with_the_molecule():
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    molecule, along = structures()[0], directions()[0]
    (products,) = MORSE.hessian_products([molecule], [along])
    turned = molecule.moved(molecule.positions @ rotation)
    np.testing.assert_allclose(MORSE.hessian_products([turned], [along @ rotation])[0], products @ rotation, atol=1e-9)


def test_products_are_columns_of_the_whole_hessian():
    water = from_ase(ase.build.molecule("H2O"))
    along = random_directions(3, 4, seed=0, number=0)
    for potential, step in ((MORSE, 1e-3), (XTBPlan().build(), 4e-3)):
        hessian = whole_hessian(potential, water, step)
        expected = np.einsum("ij,jk->ik", hessian, along.transpose(0, 2, 1).reshape(9, 4))
        (found,) = potential.hessian_products([water], [along])
        error = np.abs(found.transpose(0, 2, 1).reshape(9, 4) - expected).max()
        assert error < 5e-4 * np.abs(expected).max()


def test_batches_of_any_size_give_the_same():
    expected = MORSE.hessian_products(structures(), directions())
    small = morse(depth=4.0, width=1.9, distance=1.2, cutoff=4.0)
    small.batching = Batching(1)
    for one, other in zip(small.hessian_products(structures(), directions()), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)
    assert MORSE.hessian_products([], []) == []


def test_sums_and_committees_combine_the_products_of_their_parts():
    other = lennard_jones(epsilon=0.1, sigma=1.0, cutoff=4.0)
    one, two = (part.hessian_products(structures(), directions()) for part in (MORSE, other))
    difference = WeightedSum([MORSE, other], [1, -1]).hessian_products(structures(), directions())
    mean = Committee([MORSE, other]).hessian_products(structures(), directions())
    for k in range(3):
        np.testing.assert_allclose(difference[k], one[k] - two[k], atol=1e-9)
        np.testing.assert_allclose(mean[k], (one[k] + two[k]) / 2, atol=1e-9)


def test_the_process_of_a_teacher_gives_the_same():
    there, here = XTBPlan().build(own_process=True), XTBPlan().build()
    water = from_ase(ase.build.molecule("H2O"))
    cell = Structure(water.numbers, water.positions, cell=[[4.5, 0, 0], [0.3, 4.6, 0], [0, 0.1, 4.7]], pbc=True)
    along = [random_directions(3, 2, seed=0, number=k) for k in range(2)]
    pairs = zip(there.hessian_products([water, cell], along), here.hessian_products([water, cell], along), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert there.hessian_products([], []) == []
    there.close()


def test_training_on_products_gives_the_right_gradients():
    """The derivative with respect to a parameter, against the difference of two products."""
    graph = Graph.from_structures(structures()[:1], 4.0, dtype=torch.float64)
    along = torch.from_numpy(directions()[0])

    def energies(width):
        def function(graph):
            r = torch.linalg.vector_norm(graph.vectors, dim=-1)
            pair = (1 - torch.exp(-width * (r - 1.2))) ** 2
            return pair.new_zeros(graph.n_atoms).index_add(0, graph.centers, pair)

        return function

    def loss(width):
        return hessian_product(energies(width), graph, along, create_graph=True).square().sum()

    width = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(width), width)
    change = (loss(width + 1e-5) - loss(width - 1e-5)) / 2e-5
    torch.testing.assert_close(gradient, change.detach(), rtol=1e-6, atol=0)


def test_one_evaluation_gives_everything():
    graph = Graph.from_structures(structures(), 4.0, dtype=torch.float64)
    along = torch.from_numpy(np.concatenate(directions()))
    alone, beside = (derive(MORSE.atomic_energies, graph, ("forces", "stress"), directions=d) for d in (None, along))
    for name in ("energy", "forces", "virial"):
        assert torch.equal(getattr(alone, name), getattr(beside, name))
        assert not getattr(beside, name).requires_grad
    assert not beside.hessian_products.requires_grad
    torch.testing.assert_close(beside.hessian_products, hessian_product(MORSE.atomic_energies, graph, along))


def test_no_edges_and_no_directions():
    alone = Structure([2], [[0, 0, 0]])
    (none,) = MORSE.hessian_products([alone], [np.ones((1, 2, 3))])
    assert none.tolist() == np.zeros((1, 2, 3)).tolist()
    pair = Structure([1, 1], [[0, 0, 0], [0, 0, 1]])
    assert MORSE.hessian_products([pair], [np.zeros((2, 0, 3))])[0].shape == (2, 0, 3)
    assert Potential.hessian_products(MORSE, [pair], [np.zeros((2, 0, 3))])[0].shape == (2, 0, 3)


def test_the_products_can_be_traced():
    graph = Graph.from_structures(structures()[:1], 4.0, dtype=torch.float64)

    def function(vectors, along):
        return hessian_product(STUDENT.atomic_energies, graph.with_vectors(vectors), along, create_graph=True)

    along = torch.from_numpy(directions()[0])
    traced = make_fx(function)(graph.vectors, along)
    torch.testing.assert_close(traced(graph.vectors, along), function(graph.vectors, along))


def test_directions_depend_on_seed_and_number_alone():
    drawn = random_directions(5, 4, seed=1, number=7)
    assert np.array_equal(drawn, random_directions(5, 4, seed=1, number=7))
    assert not np.array_equal(drawn, random_directions(5, 4, seed=1, number=8))
    assert not np.array_equal(drawn, random_directions(5, 4, seed=2, number=7))
    np.testing.assert_allclose(drawn.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(drawn.transpose(1, 0, 2).reshape(4, 15), axis=1), np.sqrt(15))
    assert not random_directions(1, 2, seed=0, number=0).any()


def test_the_structure_that_fails_is_named():
    def fails_at(index):
        def forces(moved):
            raise PredictionError(index, "no convergence", "twice")

        return forces

    for index, own in ((0, 0), (5, 0), (6, 1), (17, 2)):
        with pytest.raises(PredictionError, match=f"structure {own} of the batch") as caught:
            finite_difference_products(fails_at(index), structures(), directions())
        assert caught.value.detail == "twice"


def test_a_potential_without_forces_says_so():
    class EnergyOnly(GraphPotential):
        properties = frozenset({"energy"})

    mute = EnergyOnly(MORSE.atomic_energies, cutoff=4.0, elements=range(1, 10), identity=MORSE.identity)
    for ask in (mute.hessian_products, lambda *asked: Potential.hessian_products(mute, *asked)):
        with pytest.raises(PropertyError, match="cannot give forces"):
            ask(structures(), directions())
