"""Run by test_crash.py: processes that write a store and are killed at every moment that matters.

usage: crash.py kill DIRECTORY | crash.py full DIRECTORY | crash.py random DIRECTORY COUNT
"""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from mlff_distiller.core.errors import DistillerError
from mlff_distiller.data.storage.writer import StoreWriter

sys.path.insert(0, str(Path(__file__).parents[1]))  # for its conftest

NUMBERS = list(range(12))
RANDOM_NUMBERS = list(range(24))


def fill(path: Path) -> None:
    """Append what is not there yet in batches of four, and seal."""
    from conftest import make_labels, make_structure

    writer = StoreWriter(path, shard_atoms=15)
    missing = [i for i in reversed(NUMBERS) if i not in writer.done_ids]
    for first in range(0, len(missing), 4):
        batch = missing[first : first + 4]
        writer.append(batch, [make_structure(i) for i in batch], [make_labels(i) for i in batch])
        print(path.name, "appended", *batch, flush=True)
    writer.seal()
    print(path.name, "sealed", flush=True)


class Killer:
    """Kills this process, without warning, just before its n-th change of the file system."""

    def __init__(self, moment: int) -> None:
        self.moment = moment
        for module, name in (
            (os, "replace"),
            (os, "unlink"),
            (os, "rmdir"),
            (os, "link"),
            (os, "pwrite"),
            (shutil, "rmtree"),
        ):
            setattr(module, name, self.watched(getattr(module, name)))

    def watched(self, call):
        def watching(*args, **kwargs):
            if self.moment == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.moment -= 1
            return call(*args, **kwargs)

        return watching


def kill_everywhere(folder: Path) -> None:
    """Fork one writer for each moment, until one is so late that the writer ends first."""
    for moment in range(1000):
        child = os.fork()
        if child == 0:
            Killer(moment)
            fill(folder / f"{moment:03d}")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert status == 0
            return


def fill_slowly(path: Path, *, limit: int | None) -> None:
    """Append one by one, as one of two writers, and seal; what is said to be safe goes to a file beside the store."""
    import resource

    from conftest import make_labels, make_structure

    said = os.open(path.with_suffix(".said"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    other, writer = StoreWriter(path, shard_atoms=15), StoreWriter(path)
    if limit is not None:  # from here on a file of more bytes fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for number in RANDOM_NUMBERS:
        mine = writer if number % 3 else other
        try:
            mine.append([number], [make_structure(number)], [make_labels(number)])
            os.write(said, f"{number}\n".encode())
        except DistillerError:
            continue
    other.close()
    try:
        writer.seal()
    except DistillerError:
        os._exit(1)


def kill_at_random(folder: Path, count: int) -> None:
    """Fork writers and kill each after a random time; every third has too little disk as well."""
    rng = random.Random(0)
    began = time.monotonic()
    _run_to_the_end(folder / "warm")
    duration = time.monotonic() - began
    for moment in range(count):
        child = os.fork()
        if child == 0:
            fill_slowly(folder / f"{moment:03d}", limit=None if moment % 3 else rng.randrange(2_000, 30_000))
            os._exit(0)
        time.sleep(rng.uniform(0, 1.2 * duration))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _run_to_the_end(path: Path) -> None:
    child = os.fork()
    if child == 0:
        fill_slowly(path, limit=None)
        os._exit(0)
    os.waitpid(child, 0)


def full_disk(path: Path) -> None:
    """Append with a limit on the size of files, so that a large append fails as on a full disk."""
    import resource

    from conftest import make_structure

    writer = StoreWriter(path)
    writer.append([0], [make_structure(0)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        writer.append(range(1, 500), [make_structure(i) for i in range(1, 500)])
    except DistillerError as error:
        print(error)
    writer.append([1], [make_structure(1)])


if __name__ == "__main__":
    what, place, *rest = sys.argv[1:]
    {"kill": kill_everywhere, "full": full_disk, "random": kill_at_random}[what](Path(place), *map(int, rest))
