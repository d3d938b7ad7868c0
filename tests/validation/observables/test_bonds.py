"""Bonds, angles and dihedrals: counted, measured against ASE, and compared on the line and on the circle."""

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.validation.observables.bonds import (
    Topology,
    circular_histograms,
    circular_wasserstein,
    quantiles,
    wasserstein,
)


def test_ethanol_is_measured_as_ase_does():
    atoms = ase.build.molecule("CH3CH2OH")
    structure = from_ase(atoms)
    topology, at = Topology.of(structure), structure.positions[None]
    assert (len(topology.bonds), len(topology.angles), len(topology.dihedrals)) == (8, 13, 12)
    i, j = topology.centers[topology.bonds], topology.neighbors[topology.bonds]
    expected = [atoms.get_distance(a, b) for a, b in zip(i, j, strict=True)]
    assert topology.bond_lengths(at)[0] == pytest.approx(expected)
    ends = topology.neighbors[topology.angles]
    middle = topology.centers[topology.angles[:, 0]]
    expected = [atoms.get_angle(a, m, b) for (a, b), m in zip(ends, middle, strict=True)]
    assert topology.bond_angles(at)[0] == pytest.approx(expected)
    before, along, after = topology.dihedrals.T
    four = zip(
        topology.neighbors[before],
        topology.centers[along],
        topology.neighbors[along],
        topology.neighbors[after],
        strict=True,
    )
    expected = np.array([atoms.get_dihedral(*map(int, own)) for own in four])
    turn = np.radians(topology.dihedral_angles(at)[0] - expected)
    assert np.cos(turn) == pytest.approx(1.0)


def test_diamond_in_its_smallest_cell_has_four_bonds_of_each_atom():
    structure = from_ase(ase.build.bulk("Si", "diamond", a=5.43))
    topology = Topology.of(structure)
    assert len(topology.bonds) == 4
    assert topology.bond_lengths(structure.positions[None])[0] == pytest.approx(5.43 * 3**0.5 / 4)
    assert topology.bond_angles(structure.positions[None])[0] == pytest.approx(109.4712, abs=1e-3)
    assert len(topology.angles) == 12


def test_linear_parts_have_no_dihedral():
    assert len(Topology.of(from_ase(ase.build.molecule("C2H2"))).dihedrals) == 0


def test_metals_have_no_bonds():
    assert len(Topology.of(from_ase(ase.build.bulk("Cu"))).bonds) == 0


def test_kinds_name_the_elements():
    structure = from_ase(ase.build.molecule("CH3OH"))
    assert sorted(Topology.of(structure).kinds(structure.numbers)) == ["C-H", "C-H", "C-H", "O-C", "O-H"]


@pytest.mark.parametrize("shift", [0.4, 7.0, 60.0, -120.0, 130.0])
def test_turning_a_dihedral_moves_its_distribution_by_the_shortest_way(shift):
    degrees = 170 + np.random.default_rng(1).normal(scale=8.0, size=(20_000, 1))
    wrapped = [(values + 180) % 360 - 180 for values in (degrees, degrees + shift)]
    found = circular_wasserstein(*map(circular_histograms, wrapped))
    assert found == pytest.approx(abs(shift), abs=0.25)


def test_the_distance_on_the_circle_is_that_of_scipy_on_the_line_where_nothing_goes_round():
    from scipy.stats import wasserstein_distance

    a, b = np.random.default_rng(2).normal([[0.0], [10.0]], [[5.0], [9.0]], size=(2, 4000))[..., None]
    expected = wasserstein_distance(a[:, 0], b[:, 0])
    assert circular_wasserstein(circular_histograms(a), circular_histograms(b)) == pytest.approx(expected, rel=0.02)
    assert wasserstein(quantiles(a), quantiles(b)) == pytest.approx(expected, rel=0.02)
