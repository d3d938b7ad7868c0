"""Elasticity against ASE's own EMT, pressure of an ideal gas, and diffusion of free particles."""

import ase.build
import ase.units
import numpy as np
import pytest
import torch
from ase.calculators.emt import EMT
from ase.eos import EquationOfState
from scipy.optimize import minimize_scalar

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.elements import MASSES
from mlff_distiller.core.randomness import generator
from mlff_distiller.core.units import BOLTZMANN, FEMTOSECOND
from mlff_distiller.potentials.analytic import lennard_jones
from mlff_distiller.potentials.cutoff import polynomial_cutoff
from mlff_distiller.teachers.ase_factory import ASEFactoryPlan
from mlff_distiller.validation.observables.diffusion import diffusion_coefficients, mean_squared_displacements
from mlff_distiller.validation.observables.plan import ObservationPlan
from mlff_distiller.validation.observables.sampling import sample
from mlff_distiller.validation.observables.solids import (
    GPA,
    birch_murnaghan,
    elastic_constants,
    equation_of_state,
    pressures,
)

COPPER = ase.build.bulk("Cu", "fcc", a=3.59, cubic=True)


@pytest.fixture(scope="module")
def emt():
    return ASEFactoryPlan(factory="ase.calculators.emt:EMT").build()


def test_the_equation_of_state_is_that_of_ase(emt):
    volumes, energies = equation_of_state(emt, from_ase(COPPER), largest_strain=0.06, n_points=9)
    reference = EquationOfState(volumes, energies, eos="birchmurnaghan")
    volume, _, modulus = reference.fit(warn=False)
    found = birch_murnaghan(volumes, energies)
    assert found[0] == pytest.approx(volume, rel=1e-4)
    assert found[1] == pytest.approx(modulus * GPA, rel=5e-3)


def test_the_bulk_modulus_of_a_lennard_jones_crystal_follows_from_its_lattice_sums():
    epsilon, sigma, cutoff, a = 0.0104, 3.4, 16.0, 5.24
    crystal = from_ase(ase.build.bulk("Ar", "fcc", a=a))
    argon = lennard_jones(epsilon=epsilon, sigma=sigma, cutoff=cutoff)
    volumes, energies = equation_of_state(argon, crystal, largest_strain=0.04, n_points=9)
    steps = np.arange(-8, 9)
    sites = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    shells = np.linalg.norm(sites[(sites.sum(1) % 2 == 0) & sites.any(1)] / 2, axis=1)  # of fcc, in units of a

    def energy(volume):
        r = torch.from_numpy(shells * (4 * volume) ** (1 / 3))
        return float((2 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6) * polynomial_cutoff(r, cutoff)).sum())

    exact = minimize_scalar(energy, bounds=(30, 45), method="bounded", options={"xatol": 1e-9}).x
    second = (energy(exact + 0.02) - 2 * energy(exact) + energy(exact - 0.02)) / 0.02**2
    volume, modulus = birch_murnaghan(volumes, energies)
    assert volume == pytest.approx(exact, rel=1e-3)
    assert modulus == pytest.approx(exact * second * GPA, rel=0.01)


def test_elastic_constants_are_those_of_ase_by_finite_differences(emt):
    found = elastic_constants(emt, from_ase(COPPER), strain=0.004)
    expected = np.zeros((6, 6))
    for column in range(6):
        ends = []
        for sign in (-1, 1):
            atoms = COPPER.copy()
            strain = np.zeros((3, 3))
            i, j = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))[column]
            strain[i, j] += 0.002 * sign
            strain[j, i] += 0.002 * sign
            atoms.set_cell(COPPER.cell @ (np.eye(3) + strain), scale_atoms=True)
            atoms.calc = EMT()
            ends.append(atoms.get_stress(voigt=True))
        expected[:, column] = (ends[1] - ends[0]) / 0.008 * GPA
    assert found == pytest.approx((expected + expected.T) / 2, abs=0.05)
    assert found[0, 0] > found[0, 1] > 0
    assert found[3, 3] == pytest.approx(found[5, 5], rel=1e-6)


def test_a_volume_far_from_its_minimum_gives_no_modulus():
    volumes = np.linspace(36.0, 44.0, 7)
    assert np.isnan(birch_murnaghan(volumes, -volumes)).all()
    assert np.isnan(birch_murnaghan(volumes, np.full(7, np.nan))).all()


def test_a_gas_has_the_pressure_of_an_ideal_one(gas, box):
    expected = len(box) * BOLTZMANN * 300 / box.volume / ase.units.GPa
    assert pressures(gas, [box, box], 300.0) == pytest.approx(expected)


def test_free_particles_diffuse_as_einstein_says(gas, box):
    plan = ObservationPlan(duration_ps=3.0, equilibration_ps=0.2, friction_per_ps=40.0, timestep_fs=2.0, record_every=5)
    runs = sample(gas, [box] * 4, plan, lambda k: generator(5, k))
    masses = MASSES[box.numbers]
    found = [
        diffusion_coefficients(mean_squared_displacements(run.positions, box.numbers, masses), run.interval_fs)[0]
        for run in runs
    ]
    exact = BOLTZMANN * 300 / MASSES[18] * (1000 * FEMTOSECOND) ** 2 / 40.0
    assert np.mean(found) == pytest.approx(exact * (1 - 1 / len(box)), rel=0.1)


def test_displacements_are_those_of_their_definition(box):
    rng = np.random.default_rng(0)
    positions = np.cumsum(rng.normal(size=(40, 5, 3)), axis=0)
    numbers, masses = np.array([1, 1, 8, 8, 8]), np.array([1.0, 1.0, 16.0, 16.0, 16.0])
    inner = positions - np.einsum("tic,i->tc", positions, masses / masses.sum())[:, None]
    found = mean_squared_displacements(positions, numbers, masses)
    for lag in (1, 7, 19):
        moved = ((inner[lag:] - inner[: 40 - lag]) ** 2).sum(-1).mean(0)
        assert found[:, lag] == pytest.approx([moved[:2].mean(), moved[2:].mean()])
