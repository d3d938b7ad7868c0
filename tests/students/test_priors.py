"""Short-range repulsion: the published potential, nothing at bonds, smooth, and in the way of fusing atoms."""

import ase.build
import numpy as np
import pytest
import torch
from ase.data import covalent_radii

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.potentials.derivatives import derive
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.priors import INNER, OUTER, ZBL
from mlff_distiller.students.student import Student


def energy(z1, z2, distance, *, cutoff=5.0, dtype=torch.float64):
    graph = Graph.from_structures([Structure([z1, z2], [[0, 0, 0], [0, 0, distance]])], cutoff, dtype=dtype)
    elements = sorted({z1, z2})
    species = torch.tensor([elements.index(z1), elements.index(z2)])
    return derive(lambda g: ZBL(elements, cutoff=cutoff)(species, g), graph)


def published(z1, z2, r):
    """Ziegler, Biersack, Littmark in atomic units, independent of the implementation."""
    bohr, hartree = 0.529177211, 27.2113862
    x = r / (0.88534 * bohr / (z1**0.23 + z2**0.23))
    terms = [(0.1818, 3.2), (0.5099, 0.9423), (0.2802, 0.4029), (0.02817, 0.2016)]
    return z1 * z2 * hartree * bohr / r * sum(c * np.exp(-d * x) for c, d in terms)


@pytest.mark.parametrize(("z1", "z2"), [(1, 1), (1, 6), (6, 8), (14, 14), (29, 79), (92, 8)])
def test_it_is_the_published_potential_within_the_inner_radius(z1, z2):
    inner = INNER * (covalent_radii[z1] + covalent_radii[z2])
    for distance in (0.05, 0.5 * inner, 0.999 * inner):
        assert energy(z1, z2, distance).energy.item() == pytest.approx(published(z1, z2, distance), rel=2e-3)


@pytest.mark.parametrize(
    "name", ["H2", "N2", "CO", "HCN", "C2H2", "O2", "F2", "HF", "LiH", "LiF", "NaCl", "CH3CH2OH", "SO2", "P2", "SiO"]
)
def test_nothing_at_equilibrium_nor_where_hot_molecules_get(name):
    molecule = ase.build.molecule(name)
    assert StudentPotential(_bare(molecule.numbers)).predict([_scaled(molecule, 0.93)])[0].energy == 0.0


@pytest.mark.parametrize(
    "crystal",
    [("MgO", "rocksalt", 4.21), ("Si", "diamond", 5.43), ("Cu", "fcc", 3.61), ("CsCl", "cesiumchloride", 4.12)],
)
def test_nothing_in_compressed_crystals(crystal):
    atoms = ase.build.bulk(crystal[0], crystal[1], a=0.93 * crystal[2])
    assert StudentPotential(_bare(atoms.numbers)).predict([from_ase(atoms)])[0].energy == 0.0


def test_energy_force_and_curvature_end_together():
    outer = OUTER * 2 * covalent_radii[6]
    distances = torch.tensor([outer - 1e-4, outer - 1e-6, outer + 1e-6], dtype=torch.float64, requires_grad=True)
    values = torch.stack([_pair(distance) for distance in distances])
    (first,) = torch.autograd.grad(values.sum(), distances, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), distances)
    assert (values[2], first[2], second[2]) == (0, 0, 0)
    assert 0 < values[1] < 1e-14
    assert 0 < -first[1] < 1e-8
    assert 0 < second[1] < 2e-2 < second[0] < 2


def test_it_falls_all_the_way():
    grid = np.linspace(0.02, 1.1, 400)
    energies = [energy(6, 7, r).energy.item() for r in grid]
    assert (np.diff(energies) <= 0).all()
    assert energies[0] > 1e4


def test_a_pair_does_not_reach_beyond_a_short_cutoff():
    near, far = (energy(55, 55, r, cutoff=2.0) for r in (1.9999, 2.0001))
    assert 0 < near.energy.item() < 1e-8
    assert near.forces.abs().max() < 1e-3
    assert far.energy.item() == 0


def test_float32_vectors_lose_no_more_than_their_own_rounding():
    exact, single = (energy(6, 8, 0.6123, dtype=dtype) for dtype in (torch.float64, torch.float32))
    assert single.energy.item() == pytest.approx(exact.energy.item(), rel=1e-6)
    torch.testing.assert_close(single.forces.double(), exact.forces, rtol=1e-5, atol=0)


def test_elements_without_a_known_radius_have_a_range():
    assert energy(99, 1, 1.0).energy.item() > 1.0


def test_hot_collisions_bounce_instead_of_fusing():
    """Two carbon atoms shot at each other with 20 eV turn back, and the energy is what it was."""
    outcomes = {}
    for repulsion in ("zbl", "none"):
        student = Student(PaiNNPlan(preset="ultra-tiny", repulsion=repulsion), {6: 0.0}, seed=1).double()
        atoms = ase.Atoms("C2", [[0, 0, 0], [0, 0, 3.0]])
        outcomes[repulsion] = _collide(StudentPotential(student), atoms, kinetic_energy=20.0)
    closest, drift = outcomes["zbl"]
    assert closest > 0.5
    assert abs(drift) < 0.05
    assert outcomes["none"][0] < 0.3


def _collide(potential, atoms, *, kinetic_energy):
    """Return the closest approach, Angstrom, and the change of total energy, eV."""
    from ase.md.verlet import VelocityVerlet
    from ase.units import fs

    from mlff_distiller.potentials.calculator import PotentialCalculator

    speed = np.sqrt(kinetic_energy / atoms.get_masses()[0])
    atoms.set_velocities([[0, 0, speed], [0, 0, -speed]])
    atoms.calc = PotentialCalculator(potential)
    start, closest = atoms.get_total_energy(), np.inf
    dynamics = VelocityVerlet(atoms, 0.1 * fs)
    for _ in range(200):
        dynamics.run(1)
        closest = min(closest, atoms.positions[1, 2] - atoms.positions[0, 2])
    return closest, atoms.get_total_energy() - start


def _pair(distance):
    vector = torch.stack([torch.zeros_like(distance), torch.zeros_like(distance), distance])
    index = torch.tensor([0, 1])
    graph = Graph(
        torch.tensor([6, 6]), torch.zeros(2, dtype=torch.int64), index, index.flip(0), torch.stack([vector, -vector]), 1
    )
    return ZBL([6], cutoff=5.0)(torch.zeros(2, dtype=torch.int64), graph).sum()


def _bare(numbers):
    """A student whose network gives nothing: what is left is the repulsion."""
    student = Student(PaiNNPlan(preset="ultra-tiny"), dict.fromkeys(numbers.tolist(), 0.0), scale=0.0)
    return student.double()


def _scaled(atoms, factor):
    atoms.positions *= factor
    return from_ase(atoms)
