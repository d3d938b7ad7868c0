"""ANI-1, ANI-1x, ANI-2x and AIMNet: symbols and numbers, levels of theory, missing values."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.units import HARTREE
from mlff_distiller.data.importers import hdf5
from mlff_distiller.data.importers.ani import AniReader
from mlff_distiller.data.importers.border import convert
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.importers.settle import settle


@pytest.fixture(scope="module")
def formats(shared: Path) -> Path:
    return shared / "data" / "formats"


def test_ani1_symbols_nested_groups_and_letters_of_smiles(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "ani1.h5", "w") as file:
        group = file.create_group("gdb11_s01/gdb11_s01-0")
        group["species"] = [b"O", b"H", b"H"]
        group["coordinates"] = np.arange(18.0).reshape(2, 3, 3)
        group["energies"] = [-76.3, -76.4]
        group["coordinatesHE"], group["energiesHE"] = np.zeros((1, 3, 3)), [-70.0]
        group["smiles"] = [b"[", b"O", b"]"]
    reader = AniReader(tmp_path / "ani1.h5", ImportPlan())
    frames = list(reader.frames())
    assert [frame.numbers.tolist() for frame in frames] == [[8, 1, 1], [8, 1, 1]]
    assert [float(frame.values["energy"]) for frame in frames] == [-76.3, -76.4]
    assert frames[1].info == {"molecule": "gdb11_s01/gdb11_s01-0", "smiles": "[O]", "conformation": 1}
    assert "forces" not in frames[0].values


def test_only_total_energies_in_hartree_are_of_ani(tmp_path: Path) -> None:
    """Species, coordinates and energies are anybody's names: in kcal/mol they must not become Hartree."""
    for name, energy in (("hartree", -76.4), ("kcal", -76.4 * 627.5), ("formation", -0.3)):
        with h5py.File(tmp_path / name, "w") as file:
            file["g/species"], file["g/coordinates"] = (
                [8, 1, 1],
                np.array([[[0, 0, 0], [0, 0.76, 0.59], [0, -0.76, 0.59]]]),
            )
            file["g/energies"] = [energy]
        reader = AniReader(tmp_path / name, ImportPlan())
        assert bool(reader.units) == (name == "hartree")
        if name == "formation":
            with pytest.raises(DataError, match="--energy-unit"):
                settle(list(reader.frames()), reader.units, ImportPlan(), format_name="ani", where=name)


def test_blocks_join_without_seam(tmp_path: Path) -> None:
    m = 2 * hdf5.BLOCK + 3
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("002")
        group["species"] = np.arange(2 * m).reshape(m, 2) % 9 + 1
        group["coordinates"] = np.arange(6.0 * m).reshape(m, 2, 3)
        group["energies"], group["forces"] = np.arange(float(m)), -np.arange(6.0 * m).reshape(m, 2, 3)
    frames = list(AniReader(tmp_path / "a.h5", ImportPlan()).frames())
    assert [float(frame.values["energy"]) for frame in frames] == list(range(m))
    for i in (0, hdf5.BLOCK - 1, hdf5.BLOCK, m - 1):
        np.testing.assert_array_equal(frames[i].positions.ravel(), np.arange(6 * i, 6 * i + 6))
        np.testing.assert_array_equal(frames[i].values["forces"], -frames[i].positions)
        np.testing.assert_array_equal(frames[i].numbers, np.arange(2 * i, 2 * i + 2) % 9 + 1)


def test_unknown_symbols_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/species"], file["g/coordinates"], file["g/energies"] = [b"Q"], np.zeros((1, 1, 3)), [0.0]
    with pytest.raises(DataError, match=r"elements that do not exist \(Q\)"):
        list(AniReader(tmp_path / "a.h5", ImportPlan()).frames())


def test_several_levels_of_theory_must_be_chosen_from(formats: Path) -> None:
    with pytest.raises(DataError, match=r"ccsd\(t\)_cbs.energy.*wb97x_dz.energy.*choose with --energy-key"):
        AniReader(formats / "modelforge" / "ani1_n5.hdf5", ImportPlan())


def test_ani1x_takes_the_forces_of_the_same_level(formats: Path) -> None:
    path = formats / "modelforge" / "ani1_n5.hdf5"
    plan = ImportPlan(energy_key="wb97x_tz.energy")
    reader = AniReader(path, plan)
    frames = list(reader.frames())
    units = settle(frames, reader.units, plan, format_name="ani", where="ani1x")
    structure, labels = convert(frames[1], units, plan).labeled
    with h5py.File(path) as file:
        group = file["C1H4N4O4"]
        assert labels.energy == pytest.approx(group["wb97x_tz.energy"][1] * 27.211386, rel=1e-7)
        np.testing.assert_allclose(labels.forces, group["wb97x_tz.forces"][1] * 27.211386, rtol=1e-6)
        np.testing.assert_array_equal(structure.positions, group["coordinates"][1].astype(float))


def test_missing_values_are_absent_not_nan(formats: Path) -> None:
    plan = ImportPlan(energy_key="ccsd(t)_cbs.energy")
    frames = list(AniReader(formats / "modelforge" / "ani1_n5.hdf5", plan).frames())
    with h5py.File(formats / "modelforge" / "ani1_n5.hdf5") as file:
        there = np.concatenate([~np.isnan(file[name]["ccsd(t)_cbs.energy"][()]) for name in file])
    assert ["energy" in frame.values for frame in frames] == there.tolist()
    assert 0 < there.sum() < len(there)
    assert not any("forces" in frame.values for frame in frames)  # there are none at this level


def test_ani2x_energies_are_the_work_of_its_forces(formats: Path) -> None:
    """Settling refuses what is inconsistent; the conversion of one frame is checked by hand."""
    path = formats / "modelforge" / "ani2x_minimal.hdf5"
    reader = AniReader(path, ImportPlan())
    frames = list(reader.frames())
    units = settle(frames[:1000], reader.units, ImportPlan(), format_name="ani", where="ani2x")
    _, labels = convert(frames[700], units, ImportPlan()).labeled
    with h5py.File(path) as file:
        assert labels.energy == pytest.approx(file["002/energies"][700] * HARTREE)
        np.testing.assert_allclose(labels.forces, file["002/forces"][700] * HARTREE)
    assert reader.n_frames == len(frames) == 5706


def test_aimnets_form_states_no_units(formats: Path) -> None:
    reader = AniReader(formats / "aimnet" / "dataset.h5", ImportPlan())
    frame = next(reader.frames())
    assert reader.units == {}
    assert (frame.charge, frame.spin) == (-1, 1)
    assert {"energy", "forces"} == frame.values.keys()


def test_other_files_are_refused_by_what_was_found(formats: Path) -> None:
    with pytest.raises(DataError, match=r"conformations, dft_total_energy.*no form of ANI"):
        AniReader(formats / "modelforge" / "SPICE-1.1.4_n2.hdf5", ImportPlan())
