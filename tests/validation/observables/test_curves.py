"""Torsion and dimer curves: the right bonds, the right geometry, and errors that are known."""

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.potentials.analytic import morse
from mlff_distiller.validation.observables.dimer import curve_error, dimer_curve, dimer_distances
from mlff_distiller.validation.observables.torsion import (
    profile_error,
    rotatable_bonds,
    torsion_scans,
    turned,
)


@pytest.mark.parametrize(
    ("name", "n"), [("C6H6", 0), ("CH4", 0), ("C2H2", 0), ("H2O", 0), ("C2H6", 1), ("CH3CH2OH", 2), ("CH3CN", 0)]
)
def test_only_open_bonds_turn(name, n):
    assert len(rotatable_bonds(from_ase(ase.build.molecule(name)), 10)) == n


def test_heavy_bonds_come_first():
    butane = from_ase(ase.build.molecule("trans-butane"))
    (i, j, _), *_ = rotatable_bonds(butane, 1)
    assert {int(butane.numbers[k]) for k in (i, j)} == {6}
    around = np.linalg.norm(butane.positions - butane.positions[[i, j]][:, None], axis=-1)
    heavy = [(butane.numbers[(row < 1.7) & (row > 0)] > 1).sum() for row in around]
    assert heavy == [2, 2]


def test_turning_changes_the_dihedral_and_nothing_else():
    atoms = ase.build.molecule("CH3CH2OH")
    structure = from_ase(atoms)
    i, j, side = rotatable_bonds(structure, 2)[1]
    moved = turned(structure, i, j, side, 40.0)
    other = atoms.copy()
    other.positions = moved.positions
    h = int(next(k for k in side if k not in (i, j)))
    change = other.get_dihedral(0, i, j, h) - atoms.get_dihedral(0, i, j, h)
    assert abs((change + 180) % 360 - 180) == pytest.approx(40.0)
    kept = np.setdiff1d(np.arange(len(atoms)), side)
    np.testing.assert_allclose(moved.positions[kept], structure.positions[kept])
    assert np.linalg.norm(moved.positions[j] - moved.positions[h]) == pytest.approx(atoms.get_distance(j, h))


def test_the_profile_of_ethane_has_three_wells():
    spring = morse(depth=0.05, width=1.0, distance=3.2, cutoff=8.0)
    atoms, found = torsion_scans(spring, from_ase(ase.build.molecule("C2H6")), 3, 24)
    assert atoms.shape == (1, 2)
    assert found[0].reshape(3, 8) == pytest.approx(np.tile(found[0, :8], (3, 1)), abs=1e-3)
    assert np.ptp(found[0]) > 1e-3


def test_profile_errors_count_where_it_matters():
    teacher = np.array([0.0, 0.3, 5.0, np.nan])
    assert profile_error(teacher + 7.0, teacher, 2.0) == pytest.approx(0.0)
    assert profile_error(teacher + np.array([0, 0.05, 9, 9]), teacher, 2.0) == pytest.approx(0.05)
    assert profile_error(np.array([0.0, np.nan, 5.0, 5.0]), teacher, 2.0) == np.inf
    assert np.isnan(profile_error(teacher, np.full(4, np.nan), 2.0))


def test_dimer_curves_are_the_pair_energy_and_their_error_is_known():
    teacher, student = (morse(depth=d, width=1.9, distance=0.74, cutoff=6.0) for d in (4.5, 4.6))
    r = dimer_distances(1, 1, longest=5.0, n_points=60)
    curves = [dimer_curve(potential, 1, 1, r) for potential in (student, teacher)]
    assert curves[1].min() == pytest.approx(-4.5, abs=0.03)
    assert curve_error(*curves, 10.0) == pytest.approx(0.1, abs=0.002)


def test_a_potential_of_singlets_is_asked_for_singlets():
    bond = morse(depth=4.5, width=1.9, distance=1.1, cutoff=6.0)
    bond.spins = frozenset({1})
    assert np.isfinite(dimer_curve(bond, 1, 6, np.array([1.0, 2.0]))).all()
    bond.elements = frozenset({1})
    assert np.isnan(dimer_curve(bond, 1, 6, np.array([1.0, 2.0]))).all()


def test_curves_that_fail_where_it_matters_are_infinitely_wrong():
    teacher = np.array([9.0, -1.0, 0.0])
    assert curve_error(np.array([np.nan, -1.0, 0.0]), teacher, 2.0) == 0.0
    assert curve_error(np.array([9.0, np.nan, 0.0]), teacher, 2.0) == np.inf
    assert curve_error(np.array([9.0, -1.5, 3.0]), np.array([9.0, -1.0, np.nan]), 20.0) == pytest.approx(0.5)
    assert np.isnan(curve_error(teacher, np.full(3, np.nan), 2.0))
