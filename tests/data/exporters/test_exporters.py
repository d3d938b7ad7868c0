"""Exporters: what ASE and numpy read back, what is refused, and that no half file is ever left."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
import pytest

from mlff_distiller.atoms.labels import HESSIAN, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError, DistillerError, UnknownNameError
from mlff_distiller.data.columns import Columns, pack
from mlff_distiller.data.exporters import EXPORTERS
from mlff_distiller.data.importers import IMPORTERS
from mlff_distiller.data.importers.border import convert
from mlff_distiller.data.importers.importing import import_data
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.importers.settle import settle
from mlff_distiller.data.storage.store import Store

FORMATS = ["extxyz", "ase-db", "aselmdb", "npz"]


def potential_like(seed: int, n: int, *, periodic: bool) -> tuple[Structure, Labels]:
    rng = np.random.default_rng(seed)
    cell = 6 * np.eye(3) + rng.normal(0, 0.3, (3, 3)) if periodic else None
    stress = rng.normal(0, 0.01, (3, 3))
    structure = Structure(
        np.arange(n) % 9 + 1,
        rng.normal(0, 2, (n, 3)),
        cell=cell,
        pbc=periodic,
        charge=seed % 3 - 1,
        spin=1 + seed % 2,
        info={"molecule": f"number {seed}", "step": seed},
    )
    return structure, Labels(
        energy=float(rng.normal()),
        forces=rng.normal(size=(n, 3)),
        stress=stress + stress.T if periodic else None,
    )


def one_molecule(count: int = 6, *, periodic: bool = True) -> Columns:
    """Return frames of one crystal (same cell), which every format can hold."""
    made = [potential_like(seed, 4, periodic=periodic) for seed in range(count)]
    cell = made[0][0].cell
    structures = [
        Structure(s.numbers, s.positions, cell=cell, pbc=s.pbc, charge=s.charge, spin=s.spin, info=s.info)
        for s, _ in made
    ]
    return pack(range(count), structures, [labels for _, labels in made])


def mixed() -> Columns:
    """Return structures of different sizes, boundary conditions and labels."""
    made = [potential_like(seed, 1 + seed, periodic=seed % 2 == 0) for seed in range(5)]
    labels = [label for _, label in made]
    labels[1] = Labels(energy=1.5)
    labels[3] = Labels(forces=labels[3].forces, atomic_energies=np.arange(4.0))
    return pack(range(5), [structure for structure, _ in made], labels)


def skip_without_lmdb(name: str) -> None:
    if name == "aselmdb":
        pytest.importorskip("lmdb", reason="the package lmdb (extra 'lmdb') is not installed")


def read_back(name: str, path: Path) -> list[Any]:
    plan = ImportPlan()
    reader = IMPORTERS.get(name)(path, plan)
    frames = list(reader.frames())
    units = settle(frames, reader.units, plan, format_name=name, where=str(path))
    return [convert(frame, units, plan).labeled for frame in frames]


@pytest.mark.parametrize("name", FORMATS)
def test_what_goes_out_comes_back(tmp_path: Path, name: str) -> None:
    skip_without_lmdb(name)
    columns = one_molecule()
    rows = np.array([4, 0, 5, 2])
    EXPORTERS.get(name)(columns, rows, tmp_path / "out")
    found = read_back(name, tmp_path / "out")
    assert len(found) == 4
    for row, (structure, labels) in zip(rows, found, strict=True):
        source, truth = columns.structure(row), columns.labels(row)
        np.testing.assert_array_equal(structure.numbers, source.numbers)
        np.testing.assert_array_equal(structure.positions, source.positions)
        np.testing.assert_array_equal(structure.cell, source.cell)
        assert (structure.charge, structure.spin) == (source.charge, source.spin)
        assert structure.info["molecule"] == source.info["molecule"]
        assert labels.energy == truth.energy
        np.testing.assert_array_equal(labels.forces, truth.forces)
        np.testing.assert_allclose(labels.stress, truth.stress, rtol=1e-12)


@pytest.mark.parametrize("name", ["extxyz", "ase-db", "aselmdb"])
def test_absent_labels_stay_absent(tmp_path: Path, name: str) -> None:
    skip_without_lmdb(name)
    columns = mixed()
    EXPORTERS.get(name)(columns, None, tmp_path / "out")
    for row, (structure, labels) in enumerate(read_back(name, tmp_path / "out")):
        assert labels.present == columns.labels(row).present
        assert structure.formula == columns.structure(row).formula
        np.testing.assert_array_equal(structure.pbc, columns.structure(row).pbc)


def test_ase_reads_the_extended_xyz(tmp_path: Path) -> None:
    columns = mixed()
    EXPORTERS.get("extxyz")(columns, None, tmp_path / "a.xyz")
    for row, atoms in enumerate(ase.io.read(tmp_path / "a.xyz", index=":")):
        structure, labels = columns.structure(row), columns.labels(row)
        np.testing.assert_array_equal(atoms.positions, structure.positions)
        np.testing.assert_array_equal(atoms.cell.array, structure.cell)
        assert atoms.info["molecule"] == f"number {row}"
        assert (atoms.info["charge"], atoms.info["spin"]) == (structure.charge, structure.spin)
        if labels.energy is not None:
            assert atoms.get_potential_energy() == labels.energy
        if labels.forces is not None:
            np.testing.assert_array_equal(atoms.get_forces(), labels.forces)
        if labels.stress is not None:
            np.testing.assert_allclose(atoms.get_stress(voigt=False), labels.stress, rtol=1e-12)
        if labels.atomic_energies is not None:
            np.testing.assert_array_equal(atoms.calc.results["energies"], labels.atomic_energies)


HARD = {
    "text": "quotes \" and ' and \\ and = and [brackets] {braces}\nand a second line",
    "a key = hard": "x",
    "looks like a number": "1.5",
    "truth": "T",
    "yes": True,
    "none": None,
    "real": 1e-30,
    "nested": {"list": [1, 2.5, None, True], "text": "ü"},
    "ragged": [[1], [1, 2]],
    "empty": "",
    "energy": "a name of ours",
    "plain": "C#C.[Na+]",
}


def test_ase_reads_hard_information_back(tmp_path: Path) -> None:
    EXPORTERS.get("extxyz")(pack([0], [Structure([1], [[0, 0, 0]], info=HARD)]), None, tmp_path / "a.xyz")
    info = ase.io.read(tmp_path / "a.xyz").info
    assert info["info_energy"] == "a name of ours"
    for name in HARD.keys() - {"energy", "ragged"}:
        assert info[name] == HARD[name], name
    assert info["ragged"] == "[[1], [1, 2]]"


@pytest.mark.parametrize("name", ["ase-db", "aselmdb"])
def test_rows_of_a_database_have_their_labels(tmp_path: Path, name: str) -> None:
    skip_without_lmdb(name)
    columns = one_molecule()
    path = tmp_path / ("a.db" if name == "ase-db" else "a.aselmdb")
    EXPORTERS.get(name)(columns, None, path)
    if name == "aselmdb":
        pytest.importorskip("ase_db_backends", reason="the package ase-db-backends is not installed")
    with ase.db.connect(path, readonly=True) if name == "aselmdb" else ase.db.connect(path) as database:
        rows = list(database.select())
    assert [row.id for row in rows] == [1, 2, 3, 4, 5, 6]
    for i, row in enumerate(rows):
        labels = columns.labels(i)
        assert row.energy == labels.energy
        np.testing.assert_array_equal(row.forces, labels.forces)
        np.testing.assert_allclose(row.stress, labels.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], rtol=1e-12)
        np.testing.assert_array_equal(row.toatoms().positions, columns.structure(i).positions)
        assert row.data["charge"] == columns.structure(i).charge


def test_a_database_of_several_transactions_is_whole(tmp_path: Path) -> None:
    skip_without_lmdb("aselmdb")
    for count in (999, 1000, 1001):
        columns = pack(
            range(count), [Structure([1], [[0, 0, 0]])] * count, [Labels(energy=float(i)) for i in range(count)]
        )
        EXPORTERS.get("aselmdb")(columns, None, tmp_path / f"{count}")
        frames = IMPORTERS.get("aselmdb")(tmp_path / f"{count}", ImportPlan()).frames()
        assert [float(frame.values["energy"]) for frame in frames] == list(range(count))


def test_the_npz_form_is_sgdmls(tmp_path: Path) -> None:
    columns = one_molecule()
    EXPORTERS.get("npz")(columns, None, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["z"].shape == (4,)
        assert arrays["R"].shape == arrays["F"].shape == (6, 4, 3)
        assert arrays["E"].shape == (6,)
        assert (str(arrays["r_unit"]), str(arrays["e_unit"])) == ("Angstrom", "eV")
        np.testing.assert_array_equal(arrays["lattice"].T, columns.structure(0).cell)


def test_npz_of_molecules_and_of_many_blocks(tmp_path: Path) -> None:
    n = 2600  # more atoms than a block of data/blocks.py has
    rng = np.random.default_rng(0)
    structures = [Structure([18] * 4, rng.normal(0, 9, (4, 3)), info={"i": "x" * (i % 5)}) for i in range(n)]
    columns = pack(range(n), structures, [Labels(energy=float(i)) for i in range(n)])
    EXPORTERS.get("npz")(columns, None, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["E"], np.arange(n))
        np.testing.assert_array_equal(arrays["R"].reshape(-1, 3), columns.arrays["positions"])
        assert "lattice" not in arrays
    frames = list(IMPORTERS.get("npz")(tmp_path / "a.npz", ImportPlan()).frames())
    assert frames[9].info == {"i": "xxxx"}


def test_npz_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1]])
    slab = Structure([1], [[0, 0, 0]], cell=np.eye(3), pbc=(True, True, False))
    cases = {
        "elements or their order": pack([0, 1], [h2, Structure([1, 2], h2.positions)]),
        "cells": pack([0, 1], [h2, Structure([1, 1], h2.positions, cell=np.eye(3) * 5, pbc=True)]),
        "labels": pack([0, 1], [h2, h2], [Labels(energy=1.0), Labels()]),
        "slabs": pack([0], [slab]),
    }
    for what, columns in cases.items():
        with pytest.raises(DataError, match=f"{what}.*export to extxyz"):
            EXPORTERS.get("npz")(columns, None, tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_overwritten_unasked(tmp_path: Path, name: str) -> None:
    skip_without_lmdb(name)
    path = tmp_path / "out"
    path.write_text("precious")
    with pytest.raises(DataError, match=r"exists; choose another name.*--overwrite"):
        EXPORTERS.get(name)(one_molecule(), None, path)
    assert path.read_text() == "precious"
    EXPORTERS.get(name)(one_molecule(), None, path, overwrite=True)
    assert len(read_back(name, path)) == 6
    with pytest.raises(DataError, match="is a directory"):
        EXPORTERS.get(name)(one_molecule(), None, tmp_path, overwrite=True)


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_to_export_is_an_error(tmp_path: Path, name: str) -> None:
    skip_without_lmdb(name)
    with pytest.raises(DataError, match="no structures to export"):
        EXPORTERS.get(name)(one_molecule(), np.array([], dtype=np.int64), tmp_path / "out")
    assert not list(tmp_path.iterdir())


class Failing:
    """Columns that cannot be read to their end."""

    def __init__(self, error: Exception) -> None:
        rng = np.random.default_rng(0)
        structures = [Structure([18] * 50, rng.normal(0, 9, (50, 3))) for _ in range(400)]
        self._columns, self._error, self._passes = pack(range(400), structures), error, 0

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def sizes(self) -> Any:
        return self._columns.sizes

    @property
    def properties(self) -> list[str]:
        return self._columns.properties

    def take(self, rows: Any) -> Columns:
        self._passes += 1
        if self._passes == 4:  # in the writing pass of every format
            raise self._error
        return self._columns.take(rows)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("error", "told"),
    [(OSError(28, "No space left on device"), DistillerError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_failure_leaves_the_old_file_and_no_half_one(
    tmp_path: Path, name: str, error: Exception, told: type[BaseException]
) -> None:
    skip_without_lmdb(name)
    path = tmp_path / "out"
    path.write_text("old")
    source = Failing(error)
    source._passes = 0 if name == "npz" else 2  # the others write in their first pass
    with pytest.raises(told):
        EXPORTERS.get(name)(source, None, path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert path.read_text() == "old"


def test_a_full_disk_is_one_sentence(tmp_path: Path, file_size_limit: Callable[[int], None]) -> None:
    rng = np.random.default_rng(0)
    columns = pack(range(300), [Structure([18] * 50, rng.normal(0, 9, (50, 3))) for _ in range(300)])
    file_size_limit(100_000)
    for name in ("extxyz", "ase-db", "npz"):
        with pytest.raises(DistillerError, match="cannot write"):
            EXPORTERS.get(name)(columns, None, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def file_size_limit() -> Any:
    """Let no file of this process grow beyond a number of bytes, which stands for a full disk."""
    import resource
    import signal

    old_limit, old_handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda n_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, old_limit[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
    signal.signal(signal.SIGXFSZ, old_handler)


def test_unknown_formats_name_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'extxyz'"):
        EXPORTERS.get("xyz")


FREE = {
    "temperature_K": 300.5,
    "smiles": "F/C=C\\F",
    "name": "Ünïcode \u6c34 \U0001f600",
    "note": "x" * 200,
    "list": [1, 2.5, "a"],
    "nested": {"a": 1},
    "flag": True,
    "number": "007",
    "quote": 'a "b" \\"',
    "info_energy": 5,
}
TAGS = {"energy_unit": "kcal/mol", "Forces_unit": "kcal/mol/A", "units": "eV"}


@pytest.mark.parametrize("name", FORMATS)
def test_everything_survives_two_rounds(tmp_path: Path, name: str) -> None:
    """Tags of a former file are dropped, for the numbers are in our units since; all else is what it was."""
    skip_without_lmdb(name)
    structure, labels = potential_like(3, 4, periodic=True)
    made = Structure(structure.numbers, structure.positions, cell=structure.cell, pbc=True, info={**FREE, **TAGS})
    source: Any = pack([0, 1], [made, made], [labels, labels])
    endings = {"extxyz": "xyz", "ase-db": "db", "aselmdb": "aselmdb", "npz": "npz"}
    for turn in range(2):
        path = tmp_path / f"{turn}.{endings[name]}"
        EXPORTERS.get(name)(source, None, path)
        plan = ImportPlan(stress_order="xx,yy,zz,yz,xz,xy")
        done = import_data(path, plan, tmp_path / f"store{turn}")
        assert not done.left_out
        declared = {row.quantity: row.why for row in done.units if row.quantity in ("energy", "forces", "stress")}
        assert all("of the" in why for why in declared.values()), declared
        source = Store.open(tmp_path / f"store{turn}")
        assert source.structure(1).info == FREE
        assert source.labels(1).energy == labels.energy
        np.testing.assert_array_equal(source.labels(1).forces, labels.forces)
        np.testing.assert_allclose(source.labels(1).stress, labels.stress, rtol=1e-12)


@pytest.mark.parametrize("name", FORMATS)
def test_hessian_rows_stay_behind(name: str, tmp_path: Path) -> None:
    skip_without_lmdb(name)
    columns = one_molecule(2)
    labels = [columns.labels(row) for row in range(2)]
    rows = {key: np.ones((4, 2, 3)) for key in HESSIAN}
    structures = [columns.structure(row) for row in range(2)]
    with_rows = pack(range(2), structures, [replace(labels[0], **rows), labels[1]])
    EXPORTERS.get(name)(with_rows, None, tmp_path / "rows")
    EXPORTERS.get(name)(columns, None, tmp_path / "plain")
    found, expected = (read_back(name, tmp_path / file) for file in ("rows", "plain"))
    for one, other in zip(found, expected, strict=True):
        assert one.labels.present == other.labels.present
        assert one.labels.energy == other.labels.energy
        assert one.structure.info == other.structure.info
