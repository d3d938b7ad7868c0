"""Reference energies, force statistics and the summary of a data set."""

import json

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.statistics import fit_reference_energies, force_rms, mean_neighbors, summary

TRUE = {1: -13.6, 6: -1030.0, 8: -2040.0}


def molecules(*names):
    return [from_ase(ase.build.molecule(name)) for name in names]


def total(structure, energies):
    return sum(energies[int(z)] for z in structure.numbers)


def test_energies_of_atoms_are_recovered_where_compositions_determine_them():
    structures = molecules("H2O", "CH4", "CH3CH2OH", "C6H6", "CO2")
    fit = fit_reference_energies(structures, [total(s, TRUE) for s in structures])
    assert list(fit) == [1, 6, 8]
    assert fit == pytest.approx(TRUE, rel=1e-9)


def test_one_molecule_gives_the_same_energy_to_every_atom():
    ethanol = molecules("CH3CH2OH") * 3
    fit = fit_reference_energies(ethanol, [-90.0, -91.0, -89.0])
    assert fit == pytest.approx({1: -10.0, 6: -10.0, 8: -10.0})


def test_undetermined_compositions_are_still_fitted_exactly_and_stay_moderate():
    structures = molecules("CH3CH2OH", "H2O")  # three elements, two compositions
    energies = [total(s, TRUE) for s in structures]
    fit = fit_reference_energies(structures, energies)
    assert [total(s, fit) for s in structures] == pytest.approx(energies, rel=1e-10)
    assert all(-2500 < energy < 500 for energy in fit.values())


def test_the_fit_minimizes_the_error_per_atom():
    structures = molecules("H2O", "CH4", "CH3CH2OH", "C6H6", "CO2", "C2H6", "CH3OH")
    noise = np.random.default_rng(0).normal(0, 0.5, len(structures))
    energies = np.array([total(s, TRUE) for s in structures]) + noise
    fit = fit_reference_energies(structures, energies)

    def error(reference):
        return sum(((e - total(s, reference)) / len(s)) ** 2 for s, e in zip(structures, energies, strict=True))

    best = error(fit)
    for z in fit:
        for shift in (-0.01, 0.01):
            assert error(fit | {z: fit[z] + shift}) > best


def test_energies_that_cannot_be_fitted():
    h2 = molecules("H2")
    with pytest.raises(DataError, match="at least one"):
        fit_reference_energies([], [])
    with pytest.raises(DataError, match="at least one of each"):
        fit_reference_energies(h2, [])
    with pytest.raises(DataError, match="structure 1 is not finite"):
        fit_reference_energies(h2 * 2, [-1.0, np.nan])


def test_force_rms_counts_components_and_skips_absent_forces():
    forces = np.random.default_rng(0).normal(size=(30, 3))
    labels = [Labels(forces=forces[:10]), Labels(energy=1.0), Labels(forces=forces[10:])]
    assert force_rms(labels) == pytest.approx(np.sqrt((forces**2).mean()))
    with pytest.raises(DataError, match="has forces"):
        force_rms([Labels(energy=1.0)])


def test_mean_neighbors_of_a_crystal_and_of_nothing():
    copper = from_ase(ase.build.bulk("Cu", cubic=True))
    assert mean_neighbors([copper], 3.0) == 12
    assert mean_neighbors([copper, Structure([18], [[0, 0, 0]])], 3.0) == pytest.approx(48 / 5)
    assert mean_neighbors([], 3.0) == 0


def test_the_summary_is_plain_and_right():
    water, copper = molecules("H2O")[0], from_ase(ase.build.bulk("Cu"))
    labels = [Labels(energy=-6.0, forces=np.array([[3.0, 4.0, 0.0], [0, 0, 0], [0, 0, 0]])), Labels(energy=-5.0)]
    found = json.loads(json.dumps(summary([water, copper], labels)))
    assert found["n_structures"] == 2
    assert found["n_atoms"] == 4
    assert found["n_periodic"] == 1
    assert found["elements"] == {"H": 2, "O": 1, "Cu": 1}
    assert found["formulas"] == {"Cu": 1, "H2O": 1}
    assert found["properties"] == {"energy": 2, "forces": 1}
    assert found["energy_per_atom_eV"] == {"min": -5.0, "mean": -3.5, "max": -2.0}
    assert found["force_max_eV_per_A"] == 5.0
    assert found["force_rms_eV_per_A"] == pytest.approx(5 / 3)


def test_the_summary_leaves_out_what_is_absent():
    found = summary(molecules("H2O"), [Labels()])
    assert found["energy_per_atom_eV"] is found["force_rms_eV_per_A"] is found["force_max_eV_per_A"] is None
    with pytest.raises(DataError, match="one of each"):
        summary(molecules("H2O"), [])
