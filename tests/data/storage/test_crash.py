"""SIGKILL at every moment of a writer's life, and a full disk: nothing lost, nothing doubled, nothing torn."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks and signals are POSIX")
SCRIPT = Path(__file__).with_name("crash.py")
NUMBERS = list(range(12))


def run(what, folder, *more):
    command = [sys.executable, SCRIPT, what, folder, *map(str, more)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def finish(path, structure, label):
    writer = StoreWriter(path, shard_atoms=15)
    missing = [i for i in NUMBERS if i not in writer.done_ids]
    if missing:
        writer.append(missing, [structure(i) for i in missing], [label(i) for i in missing])
    return writer.seal()


def test_a_kill_at_any_moment_loses_and_doubles_nothing(tmp_path, structure, label):
    """Each killed writer is continued here and must end with the very bytes of an undisturbed one."""
    said = defaultdict(set)
    for line in run("kill", tmp_path):
        moment, event, *numbers = line.split()
        said[moment].update(map(int, numbers) if event == "appended" else {event})
    reference = finish(tmp_path / "reference", structure, label)
    moments = sorted(p for p in tmp_path.iterdir() if p.name != "reference")
    assert len(moments) > 20
    states = set()
    for path in moments:
        try:
            done = set(Store.open(path).ids.tolist())
            state = "sealed"
        except DataError:
            done = StoreWriter(path, shard_atoms=15).done_ids
            state = f"{len(done)} appended"
        states.add(state)
        assert said[path.name] - {"sealed"} <= done
        store = finish(path, structure, label)
        assert store.verify() == []
        assert store.digest == reference.digest
        assert sorted(p.name for p in path.iterdir()) == ["manifest.json", "shards"]
    assert states == {"0 appended", "4 appended", "8 appended", "12 appended", "sealed"}


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_at_random_moments_with_two_writers_and_little_disk(tmp_path, structure, label, same, count):
    """What was said to be safe is there, once and right; the store opens, and ends as if nothing had happened."""
    run("random", tmp_path, count)
    reference = Store.open(tmp_path / "warm")
    numbers = list(range(24))
    states = {"sealed": 0, "partly sealed": 0, "in journals": 0}
    for moment in range(count):
        path, said = tmp_path / f"{moment:03d}", tmp_path / f"{moment:03d}.said"
        safe = set(map(int, said.read_text().split())) if said.exists() else set()
        try:
            seen = Store.open(path, partial=True)
            assert seen.verify() == []
            ids = seen.ids.tolist()
            assert len(set(ids)) == len(ids)
            assert all(same(seen.labels(row), label(i)) for row, i in enumerate(ids))
            states["sealed" if (path / "manifest.json").exists() else "partly sealed"] += 1
        except DataError:
            assert not list(path.glob("shards/*.json"))  # nothing is sealed yet
            states["in journals"] += 1
        writer = StoreWriter(path, shard_atoms=15)
        assert safe <= set(writer.done_ids) <= set(numbers)
        missing = [i for i in numbers if i not in writer.done_ids]
        if missing:
            writer.append(missing, [structure(i) for i in missing], [label(i) for i in missing])
        store = writer.seal()
        assert store.digest == reference.digest
        assert store.verify() == []
    assert states["partly sealed"] > 0.1 * count  # else the kills came too early or too late to mean anything


def test_a_kill_at_a_random_time_loses_nothing_that_was_said_to_be_safe(tmp_path, structure, label):
    code = f"""if True:
        import sys; sys.path.insert(0, {str(SCRIPT.parents[1])!r})
        from pathlib import Path
        from conftest import make_labels, make_structure
        from mlff_distiller.data.storage.writer import StoreWriter
        writer = StoreWriter(Path(sys.argv[1]))
        number = max(writer.done_ids, default=-1) + 1
        while True:
            writer.append([number], [make_structure(number)], [make_labels(number)])
            print(number, flush=True)
            number += 1
    """
    safe = -1
    for round_number in range(3):
        command = [sys.executable, "-c", code, str(tmp_path / "data")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            for _ in range(5 + round_number):
                safe = int(child.stdout.readline())
            child.kill()
            safe = max([safe, *map(int, child.stdout.read().split())])
        assert set(range(safe + 1)) <= StoreWriter(tmp_path / "data").done_ids <= set(range(safe + 2))
    store = StoreWriter(tmp_path / "data").seal()
    assert store.ids.tolist() == list(range(len(store)))


def test_a_full_disk_is_said_and_harms_nothing(tmp_path, structure, same):
    (message,) = run("full", tmp_path / "data")
    assert "cannot write" in message
    assert "space" in message
    store = StoreWriter(tmp_path / "data").seal()
    assert store.ids.tolist() == [0, 1]
    assert same(store.structure(1), structure(1))
