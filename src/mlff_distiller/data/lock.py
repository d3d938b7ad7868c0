"""A lock that lets one process at a time write into a directory, and that no crash leaves behind."""

import os
from contextlib import suppress
from pathlib import Path

from mlff_distiller.core.errors import DataError

try:
    import fcntl
except ImportError:  # Windows has no such locks; one writer at a time is then the user's care
    fcntl = None  # type: ignore[assignment]


class DirectoryLock:
    """A lock on a directory, held by a process until released or until the process ends.

    An owner that is forgotten gives it back too. It is a POSIX record lock: workers forked from the owner do not
    keep it alive, so the directory is free again as soon as the owner is killed. Within one process it does not
    exclude.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Examples
    --------
    >>> import tempfile
    >>> lock = DirectoryLock(Path(tempfile.mkdtemp(), "parts"))
    >>> lock.acquire()
    >>> lock.release()
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor: int | None = None
        self._file = folder / ".lock"

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        DataError
            If another process has it, or the directory cannot be written to.
        """
        folder = self._file.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DataError(f"cannot write in {folder} ({error.strerror}); check permissions and space") from error
        if fcntl is None:
            return
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            self.release()
            raise DataError(f"another process is writing to {folder.parent}; wait for it to end, or end it") from None
        except OSError:  # a file system without locks
            pass

    def release(self) -> None:
        """Give the lock back; nothing happens where it is not held."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()
