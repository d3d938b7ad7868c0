"""Version 1 of the data format stays readable, by the package and by the words of docs/reference/formats.md alone.

``data-v1/`` was written once, by the first release of the format, and ``data-v1.json`` says what it holds. Neither is
ever written again.
"""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from mlff_distiller.data.splits.files import read_split, split_file
from mlff_distiller.data.storage.integrity import verify
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter

HERE = Path(__file__).parent
STORE = HERE / "data-v1"


@pytest.fixture(scope="module")
def expected():
    return json.loads((HERE / "data-v1.json").read_text(encoding="utf-8"))


def test_the_package_reads_it_to_the_last_bit(expected):
    store = Store.open(STORE)
    assert verify(STORE).problems == []
    assert store.ids.tolist() == [entry["id"] for entry in expected]
    for row, entry in enumerate(expected):
        structure, labels = store.structure(row), store.labels(row)
        for name in ("numbers", "positions", "cell", "pbc"):
            assert getattr(structure, name).tolist() == entry[name]
        for name in ("charge", "spin", "info"):
            assert getattr(structure, name) == entry[name]
        assert set(labels.present) == entry["labels"].keys()
        for name, value in entry["labels"].items():
            assert np.asarray(getattr(labels, name)).tolist() == value


def test_the_manual_is_enough_to_read_it(expected):
    """Nothing but h5py, numpy and what the manual says."""
    manifest = json.loads((STORE / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["format"], manifest["version"]) == ("mlffd-data", 1)
    bits = {"energy": 1, "forces": 2, "stress": 4, "atomic_energies": 8}
    found = []
    for entry in manifest["shards"]:
        with h5py.File(STORE / entry["file"]) as shard:
            arrays = {name: shard[name][()] for name in shard}
        for k, number in enumerate(arrays["ids"]):
            atoms = slice(*arrays["offsets"][k : k + 2])
            info = arrays["info"][slice(*arrays["info_offsets"][k : k + 2])].tobytes().decode("utf-8")
            labels = {}
            for name, bit in bits.items():
                if arrays["mask"][k] & bit:
                    labels[name] = arrays[name][atoms if name in ("forces", "atomic_energies") else k].tolist()
            found.append(
                {
                    "id": int(number),
                    "numbers": arrays["numbers"][atoms].tolist(),
                    "positions": arrays["positions"][atoms].tolist(),
                    "cell": arrays["cells"][k].tolist(),
                    "pbc": (arrays["pbc"][k] != 0).tolist(),
                    "charge": int(arrays["charge"][k]),
                    "spin": int(arrays["spin"][k]),
                    "info": json.loads(info),
                    "labels": labels,
                }
            )
    assert found == expected


def test_bytes_may_be_mapped_at_the_offsets_of_hdf5(expected):
    file = STORE / "shards" / "000000.h5"
    with h5py.File(file) as shard:
        place, shape = shard["positions"].id.get_offset(), shard["positions"].shape
    raw = np.memmap(file, "<f8", "r", offset=place, shape=shape)
    assert raw[: len(expected[0]["positions"])].tolist() == expected[0]["positions"]


def test_its_split_is_read():
    store = Store.open(STORE)
    split = read_split(split_file(STORE, "by-hand"), data_digest=store.digest).split
    assert (split.validation.tolist(), split.test.tolist()) == ([3, 8], [5, 10])


def test_the_same_content_gives_the_same_bytes_today(expected, tmp_path):
    """A release that writes version 1 otherwise would change the digest of everybody's data."""
    store = Store.open(STORE)
    with StoreWriter(tmp_path / "again", identity=store.identity, header=store.header, shard_atoms=18) as writer:
        writer.append(store.ids.tolist(), store.structures(), store.all_labels())
        again = writer.seal()
    assert again.digest == store.digest


def test_a_copy_is_whole(tmp_path):
    shutil.copytree(STORE, tmp_path / "copy")
    assert len(Store.open(tmp_path / "copy")) == 12
