"""npz: rMD17 and sGDML, what is certain of their units, and files that are damaged or hold code."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers.border import convert
from mlff_distiller.data.importers.npz import NpzReader
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.importers.settle import settle

KCAL_PER_MOL = 4184 / 96485.33289  # eV; thermochemical calorie, Faraday constant of CODATA 2014


@pytest.fixture(scope="module")
def rmd17(shared: Path) -> Path:
    return shared / "data" / "rmd17"


def read(path: Path, **settings: Any) -> Any:
    plan = ImportPlan(**settings)
    reader = NpzReader(path, plan)
    frames = list(reader.frames())
    units = settle(frames, reader.units, plan, format_name="npz", where=str(path))
    return [convert(frame, units, plan).labeled for frame in frames[:20]]


@pytest.mark.parametrize("molecule", ["ethanol", "aspirin"])
def test_rmd17_by_hand(rmd17: Path, molecule: str) -> None:
    path = rmd17 / f"rmd17_{molecule}_train_01.npz"
    labeled = read(path)
    with np.load(path) as arrays:
        assert NpzReader(path, ImportPlan()).n_frames == len(arrays["energies"]) == 1000
        for i in (0, 7, 19):
            structure, labels = labeled[i]
            np.testing.assert_array_equal(structure.numbers, arrays["nuclear_charges"])
            np.testing.assert_array_equal(structure.positions, arrays["coords"][i])
            assert labels.energy == pytest.approx(arrays["energies"][i] * KCAL_PER_MOL, rel=1e-8)
            np.testing.assert_allclose(labels.forces, arrays["forces"][i] * KCAL_PER_MOL, rtol=1e-8)


def test_the_names_of_rmd17_alone_make_no_unit_certain(tmp_path: Path) -> None:
    arrays = {"nuclear_charges": [2], "coords": np.zeros((1, 1, 3)), "energies": [-1.0], "forces": np.zeros((1, 1, 3))}
    np.savez(tmp_path / "a.npz", **arrays)
    assert NpzReader(tmp_path / "a.npz", ImportPlan()).units == {}
    np.savez(tmp_path / "b.npz", **arrays, old_indices=[0])
    assert NpzReader(tmp_path / "b.npz", ImportPlan()).units["energy"].unit == "kcal/mol"


def test_sgdml_states_its_units_or_stops(tmp_path: Path) -> None:
    arrays = {"z": [1, 1], "R": np.array([[[0, 0, 0], [0, 0, 0.8]]]), "E": [[-3.0]], "F": np.ones((1, 2, 3))}
    np.savez(tmp_path / "stated.npz", **arrays, r_unit="Ang", e_unit="kcal/mol", theory="PBE", name="h2")
    structure, labels = read(tmp_path / "stated.npz")[0]
    assert labels.energy == pytest.approx(-3 * KCAL_PER_MOL)
    np.testing.assert_allclose(labels.forces, KCAL_PER_MOL)
    np.savez(tmp_path / "silent.npz", **arrays)
    with pytest.raises(DataError, match="--energy-unit"):
        read(tmp_path / "silent.npz", length_unit="Angstrom")
    chosen = read(tmp_path / "silent.npz", length_unit="Angstrom", energy_unit="eV", force_unit="eV/Angstrom")
    assert chosen[0].labels.energy == -3.0
    assert not structure.pbc.any()


def test_the_lattice_of_sgdml_stands_in_columns(tmp_path: Path) -> None:
    lattice = np.array([[4.0, 1.0, 0.5], [0, 5.0, 0.2], [0, 0, 6.0]])
    units = {"r_unit": "Ang", "e_unit": "eV"}
    np.savez(tmp_path / "a.npz", z=[2], R=np.zeros((1, 1, 3)), E=[0.5], lattice=lattice, **units)
    structure = read(tmp_path / "a.npz")[0].structure
    np.testing.assert_array_equal(structure.cell, lattice.T)
    assert structure.is_periodic


def test_padded_molecules_lose_their_padding(tmp_path: Path) -> None:
    numbers = np.array([[8, 1, 1], [1, 1, 0]])
    positions = np.arange(18.0).reshape(2, 3, 3)
    np.savez(tmp_path / "a.npz", z=numbers, R=positions, E=[-1.0, -2.0], F=-positions, r_unit="Ang", e_unit="eV")
    _, (structure, labels) = read(tmp_path / "a.npz")
    assert structure.formula == "H2"
    np.testing.assert_array_equal(structure.positions, positions[1, :2])
    np.testing.assert_array_equal(labels.forces, -positions[1, :2])


def test_shapes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    good = {"z": [1, 1], "R": np.zeros((3, 2, 3)), "E": np.zeros(3), "F": np.zeros((3, 2, 3))}
    for name, bad in (("z", [1, 1, 1]), ("E", np.zeros(2)), ("F", np.zeros((3, 3, 3))), ("R", np.zeros((3, 6)))):
        np.savez(tmp_path / "a.npz", **{**good, name: bad})
        with pytest.raises(DataError, match=f"'{name}'"):
            list(NpzReader(tmp_path / "a.npz", ImportPlan()).frames())


def test_python_objects_are_refused_unread(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "code was run",))

    np.savez(tmp_path / "a.npz", z=[1], R=np.zeros((1, 1, 3)), E=np.array([Trap()], dtype=object))
    with pytest.raises(DataError, match="Python objects, which run code when read"):
        list(NpzReader(tmp_path / "a.npz", ImportPlan()).frames())
    assert not (tmp_path / "code was run").exists()


def test_a_changed_byte_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", z=[1], R=np.zeros((1, 1, 3)), E=[-13.6])
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.index(np.float64(-13.6).tobytes()) + 6] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match="CRC"):
        list(NpzReader(tmp_path / "a.npz", ImportPlan()).frames())


def test_headers_written_by_python_2_are_read_without_a_warning(tmp_path: Path) -> None:
    """The MD17 files of 2017 have shapes such as (1L, 3L)."""
    np.savez(tmp_path / "new.npz", z=[1], R=np.zeros((1, 1, 3)), E=[-13.6], r_unit="Ang", e_unit="eV")
    with zipfile.ZipFile(tmp_path / "new.npz") as new, zipfile.ZipFile(tmp_path / "old.npz", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name == "R.npy":
                assert b"(1, 1, 3), }   " in content
                content = content.replace(b"(1, 1, 3), }   ", b"(1L, 1L, 3L), }")
            old.writestr(name, content)
    assert read(tmp_path / "old.npz")[0].labels.energy == -13.6


def test_other_archives_are_refused_by_what_was_found(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", weights=[1.0])
    with pytest.raises(DataError, match="holds weights, which is neither the rMD17 form"):
        NpzReader(tmp_path / "a.npz", ImportPlan())
    with pytest.raises(DataError, match="does not exist"):
        NpzReader(tmp_path / "b.npz", ImportPlan())
