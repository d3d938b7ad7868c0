"""A lock on a file, held by one writer at a time, that no crash leaves behind."""

import os
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks; one process at a time is then the user's care
    fcntl = None  # type: ignore[assignment]

_held: set[Path] = set()
"""Files locked by this process: the operating system's lock tells processes apart, not writers within one."""


class FileLock:
    """A lock, held until released, forgotten, or until the process ends.

    It is a POSIX record lock: processes forked from the owner do not keep it alive, so it is free again as soon as
    the owner is killed.

    Parameters
    ----------
    file : Path
        Made if it is not there, with its directory.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), ".lock")
    >>> first, second = FileLock(file), FileLock(file)
    >>> first.acquire(), second.acquire()
    (True, False)
    >>> first.release()
    >>> second.acquire()
    True
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock if nobody else has it, and return whether it is now held.

        Raises
        ------
        OSError
            If the file cannot be made.
        """
        if self._descriptor is not None:
            return True
        self._file.parent.mkdir(parents=True, exist_ok=True)
        file = self._file.resolve()
        if file in _held:
            return False
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        if not _locked(descriptor):
            os.close(descriptor)
            return False
        _held.add(file)
        self._file, self._descriptor = file, descriptor
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens where it is not held."""
        if self._descriptor is not None:
            _held.discard(self._file)
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()


def _locked(descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True
