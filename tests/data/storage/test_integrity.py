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


@pytest.fixture
def begun(tmp_path, structure):
    """An unfinished store: four sealed shards and a journal."""
    with StoreWriter(tmp_path / "begun", identity=IDENTITY, shard_atoms=20) as writer:
        for i in range(N):
            writer.append([i], [structure(i)])
    assert len(list((tmp_path / "begun" / "shards").glob("*.h5"))) >= 4
    return tmp_path / "begun"


@pytest.mark.parametrize("content", [None, b"", b"\x00" * 300])
def test_a_lost_entry_loses_no_shard(begun, content, structure, same):
    entry = begun / "shards" / "00-000001.json"
    entry.unlink()
    if content is not None:
        entry.write_bytes(content)
    (problem,) = verify(begun).problems
    assert "00-000001.h5 has no whole entry" in problem
    writer = StoreWriter(begun, identity=IDENTITY)
    assert writer.done_ids == set(range(N))
    store = writer.seal()
    assert store.ids.tolist() == list(range(N))
    assert all(same(store.structure(i), structure(i)) for i in range(N))


def test_a_shard_cut_short_before_sealing_is_set_aside(begun):
    shard = begun / "shards" / "00-000001.h5"
    shard.write_bytes(shard.read_bytes()[:3000])
    assert len(verify(begun).problems) == 1
    assert "cannot be read" in repair(begun).problems[0]
    assert (begun / "damaged" / "00-000001.h5").exists()
    writer = StoreWriter(begun, identity=IDENTITY)
    assert 0 < N - len(writer.done_ids) < 10
    assert verify(writer.seal().path).problems == []


@pytest.mark.parametrize("content", [None, b"", b"\x00" * 300])
def test_a_lost_description_locks_nothing_out(begun, content):
    (begun / "unsealed.json").unlink()
    if content is not None:
        (begun / "unsealed.json").write_bytes(content)
    assert "unsealed.json was lost or damaged" in repair(begun).problems[0]
    assert not (begun / "manifest.json").exists()
    assert StoreWriter(begun, identity=IDENTITY).seal().ids.tolist() == list(range(N))


def test_an_unreadable_shard_is_set_aside_when_the_manifest_is_lost_too(store):
    (store.path / "manifest.json").unlink()
    shard = store.path / "shards" / "000001.h5"
    shard.write_bytes(shard.read_bytes()[:100])
    problems = repair(store.path).problems
    assert len(problems) == 2
    assert (store.path / "damaged" / "000001.h5").exists()
    assert verify(store.path).problems == []


def test_shards_out_of_order_are_found(store):
    manifest = json.loads((store.path / "manifest.json").read_text())
    (store.path / "manifest.json").write_text(json.dumps(manifest | {"shards": manifest["shards"][::-1]}))
    assert any("out of order" in problem for problem in verify(store.path).problems)


def test_a_manifest_that_points_elsewhere_moves_nothing(store, tmp_path):
    (tmp_path / "thesis.h5").write_text("x")
    manifest = json.loads((store.path / "manifest.json").read_text())
    manifest["shards"][0]["file"] = str(tmp_path / "thesis.h5")
    (store.path / "manifest.json").write_text(json.dumps(manifest))
    repair(store.path)
    assert (tmp_path / "thesis.h5").exists()


def test_nothing_is_repaired_under_a_writer(begun, structure):
    writer = StoreWriter(begun, identity=IDENTITY)
    with pytest.raises(DataError, match="another process is writing"):
        repair(begun)
    writer.append([N], [structure(N)])
    assert len(writer.seal()) == N + 1
