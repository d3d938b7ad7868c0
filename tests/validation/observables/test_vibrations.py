"""Frequencies and relaxed geometries against exact references and ASE."""

import ase.build
import numpy as np
import pytest
from ase.vibrations import Vibrations
from scipy.spatial.transform import Rotation

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.elements import MASSES
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.dynamics.relaxation import relax
from mlff_distiller.potentials.analytic import harmonic, lennard_jones, morse
from mlff_distiller.potentials.calculator import PotentialCalculator
from mlff_distiller.validation.observables.spectra import per_cm
from mlff_distiller.validation.observables.vibrations import harmonic_frequencies, hessian, rmsd


@pytest.mark.parametrize(("a", "b"), [(1, 1), (6, 8), (1, 35)])
def test_a_diatomic_has_the_frequency_sqrt_k_over_mu(a, b):
    structure = Structure([a, b], [[0, 0, 0], [0.3, 0.4, 1.2]])
    length = float(np.linalg.norm(structure.positions[1]))
    spring = harmonic(stiffness=25.0, distance=length, cutoff=4.0)
    exact = per_cm(np.sqrt(25.0 * (1 / MASSES[a] + 1 / MASSES[b])))
    found = harmonic_frequencies(hessian(spring, structure), structure)
    assert found == pytest.approx([float(exact)], rel=1e-4)


def test_finite_differences_of_forces_agree_with_exact_second_derivatives(springs):
    potential = springs()
    structure = relax(potential, from_ase(ase.build.molecule("CH3CH2OH")), max_force=1e-6).structure
    found = harmonic_frequencies(hessian(potential, structure), structure)
    assert len(found) == 21
    exact = harmonic_frequencies(_spring_hessian(potential, structure), structure)
    assert found == pytest.approx(exact, rel=1e-3)


def _spring_hessian(potential, structure):
    """Return the second derivatives of springs at rest: stiffness times the bond's direction, both ways."""
    n = len(structure)
    found = np.zeros((n, 3, n, 3))
    rest = potential.network.rest[structure.formula]
    for i in range(n):
        for j in range(n):
            if i != j:
                apart = structure.positions[j] - structure.positions[i]
                unit = apart / np.linalg.norm(apart)
                block = (30.0 if rest[i, j] < 1.7 else 3.0) * np.outer(unit, unit)
                found[i, :, i] += block
                found[i, :, j] -= block
    return found.reshape(3 * n, 3 * n)


def test_frequencies_are_those_of_ase(tmp_path):
    cluster = lennard_jones(epsilon=0.05, sigma=3.4, cutoff=12.0)
    start = Structure([18] * 4, 3.8 * np.array([[0, 0, 0], [1, 0, 0], [0.5, 0.87, 0], [0.5, 0.29, 0.82]]))
    structure = relax(cluster, start, max_force=1e-7).structure
    atoms = ase.Atoms(structure.numbers, structure.positions, calculator=PotentialCalculator(cluster))
    reference = Vibrations(atoms, name=str(tmp_path / "vib"), delta=1e-3)
    reference.run()
    expected = np.sort(reference.get_frequencies().real)[-6:]
    assert harmonic_frequencies(hessian(cluster, structure), structure) == pytest.approx(expected, rel=1e-3)


def test_a_saddle_point_has_a_negative_frequency():
    """Three atoms on a line, the middle one too far from both: it wants to fall to one side."""
    line = Structure([18] * 3, [[0, 0, 0], [0, 0, 5.0], [0, 0, 10.0]])
    found = harmonic_frequencies(hessian(lennard_jones(epsilon=0.05, sigma=3.4, cutoff=20.0), line), line)
    assert len(found) == 4  # 3 N - 5
    assert found[0] < 0


def test_crystals_lose_translations_only():
    crystal = from_ase(ase.build.bulk("Ar", "fcc", a=5.3, cubic=True))
    found = harmonic_frequencies(hessian(lennard_jones(epsilon=0.0104, sigma=3.4, cutoff=8.5), crystal), crystal)
    assert len(found) == 9
    assert (found > 1).all()


def test_relaxation_finds_the_minimum_and_says_whether_it_did():
    bond = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0)
    start = Structure([1, 1], [[0, 0, 0], [0, 0, 1.1]])
    done = relax(bond, start, max_force=1e-5)
    assert done.converged
    assert np.linalg.norm(done.structure.positions[1] - done.structure.positions[0]) == pytest.approx(0.74, abs=1e-4)
    assert done.energy == pytest.approx(-4.5, abs=1e-3)
    short = relax(bond, start, max_force=1e-5, max_steps=1)
    assert not short.converged
    assert short.max_force > 1e-5


def test_rmsd_turns_but_never_mirrors():
    rng = np.random.default_rng(0)
    chiral = Structure([6, 1, 9, 17, 35], rng.normal(size=(5, 3)))
    turned = chiral.moved(Rotation.random(rng=1).apply(chiral.positions.copy()) + 5)
    assert rmsd(chiral, turned) < 1e-12
    assert rmsd(chiral, chiral.moved(chiral.positions * [1, 1, -1])) > 0.2


def test_rmsd_is_that_of_scipy():
    rng = np.random.default_rng(1)
    a, b = (Structure([6] * 7, x) for x in rng.normal(size=(2, 7, 3)))
    left, right = (s.positions - s.positions.mean(0) for s in (a, b))
    expected = Rotation.align_vectors(left, right)[1] / 7**0.5
    assert rmsd(a, b) == pytest.approx(expected)


def test_periodic_structures_are_not_turned():
    cell = Structure([6, 6], [[0, 0, 0], [1, 0, 0]], cell=5 * np.eye(3), pbc=True)
    assert rmsd(cell, cell.moved(cell.positions[:, [1, 0, 2]])) == pytest.approx(0.5**0.5)
