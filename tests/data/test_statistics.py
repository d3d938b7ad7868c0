"""Reference energies, force statistics and the summary of a data set."""

import json
import subprocess
import sys

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data import statistics
from mlff_distiller.data.columns import pack
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.statistics import Statistics, count_edges, mean_neighbors, neighbor_histogram, summary
from mlff_distiller.data.storage.writer import StoreWriter

TRUE = {1: -13.6, 6: -1030.0, 8: -2040.0}


def molecules(*names):
    return [from_ase(ase.build.molecule(name)) for name in names]


def columns(structures, labels=None):
    return pack(range(len(structures)), structures, labels)


def fit(structures, energies):
    labels = [Labels(energy=energy) for energy in energies]
    return Statistics.of(columns(structures, labels)).reference_energies()


def total(structure, energies):
    return sum(energies[int(z)] for z in structure.numbers)


def test_energies_of_atoms_are_recovered_where_compositions_determine_them():
    structures = molecules("H2O", "CH4", "CH3CH2OH", "C6H6", "CO2")
    found = fit(structures, [total(s, TRUE) for s in structures])
    assert list(found) == [1, 6, 8]
    assert found == pytest.approx(TRUE, rel=1e-9)


def test_one_molecule_gives_the_same_energy_to_every_atom():
    ethanol = molecules("CH3CH2OH") * 3
    found = fit(ethanol, [-90.0, -91.0, -89.0])
    assert found == pytest.approx({1: -10.0, 6: -10.0, 8: -10.0})


def test_undetermined_compositions_are_still_fitted_exactly_and_stay_moderate():
    structures = molecules("CH3CH2OH", "H2O")  # three elements, two compositions
    energies = [total(s, TRUE) for s in structures]
    found = fit(structures, energies)
    assert [total(s, found) for s in structures] == pytest.approx(energies, rel=1e-10)
    assert all(-2500 < energy < 500 for energy in found.values())


def test_the_fit_minimizes_the_error_per_atom():
    structures = molecules("H2O", "CH4", "CH3CH2OH", "C6H6", "CO2", "C2H6", "CH3OH")
    noise = np.random.default_rng(0).normal(0, 0.5, len(structures))
    energies = np.array([total(s, TRUE) for s in structures]) + noise
    found = fit(structures, energies)

    def error(reference):
        return sum(((e - total(s, reference)) / len(s)) ** 2 for s, e in zip(structures, energies, strict=True))

    best = error(found)
    for z in found:
        for shift in (-0.01, 0.01):
            assert error(found | {z: found[z] + shift}) > best


def test_the_fit_over_many_structures_is_that_of_all_rows():
    """Structures of one composition share a row; the solution must be that of one row for each structure."""
    rng = np.random.default_rng(1)
    structures = [m for m in molecules("CH3CH2OH", "H2O", "CH4", "C6H6") for _ in range(int(rng.integers(5, 30)))]
    energies = np.array([total(s, TRUE) for s in structures]) + rng.normal(0, 2.0, len(structures))
    sizes = np.array([len(s) for s in structures])
    fractions = np.array([[(s.numbers == z).sum() for z in (1, 6, 8)] for s in structures]) / sizes[:, None]
    per_atom = energies / sizes
    expected = per_atom.mean() + np.linalg.lstsq(fractions, per_atom - per_atom.mean(), rcond=1e-10)[0]
    assert list(fit(structures, energies).values()) == pytest.approx(expected, rel=1e-9)


def test_energies_that_cannot_be_fitted():
    h2 = molecules("H2")
    with pytest.raises(DataError, match="at least one"):
        Statistics.of(columns([])).reference_energies()
    with pytest.raises(DataError, match="no structure has an energy"):
        Statistics.of(columns(h2)).reference_energies()
    with pytest.raises(DataError, match="structure 1 is not finite"):
        fit(h2 * 2, [-1.0, np.nan])


def test_what_is_not_finite_is_counted_and_left_out_of_ranges():
    h2 = molecules("H2") * 4
    forces = [np.ones((2, 3)), np.array([[np.nan, 0, 0], [3, 4, 0]]), np.array([[np.inf, 0, 0]] * 2), np.zeros((2, 3))]
    energies = [-2.0, np.nan, -np.inf, -4.0]
    found = Statistics.of(columns(h2, [Labels(energy=e, forces=f) for e, f in zip(energies, forces, strict=True)]))
    told = json.loads(json.dumps(found.summary(), allow_nan=False))
    assert told["energy_per_atom_eV"] == {"min": -2.0, "mean": -1.5, "max": -1.0}
    assert told["properties"] == {"energy": 4, "forces": 4}
    assert told["not_finite"] == {"energy": 2, "forces": 2}
    assert told["force_max_eV_per_A"] == 5.0
    assert found.force_rms == pytest.approx(np.sqrt((6 + 25) / 15))
    assert found.not_finite == 1
    nothing = summary(columns(h2[:1], [Labels(energy=np.nan, forces=np.full((2, 3), np.nan))]))
    assert nothing["energy_per_atom_eV"] is nothing["force_max_eV_per_A"] is None
    with pytest.raises(DataError, match="structure 0 is not finite"):
        fit(h2, [np.nan] * 4)


def test_elements_without_an_energy_are_not_fitted():
    structures = molecules("H2O", "CH4")
    found = Statistics.of(columns(structures, [Labels(energy=-30.0), Labels(forces=np.zeros((5, 3)))]))
    assert list(found.reference_energies()) == [1, 8]


def test_force_rms_counts_components_and_skips_absent_forces():
    forces = np.random.default_rng(0).normal(size=(30, 3))
    labels = [Labels(forces=forces[:10]), Labels(energy=1.0), Labels(forces=forces[10:])]
    structures = [Structure([1] * n, np.zeros((n, 3))) for n in (10, 4, 20)]
    assert Statistics.of(columns(structures, labels)).force_rms == pytest.approx(np.sqrt((forces**2).mean()))
    assert Statistics.of(columns(structures)).force_rms is None


def test_mean_neighbors_of_a_crystal_and_of_nothing():
    copper = from_ase(ase.build.bulk("Cu", cubic=True))
    assert mean_neighbors(columns([copper]), 3.0) == 12
    assert mean_neighbors(columns([copper, Structure([18], [[0, 0, 0]])]), 3.0) == pytest.approx(48 / 5)
    assert mean_neighbors(columns([]), 3.0) == 0


def test_the_summary_is_plain_and_right():
    water, copper = molecules("H2O")[0], from_ase(ase.build.bulk("Cu"))
    labels = [Labels(energy=-6.0, forces=np.array([[3.0, 4.0, 0.0], [0, 0, 0], [0, 0, 0]])), Labels(energy=-5.0)]
    found = json.loads(json.dumps(summary(columns([water, copper], labels))))
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
    found = summary(columns(molecules("H2O")))
    assert found["energy_per_atom_eV"] is found["force_rms_eV_per_A"] is found["force_max_eV_per_A"] is None


def test_systems_are_told_apart_by_charge_and_spin():
    h = [Structure([1], [[0, 0, 0]], charge=q, spin=m) for q, m in ((0, 2), (1, 1), (0, 2), (-1, 1))]
    systems = Statistics.of(columns(h)).systems
    assert {(s.formula, s.charge, s.spin): e.n_structures for s, e in systems.items()} == {
        ("H", 0, 2): 2,
        ("H", 1, 1): 1,
        ("H", -1, 1): 1,
    }


def test_neighbors_are_counted_by_structure_and_by_atom():
    copper = from_ase(ase.build.bulk("Cu", cubic=True))
    pair = Structure([1] * 3, [[0, 0, 0], [0, 0, 1], [0, 0, 20]])
    both = columns([pair, copper, Structure([2], [[0, 0, 0]])])
    assert count_edges(both, 3.0).tolist() == [2, 48, 0]
    assert count_edges(both, 3.0).dtype == np.int32
    assert neighbor_histogram(both, 3.0).tolist() == [2, 2, *[0] * 10, 4]


@pytest.fixture
def many(structure, label):
    return [structure(i) for i in range(200)], [label(i) for i in range(200)]


def test_blocks_stores_and_data_sets_give_the_same(many, tmp_path, monkeypatch):
    whole = Statistics.of(columns(*many))
    with StoreWriter(tmp_path / "store", shard_atoms=100) as writer:
        writer.append(range(200), *many)
        store = writer.seal()
    shuffled = np.random.default_rng(0).permutation(200)
    monkeypatch.setattr(statistics, "_BLOCK_ATOMS", 37)
    for other in (columns(*many), store, MolecularDataset(store, rows=shuffled)):
        found = Statistics.of(other)
        assert found.systems.keys() == whole.systems.keys()
        assert json.dumps(found.summary()["formulas"]) == json.dumps(whole.summary()["formulas"])
        assert found.force_rms == pytest.approx(whole.force_rms, rel=1e-12)
        assert found.reference_energies() == pytest.approx(whole.reference_energies(), rel=1e-9)
        assert {k: v for k, v in found.summary().items() if "eV" not in k} == {
            k: v for k, v in whole.summary().items() if "eV" not in k
        }
    assert np.array_equal(neighbor_histogram(store, 4.0), neighbor_histogram(columns(*many), 4.0))
    assert np.array_equal(count_edges(MolecularDataset(store, rows=shuffled), 4.0), count_edges(store, 4.0)[shuffled])


def test_masked_labels_do_not_count(many):
    found = summary(MolecularDataset(columns(*many), properties={"stress"}))
    assert list(found["properties"]) == ["stress"]
    assert found["energy_per_atom_eV"] is found["force_rms_eV_per_A"] is None


def test_statistics_and_transforms_do_not_load_torch():
    modules = ", ".join(
        f"mlff_distiller.data.{name}" for name in ("statistics", "loading.transforms", "loading.batching", "source")
    )
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
