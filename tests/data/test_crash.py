"""SIGKILL at every moment of a writer's life, and a full disk: nothing lost, nothing doubled, nothing torn."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.store import Store
from mlff_distiller.data.writer import StoreWriter

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks and signals are POSIX")
SCRIPT = Path(__file__).with_name("crash.py")
NUMBERS = list(range(12))


def run(what, folder):
    found = subprocess.run([sys.executable, SCRIPT, what, folder], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def finish(path, structure, label):
    writer = StoreWriter(path)
    missing = [i for i in NUMBERS if i not in writer.done_ids]
    if missing:
        writer.append(missing, [structure(i) for i in missing], [label(i) for i in missing])
    return writer.seal(shard_atoms=15)


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
            done = StoreWriter(path).done_ids
            state = f"{len(done)} appended"
        states.add(state)
        assert said[path.name] - {"sealed"} <= done
        store = finish(path, structure, label)
        assert store.verify() == []
        assert store.digest == reference.digest
        assert sorted(p.name for p in path.iterdir()) == ["manifest.json", "shards"]
    assert states == {"0 appended", "4 appended", "8 appended", "12 appended", "sealed"}


def test_a_kill_at_a_random_time_loses_nothing_that_was_said_to_be_safe(tmp_path, structure, label):
    code = f"""if True:
        import sys; sys.path.insert(0, {str(SCRIPT.parent)!r})
        from pathlib import Path
        from conftest import make_labels, make_structure
        from mlff_distiller.data.writer import StoreWriter
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
