"""What runs inside a worker process: take a task, call the function, send back the result.

Started by :mod:`mlff_distiller.scale.local` as a fresh interpreter whose environment holds the thread counts, so
this module must not import numerical libraries: they come in with the first function that is received.
"""

import itertools
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from mlff_distiller.core.console import Advance

Send = Callable[[tuple[Any, ...]], None]


class Forwarder:
    """A reporter that sends everything to the parent, progress at most ten times a second.

    Parameters
    ----------
    send : callable
        Takes ("start", number, title, total, done), ("advance", number, n, note) or ("message", text).

    Examples
    --------
    >>> sent = []
    >>> forwarder = Forwarder(sent.append)
    >>> advance = forwarder.start("MD", 3)
    >>> advance(); advance(); forwarder.flush()
    >>> sent
    [('start', 0, 'MD', 3, 0), ('advance', 0, 2, '')]
    """

    _INTERVAL_S = 0.1

    def __init__(self, send: Send) -> None:
        self._send = send
        self._numbers = itertools.count()
        self._waiting: dict[int, tuple[int, str]] = {}
        self._last = time.monotonic()

    def start(self, title: str, total: int, *, done: int = 0) -> Advance:
        """Open a bar in the parent."""
        number = next(self._numbers)
        self._send(("start", number, title, total, done))

        def advance(n: int = 1, *, note: str = "") -> None:
            """Add to the bar in the parent, soon."""
            before, old_note = self._waiting.get(number, (0, ""))
            self._waiting[number] = (before + n, note or old_note)
            if time.monotonic() - self._last > self._INTERVAL_S:
                self.flush()

        return advance

    def message(self, text: str) -> None:
        """Say one line in the parent."""
        self._send(("message", text))

    def flush(self) -> None:
        """Send what is waiting."""
        for number, (n, note) in self._waiting.items():
            self._send(("advance", number, n, note))
        self._waiting.clear()
        self._last = time.monotonic()


def main(descriptor: int) -> None:
    """Serve tasks that arrive on the connection until it is closed."""
    _end_with_parent()
    connection = Connection(descriptor)
    try:
        function = _receive(connection)
        while True:
            connection.send_bytes(_answer(function, connection))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _answer(function: Any, connection: Connection) -> bytes:
    """Run one task; whatever goes wrong in it, the packing of the result included, becomes an answer too."""
    packed = connection.recv_bytes()
    try:
        if isinstance(function, BaseException):
            raise function
        forwarder = Forwarder(connection.send)
        result = function(pickle.loads(packed), forwarder)
        forwarder.flush()
        return pickle.dumps(("result", result))
    except Exception as error:
        return pickle.dumps(("error", _portable(error)))


def _receive(connection: Connection) -> Any:
    """Return the function, or the error that kept it from being imported."""
    packed = connection.recv_bytes()
    try:
        return pickle.loads(packed)
    except Exception as error:
        return error


def _portable(error: Exception) -> Exception:
    """Return the error with its traceback as a note, or a plain one where it does not survive the journey."""
    trace = "".join(traceback.format_exception(error))
    try:
        copy: Exception = pickle.loads(pickle.dumps(error))
        if str(copy) != str(error):
            raise TypeError("the error changes when it is pickled")
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note(f"In the worker process:\n{trace}")
    return copy


def _end_with_parent() -> None:
    """End this process and what it has started as soon as the parent is gone, however that happened.

    The parent holds the other end of our standard input and never writes: the read returns when the operating
    system closes it.
    """
    lifeline = os.dup(0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)

    def watch() -> None:
        os.read(lifeline, 1)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
