"""A store gives back what went in, bit for bit, and refuses in one sentence what it cannot trust."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff_distiller.atoms.labels import EMBEDDINGS, HESSIAN, SPREADS, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.provenance import file_digest
from mlff_distiller.data.schema import COLUMNS
from mlff_distiller.data.storage import shards
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter

IDENTITY = {"kind": "xtb", "version": "GFN2-xTB", "weights": "0"}
N = 30


@pytest.fixture
def written(tmp_path, structure, label):
    """Return a store of 30 structures in several shards."""
    writer = StoreWriter(tmp_path / "data", identity=IDENTITY, header={"recipe": "abc"}, shard_atoms=20)
    writer.append(range(N), [structure(i) for i in range(N)], [label(i) for i in range(N)])
    return writer.seal()


def edit_manifest(store, **changes):
    file = store.path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_every_bit_comes_back(written, structure, label, same):
    store = Store.open(written.path)
    assert len(store.manifest.shards) > 3
    assert len(store) == N
    assert store.n_atoms == sum(len(structure(i)) for i in range(N))
    assert store.ids.tolist() == list(range(N))
    assert all(same(store.structure(i), structure(i)) for i in range(N))
    assert all(same(store.labels(i), label(i)) for i in range(N))
    assert store.properties == {"energy", "forces", "stress", "atomic_energies", *HESSIAN}
    assert store.identity == IDENTITY
    assert store.header == {"recipe": "abc"}
    assert store.verify() == []


def test_bulk_reads_keep_the_order_asked_for(written, structure, label, same):
    wanted = [17, 3, 3, 29, 0, -1]
    expected = [17, 3, 3, 29, 0, 29]
    for got, make in ((written.structures(wanted), structure), (written.all_labels(np.array(wanted)), label)):
        assert all(same(a, make(i)) for a, i in zip(got, expected, strict=True))
    assert [info == structure(i).info for info, i in zip(written.infos(wanted), expected, strict=True)] == [True] * 6
    assert len(written.structures()) == len(written.all_labels()) == len(written.infos()) == N
    assert written.structures([]) == []


@pytest.mark.parametrize("i", [N, -N - 1])
def test_indices_beyond_the_end_are_refused(written, i):
    with pytest.raises(IndexError, match="of a store of 30"):
        written.structure(i)


def test_what_a_reader_changes_does_not_change_the_store(written, label):
    row = next(i for i in range(N) if label(i).forces is not None)
    written.labels(row).forces[:] = 0
    assert np.array_equal(written.labels(row).forces, label(row).forces)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_labels_survive(tmp_path_factory, same, data):
    """Absent stays absent, and every float comes back with its bits: infinities, NaN and subnormals too."""
    floats = st.floats(width=64)
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    structures = [Structure([1] * n, np.arange(3.0 * n).reshape(n, 3)) for n in sizes]

    def array(*shape):
        size = int(np.prod(shape))
        return np.array(data.draw(st.lists(floats, min_size=size, max_size=size))).reshape(shape)

    labels = [
        Labels(
            energy=data.draw(st.none() | floats),
            forces=array(n, 3) if data.draw(st.booleans()) else None,
            stress=array(3, 3) if data.draw(st.booleans()) else None,
        )
        for n in sizes
    ]
    writer = StoreWriter(tmp_path_factory.mktemp("any") / "data")
    writer.append(range(len(sizes)), structures, labels)
    for before, after in zip(labels, writer.seal().all_labels(), strict=True):
        assert before.present == after.present
        for name in before.present:
            assert np.array(getattr(before, name)).tobytes() == np.array(getattr(after, name)).tobytes()


def test_structures_without_labels(tmp_path, structure):
    writer = StoreWriter(tmp_path / "data")
    writer.append([1, 2], [structure(1), structure(2)])
    store = writer.seal()
    assert store.properties == set()
    assert store.identity is None
    assert store.labels(0).present == ()


def test_the_layout_is_the_documented_one(tmp_path, structure, label):
    writer = StoreWriter(tmp_path / "data")
    writer.append([5, 3], [structure(1), structure(2)], [label(1), Labels()])
    store = writer.seal()
    with h5py.File(store.path / "shards" / "000000.h5") as file:
        assert dict(file.attrs) == {"format": b"mlffd-data", "version": 1, "identity": b"null"}
        assert set(file) == {c.name for c in COLUMNS} - {"atomic_energies", *SPREADS, *HESSIAN, *EMBEDDINGS}
        assert file["ids"][()].tolist() == [3, 5]
        assert file["offsets"][()].tolist() == [0, 3, 5]
        assert file["mask"][()].tolist() == [0, 1 | 2 | 4]
        assert np.isnan(file["energy"][0])
        assert np.isnan(file["forces"][:3]).all()
        for column in COLUMNS:
            if column.name in file:
                data = file[column.name]
                assert data.dtype.newbyteorder("=") == np.dtype(column.dtype).newbyteorder("=")
                assert data.chunks is None
                assert data.compression is None
        raw = np.memmap(file.filename, "<f8", "r", offset=file["positions"].id.get_offset(), shape=(5, 3))
        assert np.array_equal(raw[3:], structure(1).positions)


def test_the_manifest_tells_units_versions_and_checksums(written):
    manifest = json.loads((written.path / "manifest.json").read_text())
    assert manifest["format"] == "mlffd-data"
    assert manifest["version"] == 1
    assert manifest["units"]["forces"] == "eV/Angstrom"
    assert "numpy" in manifest["provenance"]["versions"]
    assert sum(shard["n_atoms"] for shard in manifest["shards"]) == manifest["n_atoms"]
    for shard in manifest["shards"]:
        assert file_digest(written.path / shard["file"]) == shard["sha256"]


def test_a_flipped_byte_anywhere_is_found_and_its_shard_named(written):
    for shard in ("shards/000000.h5", "shards/000002.h5"):
        file = written.path / shard
        whole = file.read_bytes()
        for place in np.linspace(0, len(whole) - 1, 7).astype(int):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            (problem,) = Store.open(written.path).verify()
            assert shard in problem
            assert "checksum" in problem
        file.write_bytes(whole)
    assert written.verify() == []


def test_a_store_must_exist_and_be_finished(tmp_path, structure):
    with pytest.raises(DataError, match="does not exist"):
        Store.open(tmp_path / "nothing")
    StoreWriter(tmp_path / "data").append([0], [structure(0)])
    with pytest.raises(DataError, match="was not finished; run again"):
        Store.open(tmp_path / "data")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2, written by a newer release; install"),
        ({"format": "mlffd-student"}, "of format 'mlffd-student'"),
        ({"shards": [{"file": 3}]}, "is damaged"),
        ({"n_structures": 31}, "do not add up"),
        ({"n_structures": 0, "n_atoms": 0, "shards": []}, "holds no structures"),
        ({"n_atoms": 7}, "do not add up to n_atoms"),
        ({"units": {"energy": "kcal/mol"}}, "names other units"),
        ({"version": None}, "is damaged"),
    ],
)
def test_manifests_that_cannot_be_trusted(written, changes, message):
    edit_manifest(written, **changes)
    with pytest.raises(DataError, match=message):
        Store.open(written.path)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "\x00\xff"])
def test_manifests_that_are_not_json_objects(written, text):
    (written.path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match="is damaged"):
        Store.open(written.path)


def test_unknown_keys_of_the_manifest_do_no_harm(written):
    edit_manifest(written, extra={"of": "a later release of the same version"})
    assert len(Store.open(written.path)) == N


@pytest.mark.parametrize("is_large", [False, True])
def test_rows_of_many_shards_come_back_however_they_are_read(written, structure, label, same, monkeypatch, is_large):
    """Small stores are mapped, large ones are read piece by piece; what comes back is the same."""
    monkeypatch.setattr(shards, "_MAPPED_BYTES", 0 if is_large else 10**9)
    monkeypatch.setattr(shards, "_OPEN_FILES", 2)
    store = Store.open(written.path)
    rows = np.random.default_rng(0).integers(-N, N, 200)
    assert all(same(a, structure(i % N)) for a, i in zip(store.structures(rows), rows, strict=True))
    assert all(same(a, label(i % N)) for a, i in zip(store.all_labels(rows), rows, strict=True))
    some = store.take(rows, only={"positions", "energy", "mask"})
    whole = store.take(rows)
    assert set(some.arrays) == {"offsets", "positions", "energy", "mask"}
    for name, array in some.arrays.items():
        assert np.array_equal(array, whole.arrays[name], equal_nan=True)
    scanned = list(store.scan(block_atoms=7))
    assert sum(map(len, scanned)) == N
    assert all(block.n_atoms <= 7 for block in scanned)


def test_threads_may_read_one_store(written, structure, same, monkeypatch):
    monkeypatch.setattr(shards, "_MAPPED_BYTES", 0)
    monkeypatch.setattr(shards, "_OPEN_FILES", 2)
    store = Store.open(written.path)
    orders = [np.random.default_rng(k).integers(0, N, (30, 8)) for k in range(4)]

    def read(order):
        return all(same(a, structure(i)) for rows in order for a, i in zip(store.structures(rows), rows, strict=True))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, orders))


def test_a_store_that_is_replaced_while_open_is_not_mixed_with_the_new_one(written, tmp_path, structure, monkeypatch):
    monkeypatch.setattr(shards, "_MAPPED_BYTES", 0)
    monkeypatch.setattr(shards, "_OPEN_FILES", 0)
    store = Store.open(written.path)
    store.take([0, N - 1])
    writer = StoreWriter(tmp_path / "new", shard_atoms=20)
    writer.append(range(N), [structure(N - i) for i in range(N)])
    new = writer.seal().path
    shutil.rmtree(written.path)
    new.rename(written.path)
    with pytest.raises(DataError, match="was replaced since"):
        store.take([0, N - 1])


def test_a_shard_with_other_types_is_refused(written):
    def narrow(shard):
        positions = shard["positions"][()].astype(np.float32)
        del shard["positions"]
        shard["positions"] = positions

    rewrite(written.path / "shards" / "000000.h5", narrow)
    with pytest.raises(DataError, match="positions is of type float32, not float64"):
        Store.open(written.path).structure(0)


def test_a_relative_path_survives_a_change_of_directory(written, monkeypatch, tmp_path, structure, same):
    monkeypatch.chdir(written.path.parent)
    store = Store.open(Path(written.path.name))
    monkeypatch.chdir(tmp_path.parent)
    assert same(store.structure(3), structure(3))


def test_missing_and_cut_shards_are_named(written):
    file = written.path / "shards" / "000001.h5"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"000001\.h5 has .* bytes, not"):
        Store.open(written.path)
    file.unlink()
    with pytest.raises(DataError, match=r"000001\.h5 is missing"):
        Store.open(written.path)
    assert len(written.verify()) == 1


def rewrite(file, change):
    with h5py.File(file, "r+") as shard:
        change(shard)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda shard: shard.__delitem__("forces"), "lacks forces"),
        (lambda shard: shard.__delitem__("cells"), "lacks cells"),
        (lambda shard: shard.__delitem__("mask"), "lacks mask"),
        (lambda shard: shard.move("info", "energies"), "lacks info"),
        (lambda shard: shard["offsets"].write_direct(shard["offsets"][()] + 1), "do not ascend from 0"),
    ],
)
def test_shards_that_do_not_hold_what_they_promise(written, change, message):
    rewrite(written.path / "shards" / "000000.h5", change)
    with pytest.raises(DataError, match=message):
        Store(written.path, written.manifest).structure(0)


def test_a_shard_that_is_no_hdf5_at_all(written):
    file = written.path / "shards" / "000000.h5"
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        Store.open(written.path).structure(0)


def test_reading_and_writing_never_loads_torch():
    names = ("storage.store", "storage.writer", "splits.make", "curation.copying", "statistics", "importers.importing")
    modules = ", ".join(f"mlff_distiller.data.{name}" for name in names)
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
