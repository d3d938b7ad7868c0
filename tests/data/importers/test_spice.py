"""SPICE and its re-packings: gradients, units, charges."""

from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest

from mlff_distiller.atoms.labeled import LabeledStructure
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.units import BOHR, HARTREE
from mlff_distiller.data.importers.border import convert
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.importers.settle import settle
from mlff_distiller.data.importers.spice import SpiceReader, formal_charge
from mlff_distiller.potentials.analytic import morse


@pytest.fixture(scope="module")
def formats(shared: Path) -> Path:
    return shared / "data" / "formats"


def read(path: Path, **settings: str) -> list[LabeledStructure]:
    plan = ImportPlan(**settings)
    reader = SpiceReader(path, plan)
    frames = list(reader.frames())
    assert reader.n_frames == len(frames)
    units = settle(frames, reader.units, plan, format_name="spice", where=str(path))
    return [convert(frame, units, plan).labeled for frame in frames]


def write_spice(path: Path, *, attributes: bool) -> list[Structure]:
    """Write Morse dimers as SPICE does; the gradient comes from finite differences of the energy alone."""
    potential = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0)
    structures = [Structure([1, 1], [[0, 0, 0], [0.1, 0.2, z]]) for z in (0.6, 0.8, 1.1)]
    gradients, h = [], 1e-3
    for structure in structures:
        gradient = np.zeros((2, 3))
        for i, k in np.ndindex(2, 3):
            steps = []
            for sign in (1, -1):
                moved = structure.positions.copy()
                moved[i, k] += sign * h
                steps.append(potential.predict([structure.moved(moved)])[0].energy)
            gradient[i, k] = (steps[0] - steps[1]) / (2 * h)
        gradients.append(gradient)
    with h5py.File(path, "w") as file:
        group = file.create_group("H2")
        group["atomic_numbers"] = np.array([1, 1], dtype=np.int16)
        group["conformations"] = np.array([s.positions for s in structures]) / BOHR
        group["dft_total_energy"] = np.array([p.energy for p in potential.predict(structures)]) / HARTREE
        group["dft_total_gradient"] = np.array(gradients) / HARTREE * BOHR
        group["smiles"] = ["[H:1][H:2]"]
        if attributes:
            for name, unit in (("conformations", "bohr"), ("dft_total_energy", "hartree")):
                group[name].attrs["units"] = unit
            group["dft_total_gradient"].attrs["units"] = "hartree/bohr"
    return structures


@pytest.mark.parametrize("attributes", [True, False])
def test_gradients_become_forces_in_our_units(tmp_path: Path, attributes: bool) -> None:
    structures = write_spice(tmp_path / "spice.hdf5", attributes=attributes)
    expected = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0).predict(structures)
    for (structure, labels), source, truth in zip(read(tmp_path / "spice.hdf5"), structures, expected, strict=True):
        np.testing.assert_allclose(structure.positions, source.positions, atol=1e-9)
        assert labels.energy == pytest.approx(truth.energy, abs=1e-5)
        np.testing.assert_allclose(labels.forces, truth.forces, atol=1e-3)
    assert structure.charge == 0
    assert structure.info == {"molecule": "H2", "smiles": "[H:1][H:2]", "conformation": 2}


def test_who_says_the_units_is_named(tmp_path: Path) -> None:
    write_spice(tmp_path / "a.hdf5", attributes=True)
    write_spice(tmp_path / "b.hdf5", attributes=False)
    stated = SpiceReader(tmp_path / "a.hdf5", ImportPlan()).units
    defined = SpiceReader(tmp_path / "b.hdf5", ImportPlan()).units
    assert stated["forces"].why == "attribute 'units' of 'dft_total_gradient'"
    assert defined["forces"].why == "definition of the SPICE data set"


def test_a_group_in_other_units_is_refused(tmp_path: Path) -> None:
    write_spice(tmp_path / "a.hdf5", attributes=True)
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        file.copy("H2", "H2b")
        file["H2b/dft_total_energy"].attrs["units"] = "eV"
    with pytest.raises(DataError, match=r"H2b states energy in eV, but the first group of the file in hartree"):
        read(tmp_path / "a.hdf5")


def test_wrong_shapes_are_refused(tmp_path: Path) -> None:
    for name, shape in (("dft_total_energy", (2,)), ("dft_total_gradient", (3, 1, 3)), ("atomic_numbers", (3,))):
        write_spice(tmp_path / "a.hdf5", attributes=False)
        with h5py.File(tmp_path / "a.hdf5", "a") as file:
            del file["H2"][name]
            file["H2"][name] = np.ones(shape)
        with pytest.raises(DataError, match=name):
            read(tmp_path / "a.hdf5")


@pytest.mark.parametrize(
    "smiles",
    [
        "[H:3][C:1]#[C:2][H:4].[Na+:5]",
        "[O-]S(=O)(=O)[O-]",
        "[Ca+2:1]",
        "[Fe++].[13C@H:2](F)(Cl)Br",
        "C[N+](C)(C)C.[Cl-]",
    ],
)
def test_formal_charges_agree_with_rdkit(smiles: str) -> None:
    from rdkit import Chem

    assert formal_charge(smiles) == Chem.GetFormalCharge(Chem.MolFromSmiles(smiles, sanitize=False))


def test_a_real_file(formats: Path) -> None:
    path = formats / "modelforge" / "SPICE-1.1.4_n2.hdf5"
    labeled = read(path)
    with h5py.File(path) as file:
        group = file["C#C.[Na+]"]
        positions = group["conformations"][3] * 0.529177  # by hand, with CODATA's Bohr and Hartree
        energy = group["dft_total_energy"][3] * 27.211386
        forces = -group["dft_total_gradient"][3] * 27.211386 / 0.529177
    structure, labels = labeled[53]
    assert len(labeled) == 55
    assert (structure.formula, structure.charge, labeled[0].structure.charge) == ("C2H2Na", 1, 1)
    assert structure.info["subset"] == "SPICE DES370K Single Points Dataset Supplement v1.0"
    np.testing.assert_allclose(structure.positions, positions, rtol=1e-5, atol=1e-6)
    assert labels.energy == pytest.approx(energy, rel=1e-7)
    np.testing.assert_allclose(labels.forces, forces, rtol=1e-5, atol=1e-6)


def test_energies_rise_against_the_forces_of_a_real_file(formats: Path) -> None:
    """The sign of the forces, from energies alone: between near conformations dE is about -F dx."""
    labeled = [
        item for item in read(formats / "modelforge" / "SPICE-1.1.4_n2.hdf5") if item.structure.formula == "C2H2Na"
    ]
    for (a, first), (b, second) in pairwise(labeled):
        work = -0.5 * float(((first.forces + second.forces) * (b.positions - a.positions)).sum())
        assert work == pytest.approx(second.energy - first.energy, rel=0.2, abs=2e-3)


def test_the_other_energy_is_taken_when_asked_for(formats: Path) -> None:
    path = formats / "modelforge" / "SPICE-1.1.4_n2.hdf5"
    assert read(path, energy_key="formation_energy")[53].labels.energy == pytest.approx(-0.66444697 * HARTREE)
    with pytest.raises(DataError, match=r"no 'formation_enrgy' \(did you mean 'formation_energy'\?\)"):
        read(path, energy_key="formation_enrgy")


def test_mlips_form(formats: Path) -> None:
    path = formats / "mlip" / "spice2-1000_429_md_0-1.hdf5"
    structure, labels = read(path)[1]
    with h5py.File(path) as file:
        group = file["spice2-1000_429_md_1"]
        assert labels.energy == group.attrs["energy"]
        np.testing.assert_array_equal(labels.forces, group["forces"][()])
        np.testing.assert_array_equal(structure.positions, group["positions"][()])
        np.testing.assert_array_equal(structure.numbers, group["elements"][()])
    assert structure.charge == -2


def test_modelforges_form(formats: Path) -> None:
    plan = ImportPlan()
    reader = SpiceReader(formats / "modelforge" / "test_dataset.hdf5", plan)
    frame = list(reader.frames())[1]
    assert {name: said.unit for name, said in reader.units.items()} == {
        "length": "nanometer",
        "energy": "kilojoule_per_mole",
        "forces": "kilojoule_per_mole / nanometer",
    }
    assert (frame.charge, frame.spin, float(frame.values["energy"])) == (1, 6, 0.2)


def test_what_is_of_no_form_is_refused_by_what_was_found(formats: Path) -> None:
    folder = formats / "modelforge"
    with pytest.raises(DataError, match=r"internal_energy_at_0K.*--energy-key"):
        SpiceReader(folder / "qm9_dataset_v1.1_ntc_10.hdf5", ImportPlan())
    with pytest.raises(DataError, match=r"grouped form"):
        SpiceReader(folder / "test_dataset_grouped.hdf5", ImportPlan())
    with pytest.raises(DataError, match=r"coord, dipole, energy.*no form of SPICE"):
        SpiceReader(formats / "aimnet" / "dataset.h5", ImportPlan())


def test_qm9_of_modelforge_reads_when_the_energy_is_named(formats: Path) -> None:
    path = formats / "modelforge" / "qm9_dataset_v1.1_ntc_10.hdf5"
    structure, labels = read(path, energy_key="internal_energy_at_0K")[0]
    assert structure.formula == "CH4"
    assert labels.energy == pytest.approx(-40.47893 * HARTREE, rel=1e-5)  # U0 of methane as QM9 publishes it
    assert np.linalg.norm(structure.positions[1] - structure.positions[0]) == pytest.approx(1.092, abs=2e-3)
