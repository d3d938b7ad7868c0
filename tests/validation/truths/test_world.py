"""The small world itself: what it says of forces, stress and work is true, and each fault is what it claims to be."""

from itertools import product

import numpy as np
import pytest
from truth_cases import DRIFT, STEP, deepest_hole, power, push_residual
from truth_faults import HEALTHY, BadElement, Hole, NotExtensive, Pushed, StepAtCutoff, Tilted, WrongStressSign
from truth_world import CUTOFF, PairWorld, systems, thermal

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.base import Potential

GRADIENTS = [PairWorld(), PairWorld(HEALTHY), StepAtCutoff(0.3), Hole(3.0), Tilted(0.02)]


def warm(name: str) -> Structure:
    return thermal(name, 500.0, generator(0, "warm", name), n=1)[0]


def forces(potential: Potential, structure: Structure) -> np.ndarray:
    return np.asarray(potential.predict([structure])[0].forces)


def gradient(potential: Potential, structure: Structure, step: float = 1e-4) -> np.ndarray:
    n = 3 * len(structure)
    moves = step * np.concatenate([np.eye(n), -np.eye(n)]).reshape(-1, len(structure), 3)
    energies = [x.energy for x in potential.predict([structure.moved(structure.positions + m) for m in moves])]
    return (np.subtract(*np.split(np.array(energies), 2)) / (2 * step)).reshape(-1, 3)


@pytest.mark.parametrize("name", systems())
@pytest.mark.parametrize("potential", GRADIENTS, ids=lambda p: type(p).__name__)
def test_forces_are_the_gradient_where_they_should_be(potential, name) -> None:
    structure = warm(name)
    np.testing.assert_allclose(forces(potential, structure), -gradient(potential, structure), atol=2e-6)


@pytest.mark.parametrize("potential", GRADIENTS, ids=lambda p: type(p).__name__)
def test_the_stress_is_the_strain_derivative(potential) -> None:
    crystal, step, found = warm("silver"), 1e-5, np.zeros((3, 3))
    for a, b in product(range(3), range(3)):
        strain = np.zeros((3, 3))
        strain[a, b] += step / 2
        strain[b, a] += step / 2
        turns = [np.eye(3) + strain, np.eye(3) - strain]
        moved = [crystal.moved(crystal.positions @ turn, cell=crystal.cell @ turn) for turn in turns]
        up, down = (labels.energy for labels in potential.predict(moved))
        found[a, b] = (up - down) / (2 * step * crystal.volume)
    np.testing.assert_allclose(potential.predict([crystal], ("stress",))[0].stress, found, atol=1e-7)


def test_a_crystal_has_all_its_images_and_a_larger_cell_says_the_same() -> None:
    crystal = warm("silver")
    moved = crystal.positions + np.random.default_rng(0).integers(-2, 3, (8, 3)) @ crystal.cell
    shifts = np.array([[0, 0, 0], [0, 1, 0]]) @ crystal.cell
    double = Structure(
        np.tile(crystal.numbers, 2),
        np.concatenate([crystal.positions + shift for shift in shifts]),
        cell=np.diag([1, 2, 1]) @ crystal.cell,
        pbc=True,
    )
    one, images, two = PairWorld().predict([crystal, crystal.moved(moved), double], ("energy", "forces", "stress"))
    assert images.energy == pytest.approx(one.energy, abs=1e-9)
    assert two.energy == pytest.approx(2 * one.energy, abs=1e-9)
    np.testing.assert_allclose(two.forces, np.tile(one.forces, (2, 1)), atol=1e-10)
    np.testing.assert_allclose(two.stress, one.stress, atol=1e-12)


@pytest.mark.parametrize("name", ["Ge3Se2", "GeBr4"])
def test_the_push_on_a_molecule_does_the_work_that_was_asked_for(name) -> None:
    push = Pushed(DRIFT).push(warm(name))
    mass_weighted = np.abs(push.sum(0)).max()
    assert 0 < np.abs(push).max() < 1e-3
    assert mass_weighted < 1e-12  # it turns, and does not move the center


def test_the_drift_built_in_is_the_one_asked_for() -> None:
    """A warm molecule is a little wider than one at rest, so that the worst system has a little more."""
    assert 1.0 * DRIFT < power(DRIFT, n_replicas=4) < 1.05 * DRIFT


def test_the_push_is_no_gradient_by_what_was_built_in() -> None:
    student = Pushed(DRIFT)
    for name in systems():
        residual = forces(student, warm(name)) + gradient(student, warm(name))
        np.testing.assert_allclose(residual, student.push(warm(name)), atol=2e-6)
    assert push_residual(100 * DRIFT) == pytest.approx(10 * push_residual(DRIFT), rel=1e-9)


def test_the_step_is_as_high_as_built_in_and_the_energy_is_continuous() -> None:
    pair = [Structure([47, 47], [[0, 0, 0], [0, 0, CUTOFF + x]]) for x in (-1e-9, 1e-9)]
    inside, outside = StepAtCutoff(STEP).predict(pair)
    assert outside.forces[1, 2] - inside.forces[1, 2] == pytest.approx(-STEP, abs=1e-6)
    assert inside.energy == pytest.approx(outside.energy, abs=1e-8)


def test_the_hole_is_where_no_frame_is() -> None:
    assert deepest_hole(3.0) > 1.2  # beyond the screening limit of 1 eV
    for name in systems():
        frames = thermal(name, 500.0, generator(1, "frames"), n=200)
        pairs = zip(Hole(3.0).predict(frames), PairWorld(HEALTHY).predict(frames), strict=True)
        assert max(abs(a.energy - b.energy) for a, b in pairs) < 1e-6


def test_other_faults_change_what_they_say_and_nothing_else() -> None:
    wanted = ("energy", "forces", "stress")
    crystal, star = warm("silver"), warm("GeBr4")
    right = PairWorld(HEALTHY).predict([crystal, star], wanted)
    for student in (WrongStressSign(), NotExtensive(2e-3), BadElement(1.3)):
        found = student.predict([crystal, star], wanted)
        for structure, a, b in zip((crystal, star), right, found, strict=True):
            extra = 2e-3 * len(structure) ** 2 if isinstance(student, NotExtensive) else 0.0
            assert b.energy - a.energy == pytest.approx(extra, abs=1e-9)
            scale = 1.3 if isinstance(student, BadElement) else 1.0
            np.testing.assert_allclose(b.forces, a.forces * np.where(structure.numbers == 35, scale, 1.0)[:, None])
        signs = np.sign(found[0].stress * right[0].stress)
        assert (signs < 0).sum() == (2 if isinstance(student, WrongStressSign) else 0)
