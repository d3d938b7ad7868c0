"""Velocities have the temperature, no rigid motion, and the right number of degrees of freedom."""

import ase
import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase, to_ase
from mlff_distiller.atoms.elements import MASSES
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.units import BOLTZMANN
from mlff_distiller.dynamics.velocities import degrees_of_freedom, kinetic_energy, maxwell_boltzmann, temperature

CASES = {"CH3CH2OH": 21, "H2O": 3, "CO2": 4, "C2H2": 7, "H2": 1, "Ar": 0}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("name", "freedom"), CASES.items())
def test_molecules_have_the_textbook_degrees_of_freedom(name, freedom):
    atoms = ase.Atoms("Ar") if name == "Ar" else ase.build.molecule(name)
    atoms.rotate(37, (1, 2, 3))  # linearity must not depend on the axis
    assert degrees_of_freedom(from_ase(atoms)) == freedom


def test_a_bent_molecule_is_not_linear():
    bent = Structure([8, 6, 8], [[-1.16, 0.1, 0], [0, 0, 0], [1.16, 0.1, 0]])
    assert degrees_of_freedom(bent) == 3


def test_periodic_systems_lose_translation_only():
    assert degrees_of_freedom(from_ase(ase.build.bulk("Cu", cubic=True))) == 9
    assert degrees_of_freedom(Structure([18], [[0, 0, 0]], cell=np.eye(3) * 4, pbc=True)) == 0
    assert degrees_of_freedom(Structure([1, 1], [[0, 0, 0], [0, 0, 1]], cell=np.eye(3) * 9, pbc=(1, 1, 0))) == 3


@pytest.mark.parametrize("name", [name for name, freedom in CASES.items() if freedom])
def test_the_temperature_is_exact_and_nothing_moves_as_a_whole(name):
    structure = from_ase(ase.build.molecule(name))
    velocities = maxwell_boltzmann(structure, 450.0, rng())
    masses = MASSES[structure.numbers][:, None]
    assert temperature(structure, velocities) == pytest.approx(450.0, rel=1e-12)
    assert np.abs((masses * velocities).sum(0)).max() < 1e-12
    center = (masses * structure.positions).sum(0) / masses.sum()
    spin = np.cross(structure.positions - center, masses * velocities).sum(0)
    # A linear molecule is straight to the digits of its coordinates; so is its lack of rotation.
    assert np.abs(spin).max() < 1e-10


def test_periodic_velocities_keep_their_angular_momentum():
    crystal = from_ase(ase.build.bulk("Cu", cubic=True) * (2, 2, 2))
    velocities = maxwell_boltzmann(crystal, 300.0, rng())
    assert np.abs(velocities.sum(0)).max() < 1e-12
    assert np.abs(np.cross(crystal.positions - crystal.positions.mean(0), velocities).sum(0)).max() > 1e-3


def test_kinetic_energy_and_temperature_agree_with_ase():
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.set_velocities(rng().normal(0, 0.02, (9, 3)))
    structure, velocities = from_ase(atoms), atoms.get_velocities()
    assert kinetic_energy(structure, velocities) == pytest.approx(atoms.get_kinetic_energy(), rel=1e-12)
    assert temperature(structure, velocities) == pytest.approx(
        2 * atoms.get_kinetic_energy() / (BOLTZMANN * 21), rel=1e-12
    )
    assert to_ase(structure).get_masses() == pytest.approx(MASSES[structure.numbers])


def test_components_are_normal_with_the_width_of_their_mass():
    n = 4000
    gas = Structure([1] * n + [18] * n, rng(1).uniform(0, 100, (2 * n, 3)), cell=np.eye(3) * 100, pbc=True)
    velocities = maxwell_boltzmann(gas, 300.0, rng(2))
    for z, part in ((1, velocities[:n]), (18, velocities[n:])):
        scaled = part.ravel() * np.sqrt(MASSES[z] / (BOLTZMANN * 300.0))
        n_values = scaled.size
        assert scaled.var() == pytest.approx(1.0, abs=4 * np.sqrt(2 / n_values))
        assert (scaled**4).mean() == pytest.approx(3.0, abs=4 * np.sqrt(96 / n_values))


def test_zero_temperature_single_atoms_and_bad_temperatures():
    h2 = from_ase(ase.build.molecule("H2"))
    assert not maxwell_boltzmann(h2, 0.0, rng()).any()
    assert not maxwell_boltzmann(Structure([18], [[1, 2, 3]]), 300.0, rng()).any()
    with pytest.raises(ValueError, match="negative"):
        maxwell_boltzmann(h2, -1.0, rng())


def test_the_same_generator_gives_the_same_velocities():
    ethanol = from_ase(ase.build.molecule("CH3CH2OH"))
    first, again, other = (maxwell_boltzmann(ethanol, 300.0, rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
