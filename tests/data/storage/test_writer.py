"""What is appended is safe, in whatever order, and only once."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError, DistillerError
from mlff_distiller.data.columns import ragged
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter

IDENTITY = {"kind": "xtb", "version": "GFN2-xTB", "weights": "0"}
NUMBERS = list(range(24))


def shards(path):
    return [file.read_bytes() for file in sorted((path / "shards").iterdir())]


@pytest.fixture
def fill(structure, label):
    def into(path, batches, *, shard_atoms=20):
        for numbers in batches:  # a new writer each time, as after a crash
            with StoreWriter(path, identity=IDENTITY, shard_atoms=shard_atoms) as writer:
                writer.append(numbers, [structure(i) for i in numbers], [label(i) for i in numbers])
        return StoreWriter(path, identity=IDENTITY).seal()

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
    resumed = StoreWriter(tmp_path / "data", identity=IDENTITY)
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
    with pytest.raises(DataError, match="was not finished"):
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


@pytest.mark.parametrize("sealed", [False, True])
def test_what_was_begun_with_other_settings_is_not_continued(tmp_path, sealed, structure):
    with StoreWriter(tmp_path / "data", header={"seed": 1, "plan": "a"}) as writer:
        writer.append([1], [structure(1)])
        if sealed:
            writer.seal()
    with pytest.raises(DataError, match="begun with another seed;"):
        StoreWriter(tmp_path / "data", header={"seed": 2, "plan": "a"})
    with pytest.raises(DataError, match="begun with another more and plan;"):
        StoreWriter(tmp_path / "data", header={"seed": 1, "more": 1})
    assert StoreWriter(tmp_path / "data", header={"seed": 1, "plan": "a"}).done_ids == {1}


def test_torn_files_are_removed(tmp_path, structure):
    with StoreWriter(tmp_path / "data") as writer:
        writer.append([1], [structure(1)])
    names = (
        ".manifest.json.1a.tmp",
        "journals/.00.journal.2b.tmp",
        "shards/.00-000000.h5.3c.tmp",
        "shards/00-000000.h5",
    )
    (tmp_path / "data" / "shards").mkdir()
    torn = [tmp_path / "data" / name for name in names]
    for file in torn:
        file.write_bytes(b"half")
    writer = StoreWriter(tmp_path / "data")
    assert writer.done_ids == {1}
    assert not any(file.exists() for file in torn[1:])
    assert len(writer.seal()) == 1
    assert not torn[0].exists()


def test_a_journal_forgets_what_was_lost_and_keeps_the_rest(tmp_path, structure, same):
    """Lost writes: a cut tail, a page of zeros in the middle, rubbish at the end."""
    with StoreWriter(tmp_path / "data") as writer:
        ends = []
        for number in range(4):
            writer.append([number], [structure(number)])
            ends.append((tmp_path / "data" / "journals" / "00.journal").stat().st_size)
    journal = tmp_path / "data" / "journals" / "00.journal"
    whole = journal.read_bytes()
    for content, kept in (
        (whole[: ends[3] - 1], {0, 1, 2}),
        (whole[: ends[0] + 3], {0}),
        (whole[: ends[0]] + bytes(ends[1] - ends[0]) + whole[ends[1] :], {0, 2, 3}),
        (whole[: ends[1] - 8] + b"\xff" * 8 + whole[ends[1] :], {0, 2, 3}),
        (whole + b"MLFFDREC rubbish", {0, 1, 2, 3}),
        (b"", set()),
    ):
        journal.write_bytes(content)
        with StoreWriter(tmp_path / "data") as writer:
            assert writer.done_ids == kept
            writer.append([9], [structure(9)])
        with StoreWriter(tmp_path / "data") as writer:
            assert writer.done_ids == kept | {9}
    journal.write_bytes(whole)
    store = StoreWriter(tmp_path / "data").seal()
    assert all(same(store.structure(i), structure(i)) for i in range(4))


def test_full_shards_are_sealed_while_writing_and_can_be_read(tmp_path, structure, label, same):
    writer = StoreWriter(tmp_path / "data", identity=IDENTITY, shard_atoms=20)
    with pytest.raises(DataError, match="no shard of it is finished"):
        Store.open(tmp_path / "data", partial=True)
    for number in NUMBERS:
        writer.append([number], [structure(number)], [label(number)])
    partial = Store.open(tmp_path / "data", partial=True)
    assert 12 < len(partial) < 24
    assert partial.identity == IDENTITY
    assert partial.verify() == []
    assert all(same(partial.labels(i), label(i)) for i in range(len(partial)))
    before = shards(tmp_path / "data")
    store = writer.seal()
    assert [content for content in before if content[:4] == b"\x89HDF"] == shards(store.path)[:-1]  # as they were
    assert not (store.path / "shards" / "00-000000.h5").exists()


def test_several_processes_write_at_once(tmp_path, structure, label, same):
    code = f"""if True:
        import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from pathlib import Path
        from conftest import make_labels, make_structure
        from mlff_distiller.data.storage.writer import StoreWriter
        own = range(int(sys.argv[2]), 60, 3)
        with StoreWriter(Path(sys.argv[1]), shard_atoms=20) as writer:
            print("ready", flush=True)
            sys.stdin.read(1)
            for number in own:
                writer.append([number], [make_structure(number)], [make_labels(number)])
    """
    commands = [[sys.executable, "-c", code, str(tmp_path / "data"), str(k)] for k in range(3)]
    writers = [subprocess.Popen(c, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for c in commands]
    for child in writers:
        assert child.stdout.readline() == b"ready\n"
    with pytest.raises(DataError, match="another process is writing"):
        StoreWriter(tmp_path / "data").seal()
    for child in writers:
        child.communicate(b"x")
        assert child.returncode == 0
    store = StoreWriter(tmp_path / "data").seal()
    assert store.ids.tolist() == list(range(60))
    assert all(same(store.structure(i), structure(i)) and same(store.labels(i), label(i)) for i in range(60))
    with StoreWriter(tmp_path / "one", shard_atoms=20) as writer:
        writer.append(range(60), [structure(i) for i in range(60)], [label(i) for i in range(60)])
        assert writer.seal().digest == store.digest


def test_one_id_of_two_writers_is_kept_once_if_equal_and_refused_if_not(tmp_path, structure):
    for path, second in ((tmp_path / "same", 1), (tmp_path / "other", 2)):
        one, two = StoreWriter(path), StoreWriter(path)
        one.append([1, 5], [structure(1), structure(5)])
        two.append([1, 7], [structure(second), structure(7)])
        one.close()
        if second == 1:
            assert two.seal().ids.tolist() == [1, 5, 7]
        else:
            with pytest.raises(DataError, match=r"two different structures with id 1, in shards/00-000000\.h5 and"):
                two.seal()


def test_a_damaged_shard_is_not_copied_into_a_finished_store(tmp_path, structure):
    one, two = StoreWriter(tmp_path / "data", shard_atoms=4), StoreWriter(tmp_path / "data")
    one.append([1, 9], [structure(1), structure(9)])
    two.append([6], [structure(6)])  # belongs into the shard of structure 1
    one.close()
    file = tmp_path / "data" / "shards" / "00-000000.h5"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=r"00-000000\.h5 does not match its checksum"):
        two.seal()
    file.write_bytes(content[:-10])  # short: it counts as never written
    assert StoreWriter(tmp_path / "data").done_ids == {6, 9}


def test_compressed_stores_are_smaller_and_the_same(tmp_path, structure, label, same):
    stores = []
    for compressed in (False, True):
        writer = StoreWriter(tmp_path / str(compressed), compressed=compressed, shard_atoms=2000)
        writer.append(range(2000), [structure(i) for i in range(2000)], [label(i) for i in range(2000)])
        stores.append(writer.seal())
    plain, packed = stores
    size = [sum(shard.n_bytes for shard in store.manifest.shards) for store in stores]
    assert size[1] < 0.8 * size[0]
    rows = np.random.default_rng(0).integers(0, 2000, 40)
    for a, b in ((plain.structures(rows), packed.structures(rows)), (plain.all_labels(rows), packed.all_labels(rows))):
        assert all(same(x, y) for x, y in zip(a, b, strict=True))
    assert packed.verify() == []


@pytest.mark.parametrize(("text", "message"), [("{", "is damaged"), (None, "newer release")])
def test_journals_that_cannot_be_continued(tmp_path, text, message, structure):
    StoreWriter(tmp_path / "data").append([1], [structure(1)])
    journal = tmp_path / "data" / "unsealed.json"
    journal.write_text(text or json.dumps(json.loads(journal.read_text()) | {"version": 2}))
    with pytest.raises(DataError, match=message):
        StoreWriter(tmp_path / "data")


def test_ragged_rows_may_be_empty():
    offsets = np.array([0, 0, 2, 2, 3])
    assert ragged(offsets, np.array([0, 1, 2, 3, 1])).tolist() == [0, 1, 2, 0, 1]
    assert ragged(offsets, np.array([], dtype=int)).tolist() == []
