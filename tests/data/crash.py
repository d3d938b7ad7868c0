"""Run by test_crash.py: processes that write a store and are killed at every moment that matters.

usage: crash.py kill DIRECTORY | crash.py full DIRECTORY
"""

import os
import shutil
import signal
import sys
from pathlib import Path

from mlff_distiller.core.errors import DistillerError
from mlff_distiller.data.writer import StoreWriter

NUMBERS = list(range(12))


def fill(path: Path) -> None:
    """Append what is not there yet in batches of four, and seal."""
    from conftest import make_labels, make_structure  # beside this script, and found only when it is run as one

    writer = StoreWriter(path)
    missing = [i for i in reversed(NUMBERS) if i not in writer.done_ids]
    for first in range(0, len(missing), 4):
        batch = missing[first : first + 4]
        writer.append(batch, [make_structure(i) for i in batch], [make_labels(i) for i in batch])
        print(path.name, "appended", *batch, flush=True)
    writer.seal(shard_atoms=15)
    print(path.name, "sealed", flush=True)


class Killer:
    """Kills this process, without warning, just before its n-th change of the file system."""

    def __init__(self, moment: int) -> None:
        self.moment = moment
        for module, name in ((os, "replace"), (os, "unlink"), (os, "rmdir"), (shutil, "rmtree")):
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
    {"kill": kill_everywhere, "full": full_disk}[sys.argv[1]](Path(sys.argv[2]))
