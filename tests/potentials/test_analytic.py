"""The derivative machinery against independent implementations: ASE's own pair potentials and finite differences."""

import ase
import ase.build
import numpy as np
import pytest
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PropertyError, UnsupportedStructureError
from mlff_distiller.potentials.analytic import harmonic, lennard_jones, morse
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.calculator import PotentialCalculator

ARGON = {"epsilon": 0.0104, "sigma": 3.4}


def crystal() -> ase.Atoms:
    atoms = ase.build.bulk("Ar", "fcc", a=5.2, cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def test_lennard_jones_well_inside_the_cutoff_agrees_with_ase():
    cluster = ase.Atoms("Ar4", [[0, 0, 0], [3.7, 0, 0], [0, 3.9, 0], [0, 0.2, 4.1]])
    ours, theirs = cluster.copy(), cluster.copy()
    ours.calc = PotentialCalculator(lennard_jones(**ARGON, cutoff=200.0))
    theirs.calc = LennardJones(**ARGON, rc=200.0)
    assert ours.get_potential_energy() == pytest.approx(theirs.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(ours.get_forces(), theirs.get_forces(), atol=1e-9)


@pytest.mark.parametrize(
    "potential",
    [lennard_jones(**ARGON, cutoff=8.0), morse(depth=0.3, width=1.2, distance=3.6, cutoff=9.0)],
    ids=["lennard_jones", "morse"],
)
def test_periodic_forces_and_stress_by_finite_differences(potential):
    atoms = crystal()
    atoms.calc = PotentialCalculator(potential)
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), atol=1e-7)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=1e-8)


def test_image_of_itself_in_a_cell_smaller_than_the_cutoff():
    """One atom in a cubic cell of side a has 6 neighbors at a, 12 at a sqrt 2, 8 at a sqrt 3, ..."""
    potential = harmonic(stiffness=1.0, distance=0.0, cutoff=2.1)
    labels = potential.predict(
        [Structure([1], [[0.3, 0.4, 0.5]], cell=np.eye(3) * 1.2, pbc=True)], {"energy", "stress"}
    )[0]
    assert labels.energy == pytest.approx(0.25 * (6 * 1.2**2 + 12 * 2 * 1.2**2 + 8 * 3 * 1.2**2))
    np.testing.assert_allclose(labels.stress, np.eye(3) * 2 * labels.energy / 3 / 1.2**3, atol=1e-12)


@pytest.mark.parametrize("pbc", [(True, False, False), (True, True, False), (False, True, False)])
def test_mixed_boundaries_equal_a_cell_too_wide_to_matter(pbc):
    potential = morse(depth=0.3, width=1.2, distance=2.0, cutoff=5.0)
    rng = np.random.default_rng(3)
    positions = rng.uniform(0, 3, (5, 3))
    cell = np.diag(np.where(pbc, 3.0, 0.0))
    wide = np.diag(np.where(pbc, 3.0, 60.0))
    open_, closed = potential.predict(
        [Structure([1] * 5, positions, cell=cell, pbc=pbc), Structure([1] * 5, positions, cell=wide, pbc=True)]
    )
    assert open_.energy == pytest.approx(closed.energy, abs=1e-10)
    np.testing.assert_allclose(open_.forces, closed.forces, atol=1e-10)


def test_pair_forces_obey_newtons_third_law():
    forces = lennard_jones(**ARGON, cutoff=8.0).predict([from_ase(crystal())])[0].forces
    np.testing.assert_allclose(forces.sum(0), 0, atol=1e-12)


def test_large_batches_are_cut_and_put_together_in_order():
    potential = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0)
    potential.batching = Batching(5)
    bonds = [Structure([1, 1], [[0, 0, 0], [0, 0, 0.5 + 0.1 * k]]) for k in range(7)]
    energies = [labels.energy for labels in potential.predict(bonds)]
    assert energies == [potential.predict([bond])[0].energy for bond in bonds]


def test_what_a_potential_does_not_cover_is_an_error_that_names_it():
    potential = harmonic(stiffness=1.0, distance=1.0, cutoff=2.0, elements=[1, 8])
    with pytest.raises(UnsupportedStructureError, match=r"CH holds C.*covers H, O"):
        potential.predict([Structure([1], [[0, 0, 0]]), Structure([6, 1], [[0, 0, 0], [0, 0, 1]])])
    with pytest.raises(PropertyError, match="cannot give hessian"):
        potential.predict([], {"hessian"})


def test_asking_for_the_energy_alone_gives_the_same_energy():
    potential = lennard_jones(**ARGON, cutoff=8.0)
    structure = from_ase(crystal())
    assert potential.predict([structure], {"energy"})[0].energy == potential.predict([structure])[0].energy
    assert potential.predict([structure], {"energy"})[0].present == ("energy",)


def test_ase_trajectory_conserves_energy():
    from ase import units
    from ase.md.verlet import VelocityVerlet

    atoms = crystal()
    atoms.calc = PotentialCalculator(lennard_jones(**ARGON, cutoff=8.0))
    start = atoms.get_total_energy()
    VelocityVerlet(atoms, 2 * units.fs).run(100)
    assert atoms.get_total_energy() == pytest.approx(start, abs=2e-5)
