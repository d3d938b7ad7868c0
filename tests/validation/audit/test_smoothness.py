"""Smoothness: jumps of energy and force are found where they are, at their size; smooth walls are no jumps."""

from dataclasses import replace

import numpy as np
import pytest

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.potentials.analytic import harmonic, lennard_jones, morse
from mlff_distiller.validation.audit.smoothness import THEME

ATOM = Structure([18], [[0, 0, 0]])
HYDROGEN = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])


def test_a_cutoff_without_a_switch_is_a_jump_of_known_size(tools):
    sharp = harmonic(stiffness=0.02, distance=3.0, cutoff=5.0)
    result = tools.run(THEME, sharp, [ATOM])
    jump = tools.measured(result, "cutoff_energy_jump")
    assert jump.value == pytest.approx(0.04, rel=1e-3)
    assert 2.5 + jump.detail["way_A"] == pytest.approx(5.0, abs=0.01)
    assert tools.value(result, "cutoff_force_jump") == pytest.approx(0.04, rel=1e-3)
    assert result.outcome == "FAIL"
    assert "not smooth" in result.sentence


def test_a_switched_cutoff_passes_also_where_the_repulsion_is_steep(tools):
    result = tools.run(THEME, lennard_jones(epsilon=0.01, sigma=3.4, cutoff=6.0), [ATOM])
    assert result.outcome == "PASS"
    assert tools.value(result, "cutoff_energy_jump") < 1e-6
    assert [skipped.applies for skipped in result.skipped] == [False]  # one atom has no bond


def test_a_kink_is_a_jump_of_the_force_and_not_of_the_energy(tools, planted):
    """An energy with a corner at 4 Angstrom: the force jumps by 0.3 eV/Angstrom there, twice, on two atoms."""

    def corner(structure, labels):
        vector = structure.positions[1] - structure.positions[0] if len(structure) > 1 else np.array([9.0, 0, 0])
        r = np.linalg.norm(vector)
        pull = 0.3 * vector / r if r < 4 else 0 * vector
        energy = labels.energy - 0.3 * max(4 - r, 0)
        return replace(labels, energy=energy, forces=labels.forces + np.array([pull, -pull])[: len(structure)])

    inner = lennard_jones(epsilon=0.01, sigma=3.0, cutoff=6.0)
    result = tools.run(THEME, planted(inner, corner), [ATOM])
    assert tools.value(result, "cutoff_energy_jump") < 1e-5
    assert tools.value(result, "cutoff_force_jump") == pytest.approx(0.3, rel=1e-2)
    assert tools.outcome(result, "cutoff_force_jump") == "FAIL"


def test_a_jump_along_a_bond_is_found(tools, planted):
    inner = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0)

    def step(structure, labels):
        r = np.linalg.norm(structure.positions[1] - structure.positions[0])
        return replace(labels, energy=labels.energy + (0.005 if r > 0.9 else 0.0))

    assert tools.outcome(tools.run(THEME, inner, [HYDROGEN]), "bond_energy_jump") == "PASS"
    found = tools.measured(tools.run(THEME, planted(inner, step), [HYDROGEN]), "bond_energy_jump")
    assert found.value == pytest.approx(0.005, rel=1e-2)
    assert 0.85 * 0.74 + found.detail["way_A"] == pytest.approx(0.9, abs=1e-3)


def test_a_jump_below_the_noise_of_the_energy_is_not_claimed(tools, planted):
    inner = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0)
    noisy = planted(inner, lambda s, x: replace(x, energy=float(np.float32(x.energy - 1e5))))
    result = tools.run(THEME, noisy, [HYDROGEN])
    assert tools.outcome(result, "bond_energy_jump") == "INCONCLUSIVE"


def test_without_a_known_cutoff_the_scan_goes_to_the_end(tools):
    far = harmonic(stiffness=1e-3, distance=9.0, cutoff=11.0)
    far.cutoff, cutoff = None, far.cutoff
    potential = Unlimited(far, cutoff)
    assert tools.value(tools.run(THEME, potential, [ATOM]), "cutoff_energy_jump") == pytest.approx(2e-3, rel=1e-2)


class Unlimited(harmonic(stiffness=1.0, distance=1.0, cutoff=2.0).__class__):
    """A potential that does not tell its cutoff."""

    def __init__(self, inner, cutoff):
        self.__dict__.update(vars(inner))
        self._inner, self._cutoff = inner, cutoff

    def predict(self, structures, properties=("energy", "forces")):
        self._inner.cutoff = self._cutoff
        return self._inner.predict(structures, properties)


def test_a_crystal_is_drawn_apart_as_a_pair_of_atoms(tools):
    copper = Structure([29], [[0, 0, 0]], cell=2.55 * (np.ones((3, 3)) - np.eye(3)) / np.sqrt(2), pbc=True)
    sharp = harmonic(stiffness=0.02, distance=3.0, cutoff=5.0)
    assert tools.value(tools.run(THEME, sharp, [copper]), "cutoff_energy_jump") == pytest.approx(0.04, rel=1e-3)
