"""Formats are known by content: the name of the file says nothing here."""

import struct
from collections.abc import Callable
from pathlib import Path

import ase.build
import ase.db
import h5py
import numpy as np
import pytest

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.registry import Registry
from mlff_distiller.data.importers import IMPORTERS
from mlff_distiller.data.importers.detection import detect


def hdf5(*names: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for name in names:
                file[name] = np.zeros(3)

    return make


def database(path: Path) -> None:
    ase.db.connect(path, type="db").write(ase.build.molecule("H2O"))


def archive(path: Path) -> None:
    with path.open("wb") as handle:
        np.savez(handle, coords=np.zeros(3))


def directory(*names: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(b"")

    return make


MADE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "plain xyz": ("extxyz", lambda path: path.write_text("1\n\nH 0 0 0\n")),
    "npz": ("npz", archive),
    "trajectory": ("traj", lambda path: ase.build.molecule("H2O").write(path, format="traj")),
    "sqlite": ("ase-db", database),
    "mace": ("mace-hdf5", hdf5("config_batch_0/config_0/positions")),
    "spice": ("spice", hdf5("mol/atomic_numbers", "mol/conformations", "mol/dft_total_energy")),
    "ani-1": ("ani", hdf5("gdb11_s01/gdb11_s01-0/species", "gdb11_s01/gdb11_s01-0/coordinates")),
    "ani-1x": ("ani", hdf5("C1H4/atomic_numbers", "C1H4/coordinates")),
    "deepmd": ("deepmd", directory("water/type.raw", "water/set.000/coord.npy")),
    "lmdb directory": ("lmdb", directory("data.mdb")),
    "aselmdb directory": ("aselmdb", directory("data0000.aselmdb")),
}


@pytest.mark.parametrize("name", MADE)
def test_content_tells_the_format(tmp_path: Path, name: str) -> None:
    expected, make = MADE[name]
    path = tmp_path / "data.unknown"
    make(path)
    assert detect(path) == expected
    assert expected in IMPORTERS.names()


UNKNOWN: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("energies of water\n"),
    "noise": lambda path: path.write_bytes(bytes(range(200, 256))),
    "other hdf5": hdf5("group/data"),
    "other zip": lambda path: path.write_bytes(b"PK\x05\x06" + bytes(18)),
    "lmdb magic too short": lambda path: path.write_bytes(struct.pack("<16xH", 0xC0DE)),
    "other directory": directory("notes.txt"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_content_is_refused_with_all_formats(tmp_path: Path, name: str) -> None:
    path = tmp_path / "data.xyz"
    UNKNOWN[name](path)
    with pytest.raises(
        DataError, match=r"--format \(ani, ase-db, aselmdb, deepmd, extxyz, lmdb, mace-hdf5, npz, spice, traj\)"
    ):
        detect(path)


def test_a_torn_hdf5_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    hdf5("mol/atomic_numbers", "mol/conformations")(path)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(DataError, match=r"a\.h5 cannot be read as HDF5"):
        detect(path)


@pytest.mark.parametrize("name", sorted(IMPORTERS.names()))
def test_every_format_has_a_reader(name: str) -> None:
    assert callable(IMPORTERS.get(name))
    assert isinstance(IMPORTERS, Registry)
