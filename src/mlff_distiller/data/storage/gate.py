"""The gate of a store that is being filled: one process at a time opens or seals it."""

import shutil
import time
from pathlib import Path

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.lock import FileLock
from mlff_distiller.data.schema import JOURNALS, MANIFEST

_WAIT_S = 60.0


class Gate:
    """Held for the moment of opening and while sealing, so that no writer begins while a store is sealed.

    Parameters
    ----------
    path : Path
        The store's directory.

    Examples
    --------
    >>> import tempfile
    >>> with Gate(Path(tempfile.mkdtemp())):
    ...     pass
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path / JOURNALS / ".gate")

    def __enter__(self) -> None:
        began = time.monotonic()
        try:
            while not self._acquired():
                if time.monotonic() - began > _WAIT_S:
                    raise DataError(f"another process is sealing {self._path}; wait for it to end")
                time.sleep(0.01)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def _acquired(self) -> bool:
        try:
            return self._lock.acquire()
        except FileNotFoundError:  # who sealed the store removed the directory just now
            return False

    def __exit__(self, *_: object) -> None:
        if (self._path / MANIFEST).exists():  # who waited at the gate of a store that was sealed made it anew
            shutil.rmtree(self._path / JOURNALS, ignore_errors=True)
        self._lock.release()


def unwritable(path: Path, error: OSError) -> DataError:
    """Return the sentence for a directory that cannot be written in."""
    return DataError(f"cannot write in {path} ({error.strerror}); check permissions and space")
