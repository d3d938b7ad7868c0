"""A lock on a file, held by one writer at a time, that no crash leaves behind."""

import os
from contextlib import suppress
from pathlib import Path
from threading import Lock

try:
    import fcntl
except ImportError:  # Windows has no such locks; one process at a time is then the user's care
    fcntl = None  # type: ignore[assignment]

_held: set[Path] = set()
"""Files locked by this process: the operating system's lock tells processes apart, not writers within one."""

_turn = Lock()


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
        self._owner = 0

    def acquire(self) -> bool:
        """Take the lock if nobody else has it, and return whether it is now held.

        Raises
        ------
        OSError
            If the file cannot be made, or its file system has no locks.
        """
        if self._descriptor is not None:
            return True
        self._file.parent.mkdir(parents=True, exist_ok=True)
        file = self._file.resolve()
        with _turn:
            if file in _held:
                return False
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                is_locked = _locked(descriptor)
            except OSError:
                os.close(descriptor)
                raise
            if not is_locked:
                os.close(descriptor)
                return False
            _held.add(file)
        self._file, self._descriptor, self._owner = file, descriptor, os.getpid()
        return True

    @property
    def is_held(self) -> bool:
        """Whether this process holds the lock; one forked from the owner does not."""
        return self._descriptor is not None and self._owner == os.getpid()

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
    return True
