"""What is damaged is found, named and set aside; what is whole is a store again."""

import json

import pytest

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.storage.integrity import repair, verify
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter

IDENTITY = {"kind": "xtb", "version": "GFN2-xTB", "weights": "0"}
N = 30


@pytest.fixture
def store(tmp_path, structure, label):
    writer = StoreWriter(tmp_path / "data", identity=IDENTITY, header={"recipe": "abc"}, shard_atoms=20)
    writer.append(range(N), [structure(i) for i in range(N)], [label(i) for i in range(N)])
    return writer.seal()


def flip(file, place=1000):
    content = file.read_bytes()
    file.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])


def test_a_whole_store_is_left_alone(store):
    before = {p: p.read_bytes() for p in store.path.rglob("*") if p.is_file()}
    assert repair(store.path) == type(repair(store.path))(N, 0, [])
    assert {p: p.read_bytes() for p in store.path.rglob("*") if p.is_file()} == before


def test_a_flipped_byte_costs_its_shard_alone(store, structure, same):
    shard = store.manifest.shards[2]
    flip(store.path / shard.file)
    (problem,) = store.verify()
    assert verify(store.path).problems == [problem]
    assert shard.file in problem
    assert "mlffd data repair" in problem
    repaired = repair(store.path)
    assert repaired.n_lost == shard.n_structures
    assert repaired.n_structures == N - shard.n_structures
    assert shard.file in repaired.problems[0]
    assert [p.name for p in (store.path / "damaged").iterdir()] == ["000002.h5"]
    rest = Store.open(store.path)
    assert rest.verify() == []
    assert rest.identity == IDENTITY
    assert rest.header == {"recipe": "abc"}
    assert len(rest.manifest.repairs) == 1
    assert all(same(rest.structure(k), structure(i)) for k, i in enumerate(rest.ids.tolist()))


def test_a_missing_shard_is_forgotten(store):
    (store.path / "shards" / "000001.h5").unlink()
    with pytest.raises(DataError, match=r"000001\.h5 is missing"):
        Store.open(store.path)
    assert len(verify(store.path).problems) == 1
    assert "is missing" in repair(store.path).problems[0]
    assert Store.open(store.path).verify() == []


@pytest.mark.parametrize("content", [None, b"", b"{", b"\x00" * 100])
def test_a_lost_manifest_is_made_again_from_the_shards(store, structure, same, content):
    digest = store.digest
    if content is None:
        (store.path / "manifest.json").unlink()
    else:
        (store.path / "manifest.json").write_bytes(content)
    with pytest.raises(DataError):
        Store.open(store.path)
    assert "manifest.json" in repair(store.path).problems[0]
    again = Store.open(store.path)
    assert again.digest == digest
    assert again.identity == IDENTITY
    assert same(again.structure(7), structure(7))


def test_an_unfinished_store_is_repaired_too(tmp_path, structure):
    writer = StoreWriter(tmp_path / "data", shard_atoms=20)
    for i in range(N):
        writer.append([i], [structure(i)])
    writer.close()
    flip(tmp_path / "data" / "shards" / "00-000001.h5")
    lost = repair(tmp_path / "data").n_lost
    assert lost > 0
    writer = StoreWriter(tmp_path / "data")
    missing = [i for i in range(N) if i not in writer.done_ids]
    assert len(missing) == lost
    writer.append(missing, [structure(i) for i in missing])
    assert len(writer.seal()) == N


def test_beyond_repair(store, tmp_path):
    for entry in store.manifest.shards:
        flip(store.path / entry.file)
    with pytest.raises(DataError, match="no shard that is whole"):
        repair(store.path)
    assert not (store.path / "damaged").exists()
    manifest = json.loads((store.path / "manifest.json").read_text())
    (store.path / "manifest.json").write_text(json.dumps(manifest | {"version": 9}))
    with pytest.raises(DataError, match="newer release"):
        repair(store.path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no data set"):
        repair(tmp_path / "empty")
    with pytest.raises(DataError, match="does not exist"):
        repair(tmp_path / "nothing")
