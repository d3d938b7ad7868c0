"""Every student must be a proper force field, trained or not: these hold by construction, so random weights do."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PlanError
from mlff_distiller.potentials.derivatives import derive
from mlff_distiller.students.painn.plan import PRESETS, PaiNNPlan
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.student import Student

REFERENCES = {1: -10.7, 6: -49.0, 7: -71.0, 8: -102.0}
BUDGETS = {"original": 427_292, "tiny": 77_203, "ultra-tiny": 21_459}
ETHANOL = Structure(
    [6, 6, 8, 1, 1, 1, 1, 1, 1],
    [
        [1.17, -0.40, 0.0],
        [0.0, 0.55, 0.0],
        [-1.19, -0.21, 0.0],
        [-1.94, 0.38, 0.0],
        [2.11, 0.16, 0.0],
        [1.13, -1.04, 0.88],
        [1.13, -1.04, -0.88],
        [0.03, 1.19, 0.89],
        [0.03, 1.19, -0.89],
    ],
)


def student(preset: str = "ultra-tiny", dtype: torch.dtype = torch.float64, **settings) -> Student:
    plan = PaiNNPlan(preset=preset, **settings)
    return Student(plan, REFERENCES, scale=1.4, neighbor_norm=2.8, seed=3).to(dtype)


def small_cell(seed: int = 0) -> Structure:
    """A triclinic cell whose height is well below twice the cutoff, with atoms outside of it."""
    rng = np.random.default_rng(seed)
    cell = np.array([[3.4, 0.0, 0.0], [0.7, 3.1, 0.0], [-0.4, 0.9, 3.8]])
    return Structure([6, 8, 1, 1], rng.uniform(-1, 2, (4, 3)) @ cell, cell=cell, pbc=True)


@pytest.fixture(params=sorted(PRESETS))
def potential(request) -> StudentPotential:
    return StudentPotential(student(request.param))


@pytest.mark.parametrize(("preset", "budget"), BUDGETS.items())
def test_presets_keep_within_the_budget_for_ten_elements(preset, budget):
    ten = dict.fromkeys((1, 5, 6, 7, 8, 9, 15, 16, 17, 35), 0.0)
    assert 0.85 * budget < Student(PaiNNPlan(preset=preset), ten).n_parameters <= budget


def test_every_parameter_matters():
    model = student("tiny")
    graph = Graph.from_structures([ETHANOL], model.cutoff, dtype=torch.float64)
    gradients = torch.autograd.grad(model(graph).sum(), list(model.parameters()))
    used = [(g != 0).double().mean().item() for g in gradients if g.numel() > 1]
    assert min(used) > 0.5  # embeddings of the element that ethanol lacks are the rest


def test_forces_are_the_gradient_of_the_energy(potential):
    for structure in (ETHANOL, small_cell()):
        forces = potential.predict([structure])[0].forces
        for atom, axis in ((0, 0), (2, 1), (3, 2)):
            step = np.zeros_like(structure.positions)
            step[atom, axis] = 2e-5
            up, down = potential.predict([structure.moved(structure.positions + s) for s in (step, -step)])
            assert forces[atom, axis] == pytest.approx(-(up.energy - down.energy) / 4e-5, rel=1e-6, abs=1e-6)


def test_stress_is_the_strain_derivative(potential):
    structure = small_cell()
    stress = potential.predict([structure], {"stress"})[0].stress
    for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)):
        strain = np.zeros((3, 3))
        strain[a, b] = strain[b, a] = 1e-5 if a == b else 5e-6
        energies = []
        for sign in (1, -1):
            deform = np.eye(3) + sign * strain
            strained = structure.moved(structure.positions @ deform.T, cell=structure.cell @ deform.T)
            energies.append(potential.predict([strained], {"energy"})[0].energy)
        assert stress[a, b] == pytest.approx((energies[0] - energies[1]) / 2e-5 / structure.volume, abs=1e-7)


def test_stress_of_a_molecule_is_absent_not_zero(potential):
    assert potential.predict([ETHANOL], {"energy", "stress"})[0].present == ("energy",)


def test_rotation_turns_forces_and_leaves_energy(potential):
    rotation = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    still, turned = potential.predict([ETHANOL, ETHANOL.moved(ETHANOL.positions @ rotation.T + 5.0)])
    assert turned.energy == pytest.approx(still.energy, abs=1e-10)
    np.testing.assert_allclose(turned.forces, still.forces @ rotation.T, atol=1e-10)


def test_mirror_images_have_the_same_energy(potential):
    mirror = np.diag([1.0, 1.0, -1.0])
    left, right = potential.predict(
        [small_cell(), small_cell().moved(small_cell().positions @ mirror, cell=small_cell().cell @ mirror)]
    )
    assert left.energy == pytest.approx(right.energy, abs=1e-10)


def test_order_of_atoms_does_not_matter(potential):
    order = np.random.default_rng(0).permutation(len(ETHANOL))
    shuffled = Structure(ETHANOL.numbers[order], ETHANOL.positions[order])
    here, there = potential.predict([ETHANOL, shuffled])
    assert there.energy == pytest.approx(here.energy, abs=1e-10)
    np.testing.assert_allclose(there.forces, here.forces[order], atol=1e-10)


def test_supercell_is_extensive(potential):
    unit = small_cell()
    shifts = np.array([[i, j, k] for i in range(2) for j in range(3) for k in range(2)]) @ unit.cell
    positions = np.concatenate([unit.positions + shift for shift in shifts])
    big = Structure(np.tile(unit.numbers, 12), positions, cell=unit.cell * [[2], [3], [2]], pbc=True)
    one, many = potential.predict([unit, big], {"energy", "forces", "stress"})
    assert many.energy == pytest.approx(12 * one.energy, abs=1e-8)
    np.testing.assert_allclose(many.forces, np.tile(one.forces, (12, 1)), atol=1e-9)
    np.testing.assert_allclose(many.stress, one.stress, atol=1e-10)


def test_wrapping_atoms_into_the_cell_changes_nothing(potential):
    cell = small_cell()
    wrapped = cell.moved((np.linalg.solve(cell.cell.T, cell.positions.T).T % 1) @ cell.cell)
    out, inside = potential.predict([cell, wrapped])
    assert inside.energy == pytest.approx(out.energy, abs=1e-9)


def test_far_fragments_add_up(potential):
    far = Structure(np.tile(ETHANOL.numbers, 2), np.concatenate([ETHANOL.positions, ETHANOL.positions + 40.0]))
    one, two = potential.predict([ETHANOL, far], {"energy"})
    assert two.energy == pytest.approx(2 * one.energy, abs=1e-10)


def test_isolated_atom_feels_no_force(potential):
    labels = potential.predict([Structure([8], [[1.0, 2.0, 3.0]])], {"energy", "forces", "atomic_energies"})[0]
    assert not labels.forces.any()
    assert math.isfinite(labels.energy)
    assert labels.atomic_energies.sum() == labels.energy


def test_energy_is_smooth_through_the_cutoff(potential):
    cutoff = potential.cutoff
    distances = cutoff + np.array([-2e-3, -1e-3, 0.0, 1e-3, 2e-3])
    labels = potential.predict([Structure([6, 8], [[0, 0, 0], [0, 0, d]]) for d in distances])
    energies = np.array([label.energy for label in labels])
    forces = np.array([label.forces[1, 2] for label in labels])
    assert np.ptp(energies) < 1e-8
    assert np.abs(forces).max() < 1e-5
    assert np.abs(np.diff(forces) / 1e-3).max() < 1e-2  # the second derivative, too, goes to zero


def test_batch_equals_single_in_any_company(potential):
    together = potential.predict(
        [small_cell(1), ETHANOL, Structure([1], [[0, 0, 0]]), small_cell(2)], {"energy", "forces", "stress"}
    )
    alone = [potential.predict([s], {"energy", "forces", "stress"})[0] for s in (small_cell(1), ETHANOL)]
    for one, other in zip(alone, together, strict=False):
        assert one.energy == pytest.approx(other.energy, abs=1e-11)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-11)
    assert together[1].stress is None
    assert potential.predict([]) == []


def test_float32_agrees_with_float64():
    exact, fast = StudentPotential(student("tiny")), StudentPotential(student("tiny", torch.float32))
    structures = [ETHANOL, small_cell()]
    for a, b in zip(exact.predict(structures), fast.predict(structures), strict=True):
        assert b.energy == pytest.approx(a.energy, abs=2e-5)
        np.testing.assert_allclose(b.forces, a.forces, atol=2e-5)


def test_float32_keeps_the_digits_of_large_energies():
    model = student("tiny", torch.float32)
    model.reference.energies += 1e5
    assert model.double().float().reference.energies.dtype == torch.float64
    water = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    moved = water.moved(water.positions + np.array([[0, 0, 0], [1e-3, 0, 0], [0, 0, 0]]))
    near, far = StudentPotential(model).predict([water, moved])
    assert far.energy - near.energy == pytest.approx(-near.forces[1, 0] * 1e-3, rel=0.05)


def test_training_gradients_match_finite_differences():
    """Forces in the loss need second derivatives; a wrong one trains to a wrong student without a sound."""
    model = student("ultra-tiny", n_channels=8)
    graph = Graph.from_structures([ETHANOL, small_cell()], model.cutoff, dtype=torch.float64)

    def loss() -> torch.Tensor:
        derived = derive(model, graph, {"energy", "forces", "stress"}, create_graph=True)
        return derived.forces.square().sum() + derived.virial.square().sum() + derived.energy.square().sum() * 1e-3

    names = dict(model.named_parameters())
    gradients = dict(zip(names, torch.autograd.grad(loss(), list(names.values())), strict=True))
    for name, parameter in names.items():
        index = int(gradients[name].abs().argmax())
        flat = parameter.data.view(-1)
        kept, values = float(flat[index]), []
        for step in (1e-5, -1e-5):
            flat[index] = kept + step
            values.append(float(loss().detach()))
        flat[index] = kept
        expected = (values[0] - values[1]) / 2e-5
        assert float(gradients[name].view(-1)[index]) == pytest.approx(expected, rel=1e-4, abs=1e-6), name


def test_weights_depend_on_the_seed_and_leave_the_global_state_alone():
    before = torch.get_rng_state()
    one, same = (Student(PaiNNPlan(preset="tiny"), REFERENCES, seed=5) for _ in range(2))
    other = Student(PaiNNPlan(preset="tiny"), REFERENCES, seed=6)
    assert torch.equal(before, torch.get_rng_state())
    weights = [list(m.parameters())[-2] for m in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_preset_that_is_no_word_is_one_sentence():
    with pytest.raises(PlanError, match="preset"):
        PaiNNPlan.parse({"preset": ["tiny"]}, where="test")
