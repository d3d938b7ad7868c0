"""LMDB: our reading of the file against liblmdb's, the values, and aselmdb against ase-db-backends."""

import io
import json
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers import lmdb_file
from mlff_distiller.data.importers.aselmdb import AselmdbReader
from mlff_distiller.data.importers.lmdb import LmdbReader
from mlff_distiller.data.importers.plan import ImportPlan

lmdb = pytest.importorskip("lmdb", reason="the package lmdb (extra 'lmdb') is not installed")


def write(path: Path, entries: dict[bytes, bytes], *, per_transaction: int = 1000, subdir: bool = False) -> Path:
    environment = lmdb.open(str(path), subdir=subdir, map_size=1 << 28)
    items = list(entries.items())
    for first in range(0, len(items), per_transaction):
        with environment.begin(write=True) as transaction:
            for key, value in items[first : first + per_transaction]:
                transaction.put(key, value)
    environment.close()
    return path


def contents(path: Path) -> dict[bytes, bytes]:
    with lmdb_file.opened(path) as file:
        found = {entry.key: file.value(entry) for entry in file.entries()}
        assert len(found) == file.n_entries
    return found


@pytest.mark.parametrize("count", [0, 1, 2, 150, 5000])
@pytest.mark.parametrize("size", [1, 300, 2100, 20000])
def test_entries_are_those_that_were_written(tmp_path: Path, count: int, size: int) -> None:
    """From one leaf to a tree three pages deep; small values, values on pages of their own."""
    if count * size > 5_000_000:
        count = 200
    rng = np.random.default_rng(count)
    entries = {str(i).encode(): rng.bytes(size + i % 7) for i in range(count)}
    path = write(tmp_path / "a.lmdb", entries, per_transaction=97)
    found = contents(path)
    assert found == entries
    assert list(found) == sorted(entries)


def test_deleted_and_rewritten_entries(tmp_path: Path) -> None:
    path = write(tmp_path / "a.lmdb", {str(i).encode(): b"x" * 500 for i in range(2000)}, per_transaction=100)
    environment = lmdb.open(str(path), subdir=False, map_size=1 << 28)
    with environment.begin(write=True) as transaction:
        for i in range(0, 2000, 3):
            transaction.delete(str(i).encode())
        transaction.put(b"7", b"y" * 9000)
    environment.close()
    found = contents(path)
    assert len(found) == 2000 - 667
    assert found[b"7"] == b"y" * 9000
    assert b"9" not in found


def test_directories_and_other_files(tmp_path: Path) -> None:
    assert contents(write(tmp_path / "folder", {b"a": b"1"}, subdir=True)) == {b"a": b"1"}
    (tmp_path / "text").write_text("no database" * 1000)
    with pytest.raises(DataError, match="no LMDB file"):
        contents(tmp_path / "text")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(DataError, match="ends too early"):
        contents(tmp_path / "empty")


def test_a_file_of_another_version_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.lmdb", {b"a": b"1"})
    content = bytearray(path.read_bytes())
    content[20:24] = (3).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match="data version 3, not 1"):
        contents(path)


def test_named_databases_are_refused(tmp_path: Path) -> None:
    environment = lmdb.open(str(tmp_path / "a.lmdb"), subdir=False, max_dbs=1)
    with environment.begin(write=True) as transaction:
        transaction.put(b"k", b"v", db=environment.open_db(b"inner", transaction))
    environment.close()
    with pytest.raises(DataError, match="named databases"):
        contents(tmp_path / "a.lmdb")


WATER: dict[str, Any] = {
    "numbers": [8, 1, 1],
    "positions": [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]],
    "energy": -2.5,
    "forces": [[0.1, 0, 0], [-0.1, 0, 0], [0, 0, 0]],
    "charge": 1,
}


def npz_bytes(row: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **row)
    return stream.getvalue()


def msgpack_bytes(row: dict[str, Any]) -> bytes:
    return bytes(pytest.importorskip("msgpack").packb(row))


@pytest.mark.parametrize(
    "encode",
    [
        lambda row: json.dumps(row).encode(),
        lambda row: zlib.compress(json.dumps(row).encode()),
        npz_bytes,
        msgpack_bytes,
        lambda row: zlib.compress(msgpack_bytes(row)),
    ],
)
def test_values_of_every_kind(tmp_path: Path, encode: Callable[[dict[str, Any]], bytes]) -> None:
    rows = [{**WATER, "energy": float(i)} for i in range(12)]
    path = write(tmp_path / "a.lmdb", {str(i).encode(): encode(row) for i, row in enumerate(rows)})
    reader = LmdbReader(path, ImportPlan())
    frames = list(reader.frames())
    assert [float(frame.values["energy"]) for frame in frames] == list(range(12))  # not 0, 1, 10, 11, 2
    assert reader.units == {}
    assert reader.n_frames == 12
    assert (frames[3].numbers.tolist(), frames[3].charge, frames[3].where) == ([8, 1, 1], 1, "a.lmdb, entry 3")
    np.testing.assert_array_equal(frames[3].values["forces"], WATER["forces"])


def test_metadata_may_declare_units(tmp_path: Path) -> None:
    entries = {b"0": json.dumps(WATER).encode(), b"metadata": json.dumps({"energy_unit": "Ry"}).encode()}
    reader = LmdbReader(write(tmp_path / "a.lmdb", entries), ImportPlan())
    assert reader.units["energy"].unit == "Ry"
    assert reader.n_frames == 1


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "code was run",))

    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        for wrap in (bytes, zlib.compress):
            path = write(tmp_path / f"{protocol}{wrap.__name__}", {b"0": wrap(pickle.dumps(Trap(), protocol))})
            with pytest.raises(DataError, match=r"Python pickle, which runs code .* write the structures with ASE"):
                LmdbReader(path, ImportPlan())
    assert not (tmp_path / "code was run").exists()


def test_rows_without_what_a_structure_needs_are_refused(tmp_path: Path) -> None:
    row = {name: value for name, value in WATER.items() if name != "numbers"}
    with pytest.raises(DataError, match="none of numbers, atomic_numbers"):
        list(LmdbReader(write(tmp_path / "a", {b"0": json.dumps(row).encode()}), ImportPlan()).frames())
    both = json.dumps({**WATER, "atomic_numbers": [1, 1, 1]}).encode()
    with pytest.raises(DataError, match="numbers and atomic_numbers"):
        list(LmdbReader(write(tmp_path / "b", {b"0": both}), ImportPlan()).frames())


def test_aselmdb_as_its_own_package_writes_it(tmp_path: Path) -> None:
    backends = pytest.importorskip("ase_db_backends.aselmdb")
    path = tmp_path / "a.aselmdb"
    with backends.LMDBDatabase(path) as database:
        for i in range(1, 13):
            atoms = ase.Atoms("ArKr", [[0, 0, 0], [0, 0, 3.5 + 0.01 * i]], cell=[8, 9, 10], pbc=True)
            results = {"energy": -float(i), "forces": np.full((2, 3), float(i)), "stress": np.arange(6.0) + i}
            atoms.calc = SinglePointCalculator(atoms, **results)
            database.write(atoms, data={"charge": 1, "spin": 2, "source": "test"})
        database.delete([5])
    reader = AselmdbReader(path, ImportPlan())
    frames = list(reader.frames())
    ids = [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    assert reader.n_frames == 11
    assert [float(frame.values["energy"]) for frame in frames] == [-float(i) for i in ids]
    last = frames[-1]
    assert (last.charge, last.spin, last.info["source"]) == (1, 2, "test")
    np.testing.assert_array_equal(last.numbers, [18, 36])
    np.testing.assert_array_equal(last.values["stress"], np.arange(6.0) + 12)
    np.testing.assert_array_equal(last.values["forces"], np.full((2, 3), 12.0))
    np.testing.assert_array_equal(last.cell, np.diag([8.0, 9.0, 10.0]))
    assert last.pbc.all()
