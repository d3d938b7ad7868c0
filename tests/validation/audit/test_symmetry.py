"""Symmetry: each broken symmetry is found, at its size, and the others are not blamed for it."""

from dataclasses import replace

import numpy as np
import pytest

from mlff_distiller.validation.audit.symmetry import THEME
from mlff_distiller.validation.surface.symmetry import random_rotation

KINDS = ("rotation", "reflection", "translation", "permutation")


def failed(result, tools):
    return {kind for kind in KINDS if tools.outcome(result, f"{kind}_force_spread") == "FAIL"}


def test_an_invariant_potential_passes(ethanols, tools):
    result = tools.run(THEME, tools.exact(), ethanols)
    assert result.outcome == "PASS"
    assert tools.value(result, "rotation_force_spread") < 1e-9


def test_a_direction_in_space_is_found_at_its_size(ethanols, tools, planted):
    by_number = {6: 0.0, 8: 0.6, 1: -0.1}  # neutral, and by element: place and order do not matter

    def of(structure, labels):
        q = np.array([by_number[z] for z in structure.numbers])
        q = q - q.mean()
        force = q[:, None] * np.array([0.0, 0.0, 0.5])
        return replace(
            labels, energy=labels.energy - float((force * structure.positions).sum()), forces=labels.forces + force
        )

    result = tools.run(THEME, planted(tools.exact(), of), ethanols, n_rotations=40)
    q = np.array([by_number[z] for z in ethanols[0].numbers])
    q = q - q.mean()
    assert tools.value(result, "rotation_force_spread") == pytest.approx(0.5 * np.sqrt((q**2).mean() / 3), rel=0.1)
    assert failed(result, tools) == {"rotation"}
    assert "turning a structure" in result.sentence.lower()


def test_handedness_is_found_at_its_size(ethanols, tools, planted):
    """A signed volume of the four atoms nearest the oxygen, by distance: turns with the molecule, flips in a mirror."""

    def volume(structure):
        x = structure.positions
        oxygen = x[structure.numbers == 8][0]
        a, b, c = np.argsort(np.linalg.norm(x - oxygen, axis=1))[1:4]
        one, two, three = x[a] - oxygen, x[b] - oxygen, x[c] - oxygen
        forces = np.zeros_like(x)
        gradients = {a: np.cross(two, three), b: np.cross(three, one), c: np.cross(one, two)}
        for atom, gradient in gradients.items():
            forces[atom] -= gradient
            forces[structure.numbers == 8] += gradient
        return float(one @ np.cross(two, three)), forces

    def chiral(structure, labels):
        energy, forces = volume(structure)
        return replace(labels, energy=labels.energy + 0.2 * energy, forces=labels.forces + 0.2 * forces)

    result = tools.run(THEME, planted(tools.exact(), chiral), ethanols)
    true = np.sqrt(np.mean([(0.2 * volume(s)[1]) ** 2 for s in ethanols]))
    assert tools.value(result, "reflection_force_spread") == pytest.approx(true, rel=0.01)
    assert failed(result, tools) == {"reflection"}


def test_a_place_in_space_is_found_at_its_size(ethanols, tools, planted):
    """A spring that holds the center at the origin: turning about the center changes nothing, moving does."""
    k = 0.2
    spring = tools.adding(
        lambda x: 0.5 * k * float((x.mean(0) ** 2).sum()), lambda x: np.tile(-k * x.mean(0) / len(x), (len(x), 1))
    )
    centered = [s.moved(s.positions - s.positions.mean(0)) for s in ethanols]
    result = tools.run(THEME, planted(tools.exact(), spring), centered, n_rotations=60)
    assert tools.value(result, "translation_force_spread") == pytest.approx(k / 9 * 10 / np.sqrt(12), rel=0.1)
    assert failed(result, tools) == {"translation"}


def test_the_number_of_an_atom_is_found(ethanols, tools, planted):
    def unit(x):
        return (x[1] - x[0]) / np.linalg.norm(x[1] - x[0])

    def forces(x):
        found = np.zeros_like(x)
        found[0], found[1] = 0.1 * unit(x), -0.1 * unit(x)
        return found

    bond = tools.adding(lambda x: 0.1 * float(np.linalg.norm(x[1] - x[0])), forces)
    result = tools.run(THEME, planted(tools.exact(), bond), ethanols)
    assert failed(result, tools) == {"permutation"}
    assert "numbering its atoms otherwise" in result.sentence.lower()


def test_random_rotations_are_rotations_and_have_no_preferred_direction():
    rng = np.random.default_rng(1)
    drawn = np.array([random_rotation(rng) for _ in range(2000)])
    assert np.allclose(drawn @ drawn.transpose(0, 2, 1), np.eye(3))
    assert np.allclose(np.linalg.det(drawn), 1)
    assert np.abs(drawn.mean(0)).max() < 0.06
