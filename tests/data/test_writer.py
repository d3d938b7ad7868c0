"""What is appended is safe, in whatever order, and only once."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError, DistillerError
from mlff_distiller.data.columns import ragged
from mlff_distiller.data.store import Store
from mlff_distiller.data.writer import StoreWriter

IDENTITY = {"kind": "xtb", "version": "GFN2-xTB", "weights": "0"}
NUMBERS = list(range(24))


def shards(path):
    return [file.read_bytes() for file in sorted((path / "shards").iterdir())]


@pytest.fixture
def fill(structure, label):
    def into(path, batches, *, shard_atoms=20):
        for numbers in batches:  # a new writer each time, as after a crash
            with StoreWriter(path, identity=IDENTITY) as writer:
                writer.append(numbers, [structure(i) for i in numbers], [label(i) for i in numbers])
        return StoreWriter(path, identity=IDENTITY).seal(shard_atoms=shard_atoms)

    return into


def test_shards_do_not_depend_on_the_order_or_size_of_appends(tmp_path, fill):
    once = fill(tmp_path / "once", [NUMBERS])
    mixed = np.random.default_rng(0).permutation(NUMBERS).tolist()
    many = fill(tmp_path / "many", [mixed[i : i + 5] for i in range(0, 24, 5)])
    assert shards(once.path) == shards(many.path)
    assert once.digest == many.digest
    assert len(once.manifest.shards) > 3


def test_ids_are_sorted_and_may_be_any_integers(tmp_path, structure, same):
    ids = [2**62, -5, 0, 17]
    writer = StoreWriter(tmp_path / "data")
    writer.append(ids, [structure(i) for i in range(4)])
    store = writer.seal()
    assert store.ids.tolist() == sorted(ids)
    assert [same(store.structure(i), structure(n)) for i, n in enumerate([1, 2, 3, 0])] == [True] * 4


def test_shards_are_bounded_and_none_is_empty(tmp_path, fill, structure):
    for bound in (1, 7, 10**6):
        store = fill(tmp_path / str(bound), [NUMBERS], shard_atoms=bound)
        sizes = [shard.n_atoms for shard in store.manifest.shards]
        assert all(n <= max(bound, 5) for n in sizes)
        assert sum(sizes) == sum(len(structure(i)) for i in NUMBERS)
    assert len(sizes) == 1


def test_a_finished_store_holds_nothing_but_shards_and_manifest(tmp_path, fill):
    store = fill(tmp_path / "data", [NUMBERS[:5], NUMBERS[5:]])
    assert sorted(p.name for p in store.path.iterdir()) == ["manifest.json", "shards"]


def test_a_resumed_writer_knows_what_is_done(tmp_path, structure, label):
    writer = StoreWriter(tmp_path / "data", identity=IDENTITY, header={"recipe": "a"})
    writer.append([3, 1], [structure(3), structure(1)], [label(3), label(1)])
    assert writer.done_ids == {1, 3}
    writer.close()
    resumed = StoreWriter(tmp_path / "data", identity=IDENTITY, header={"recipe": "b"})
    assert resumed.done_ids == {1, 3}
    resumed.append([2], [structure(2)], [label(2)])
    store = resumed.seal()
    assert store.ids.tolist() == [1, 2, 3]
    assert store.header == {"recipe": "a"}


def test_sealing_a_sealed_store_does_nothing(tmp_path, fill):
    store = fill(tmp_path / "data", [NUMBERS])
    before = {p: p.stat().st_mtime_ns for p in store.path.rglob("*")}
    writer = StoreWriter(store.path, identity=IDENTITY)
    assert writer.done_ids == set(NUMBERS)
    assert len(writer.seal()) == 24
    assert {p: p.stat().st_mtime_ns for p in store.path.rglob("*")} == before


def test_a_sealed_store_takes_no_more(tmp_path, fill, structure):
    store = fill(tmp_path / "data", [NUMBERS])
    with pytest.raises(DataError, match="is sealed"):
        StoreWriter(store.path, identity=IDENTITY).append([100], [structure(100)])


def test_an_id_is_stored_once(tmp_path, structure):
    writer = StoreWriter(tmp_path / "data")
    writer.append([1], [structure(1)])
    for ids in ([2, 1], [3, 3]):
        with pytest.raises(DataError, match="stored once"):
            writer.append(ids, [structure(1), structure(2)])
    assert writer.done_ids == {1}
    assert len(writer.seal()) == 1


@pytest.mark.parametrize("sealed", [False, True])
def test_labels_of_two_potentials_are_never_mixed(tmp_path, sealed, structure):
    writer = StoreWriter(tmp_path / "data", identity=IDENTITY)
    writer.append([1], [structure(1)])
    if sealed:
        writer.seal()
    for other in ({**IDENTITY, "version": "GFN1-xTB"}, None):
        with pytest.raises(DataError, match="holds labels of xtb GFN2-xTB"):
            StoreWriter(tmp_path / "data", identity=other)


def test_nothing_to_seal(tmp_path):
    writer = StoreWriter(tmp_path / "data")
    writer.append([], [])
    with pytest.raises(DataError, match="nothing to seal"):
        writer.seal()
    with pytest.raises(DataError, match="did not finish"):
        Store.open(tmp_path / "data")


@pytest.mark.parametrize(
    ("structures", "labels", "message"),
    [
        ([Structure([1], [[0, 0, 0]])] * 2, None, "1 ids, 2 structures"),
        ([Structure([1], [[0, 0, 0]])], [], "1 structures and 0 labels"),
        ([Structure([1], [[0, 0, 0]])], [Labels(forces=np.zeros((2, 3)))], r"forces of structure 9 \(H\) have shape"),
        ([Structure([1], [[0, 0, 0]])], [Labels(stress=np.zeros(6))], "stress of structure 9"),
        ([Structure([1], [[0, 0, 0]])], [Labels(atomic_energies=np.zeros(3))], "atomic_energies of structure 9"),
        ([Structure([1], [[0, 0, 0]], info={"a": {1, 2}})], None, "info of structure 9"),
        ([Structure([1], [[0, 0, 0]], info={"a": float("nan")})], None, "info of structure 9"),
    ],
)
def test_input_that_does_not_fit_is_refused_whole(tmp_path, structures, labels, message):
    writer = StoreWriter(tmp_path / "data")
    with pytest.raises(DataError, match=message):
        writer.append([9], structures, labels)
    assert writer.done_ids == StoreWriter(tmp_path / "data").done_ids == set()


def test_directories_of_other_things_are_left_alone(tmp_path, structure):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(DataError, match=r"holds other files \(thesis\.tex\)"):
        StoreWriter(tmp_path)
    with pytest.raises(DataError, match="is a file"):
        StoreWriter(tmp_path / "thesis.tex")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DistillerError, match="cannot write"):
        StoreWriter(tmp_path / "file" / "data")


def test_torn_temporary_files_are_removed(tmp_path, structure):
    StoreWriter(tmp_path / "data").append([1], [structure(1)])
    torn = [tmp_path / "data" / name for name in (".manifest.json.1a.tmp", "parts/.000001.h5.2b.tmp")]
    for file in torn:
        file.write_bytes(b"half")
    writer = StoreWriter(tmp_path / "data")
    assert writer.done_ids == {1}
    assert not any(file.exists() for file in torn)


def test_damaged_parts_are_named(tmp_path, structure):
    StoreWriter(tmp_path / "data").append([1], [structure(1)])
    part = tmp_path / "data" / "parts" / "000000.h5"
    whole = part.read_bytes()
    (tmp_path / "data" / "parts" / "000001.h5").write_bytes(whole)
    with pytest.raises(DataError, match="also in another part"):
        StoreWriter(tmp_path / "data")
    part.write_bytes(whole[:100])
    with pytest.raises(DataError, match=r"000000\.h5 cannot be read"):
        StoreWriter(tmp_path / "data")
    part.unlink()
    writer = StoreWriter(tmp_path / "data")
    writer.append([7], [structure(7)])  # must not overwrite the part that is left
    assert StoreWriter(tmp_path / "data").done_ids == {1, 7}


@pytest.mark.parametrize(("text", "message"), [("{", "is damaged"), (None, "newer release")])
def test_journals_that_cannot_be_continued(tmp_path, text, message, structure):
    StoreWriter(tmp_path / "data").append([1], [structure(1)])
    journal = tmp_path / "data" / "unsealed.json"
    journal.write_text(text or json.dumps(json.loads(journal.read_text()) | {"version": 2}))
    with pytest.raises(DataError, match=message):
        StoreWriter(tmp_path / "data")


@pytest.mark.skipif(os.name != "posix", reason="file locks are POSIX")
def test_two_processes_do_not_write_at_once(tmp_path):
    code = (
        "import sys, pathlib; from mlff_distiller.data.writer import StoreWriter;"
        "writer = StoreWriter(pathlib.Path(sys.argv[1])); print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "data")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"ready\n"
        with pytest.raises(DataError, match="another process is writing"):
            StoreWriter(tmp_path / "data")
        other.kill()
        other.wait()
        assert StoreWriter(tmp_path / "data").done_ids == set()


def test_ragged_rows_may_be_empty():
    offsets = np.array([0, 0, 2, 2, 3])
    assert ragged(offsets, np.array([0, 1, 2, 3, 1])).tolist() == [0, 1, 2, 0, 1]
    assert ragged(offsets, np.array([], dtype=int)).tolist() == []
