"""Writers in several processes, threads and forks: what was appended is there once, whoever seals when."""

import os
import shutil
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.lock import FileLock
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks and forks are POSIX")
CODE = f"""if True:
    import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})
    from pathlib import Path
    from conftest import make_labels, make_structure
    from mlff_distiller.core.errors import DataError
    from mlff_distiller.data.storage.store import Store
    from mlff_distiller.data.storage.writer import StoreWriter
    path, own = Path(sys.argv[1]), int(sys.argv[2])
    print("ready", flush=True)
    for line in sys.stdin:
        place = path / line.strip()
        writer = StoreWriter(place, shard_atoms=20)
        said = "sealed before"
        if not writer.is_sealed:
            for number in range(own, 24, 3):
                writer.append([number], [make_structure(number)], [make_labels(number)])
            writer.close()
            said = "wrote"
        try:
            writer.seal()
        except DataError as error:
            said += ": " + str(error)
        print(said, flush=True)
"""


def test_writers_that_close_and_seal_at_once_lose_nothing(tmp_path):
    """Every round each process writes its third, closes, and tries to seal while the others still write."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, tmp_path, str(k)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for k in range(3)
    ]
    with ExitStack() as running:
        for child in writers:
            running.enter_context(child)
            running.callback(child.stdin.close)  # ends it, also when an assertion fails
        _seal_in_rounds(writers, tmp_path)
    assert [child.returncode for child in writers] == [0, 0, 0]


def _seal_in_rounds(writers, tmp_path):
    for child in writers:
        assert child.stdout.readline() == "ready\n"
    for number in range(12):  # many, since the moments that matter are short
        for child in writers:
            child.stdin.write(f"{number}\n")
            child.stdin.flush()
        said = [child.stdout.readline().strip() for child in writers]
        wrote = [k for k, words in enumerate(said) if words.startswith("wrote")]
        refused = [words for words in said if ": " in words]
        assert all("another process is writing" in words or "is sealing" in words for words in refused), said
        store = StoreWriter(tmp_path / str(number)).seal()
        assert store.ids.tolist() == sorted(i for k in wrote for i in range(k, 24, 3)), said
        assert store.verify() == []
        assert sorted(p.name for p in store.path.iterdir()) == ["manifest.json", "shards"]


def test_a_closed_writer_does_not_seal_over_a_living_one(tmp_path, structure):
    first = StoreWriter(tmp_path / "data")
    first.append([1], [structure(1)])
    first.close()
    second = StoreWriter(tmp_path / "data")
    second.append([2], [structure(2)])
    with pytest.raises(DataError, match="another process is writing"):
        first.seal()
    with pytest.raises(DataError, match="was closed"):
        first.append([3], [structure(3)])
    first.close()
    assert second.seal().ids.tolist() == [1, 2]


def test_threads_get_writers_of_their_own(tmp_path):
    for attempt in range(10):
        barrier, held = threading.Barrier(6), []

        def acquire(folder=tmp_path / str(attempt), barrier=barrier, held=held):
            locks = [FileLock(folder / f"{k}.lock") for k in range(6)]
            barrier.wait()
            held.append(next((k, lock) for k, lock in enumerate(locks) if lock.acquire()))

        threads = [threading.Thread(target=acquire) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(k for k, _ in held) == list(range(6))


def test_a_fork_does_not_write_through_its_parents_writer(tmp_path, structure):
    writer = StoreWriter(tmp_path / "data")
    writer.append([0], [structure(0)])
    child = os.fork()
    if child == 0:
        try:
            writer.append([1], [structure(1)])
        except DataError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    writer.append([2], [structure(2)])
    assert writer.seal().ids.tolist() == [0, 2]


def test_a_writer_whose_store_was_deleted_does_not_write_into_the_next_one(tmp_path, structure):
    old = StoreWriter(tmp_path / "data")
    old.append([1], [structure(1)])
    shutil.rmtree(tmp_path / "data")
    new = StoreWriter(tmp_path / "data")
    new.append([2, 3], [structure(2), structure(3)])
    with pytest.raises(DataError, match="was deleted while it was written to"):
        old.append([4], [structure(4)])
    old.close()
    assert new.seal().ids.tolist() == [2, 3]


@pytest.mark.parametrize("number", [2**63, 2**63 - 1, -(2**63) - 1, 1.5, "3"])
def test_ids_that_do_not_fit_are_refused(tmp_path, structure, number):
    writer = StoreWriter(tmp_path / "data")
    with pytest.raises(DataError, match="number structures from 0"):
        writer.append([number], [structure(1)])
    assert len(writer.done_ids) == 0


def test_a_full_disk_while_sealing_a_shard_loses_nothing(tmp_path, structure, monkeypatch):
    from mlff_distiller.core.errors import DistillerError
    from mlff_distiller.data.storage import writer as module

    def full(*_, **__):
        raise DistillerError("cannot write (No space left on device)")

    writer = StoreWriter(tmp_path / "data", shard_atoms=5)
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_columns", full)
        for number in range(6):
            writer.append([number], [structure(number)])
    assert Store.open(writer.seal().path).ids.tolist() == list(range(6))
