"""The process of a potential, seen from the side that asks."""

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from mlff_distiller.potentials.worker.environment import OLDEST_PYTHON
from mlff_distiller.potentials.worker.protocol import Buffer, Message, ProtocolError

# The process sees our package, and nothing else of our environment, whatever its own holds; nor the working directory,
# in which a script may lie that is called like a library. Any Python 3 can read this, to say that it is too old.
_START: Final = """
import sys
sys.path[:] = {path!r} + [place for place in sys.path if place]
if sys.version_info < {oldest!r}:
    sys.exit("Python " + sys.version.split()[0] + " is too old: {wanted} or later is needed")
try:
    import numpy, ase, pydantic, yaml
except ImportError as error:
    sys.exit("numpy, ase, pydantic and pyyaml are needed in it, and one cannot be loaded: " + str(error))
import importlib.util
spec = importlib.util.spec_from_file_location("mlff_distiller", {file!r}, submodule_search_locations=[{folder!r}])
sys.modules["mlff_distiller"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from mlff_distiller.potentials.worker.serving import main
main()
"""
_LONGEST_LOG: Final = 1 << 20
_PACKAGE: Final = Path(__file__).resolve().parents[2]


class ProcessDied(Exception):
    """The process has ended; the text says how, and what it said last."""


class ProcessHung(Exception):
    """The process did not answer in time and was ended."""


class WorkerProcess:
    """A running process that answers messages, one at a time.

    Parameters
    ----------
    python : Path
        The interpreter of its environment.
    path : list of str
        Folders that it finds modules in, before its own.
    without : collection of str
        Environment variables that it does not get.

    Examples
    --------
    >>> process = WorkerProcess(Path(sys.executable))
    >>> process.ask(Message("predict"), time_limit_s=60.0).facts["text"]
    'RuntimeError: asked to predict before anything was loaded'
    >>> process.close()
    """

    def __init__(self, python: Path, *, path: list[str] | None = None, without: Collection[str] = ()) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - lives as long as the process
        environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONHOME", *without}}
        start = _START.format(
            path=path or [],
            file=str(_PACKAGE / "__init__.py"),
            folder=str(_PACKAGE),
            oldest=OLDEST_PYTHON,
            wanted=".".join(map(str, OLDEST_PYTHON)),
        )
        self._process = subprocess.Popen(
            [python, "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us, who then end the process
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._sink, self._source = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._writable, self._readable = selectors.DefaultSelector(), selectors.DefaultSelector()
        self._writable.register(self._sink, selectors.EVENT_WRITE)
        self._readable.register(self._source, selectors.EVENT_READ)
        self._arrived, self._deadline = Buffer(), 0.0
        for descriptor in (self._sink, self._source):
            os.set_blocking(descriptor, False)
        self._finalizer = weakref.finalize(self, _end, self._process, self._log, self._writable, self._readable)

    def ask(self, message: Message, *, time_limit_s: float) -> Message:
        """Send a message and return the answer.

        Raises
        ------
        ProcessDied
            If the process ends before it answers.
        ProcessHung
            If it does not answer in time; it is ended then.
        """
        self._shorten_log()
        self._deadline = time.monotonic() + time_limit_s
        try:
            self._send(message.to_bytes())
            return Message.read(lambda n: self._arrived.take(n, self._receive))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            how = self._how_it_ended()
            self.close()
            raise ProcessDied(how) from None
        except (TimeoutError, ProtocolError) as error:
            self.close()
            text = f"no answer within {time_limit_s:g} s" if isinstance(error, TimeoutError) else str(error)
            raise ProcessHung(text) from None
        except BaseException:  # interrupted in mid-frame: what comes next on the pipe would be misread
            self.close()
            raise

    @property
    def is_open(self) -> bool:
        """Whether it may be asked."""
        return self._finalizer.alive

    def close(self) -> None:
        """End the process and what it has started."""
        self._finalizer()

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            with suppress(BlockingIOError):
                rest = rest[os.write(self._sink, rest) :]
                continue
            _wait(self._writable, self._deadline)

    def _receive(self) -> bytes:
        _wait(self._readable, self._deadline)
        return os.read(self._source, 1 << 20)

    def _shorten_log(self) -> None:
        if os.fstat(self._log.fileno()).st_size > _LONGEST_LOG:
            self._log.truncate(0)

    def _how_it_ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        how = _name(self._process.returncode)
        self._log.seek(max(os.fstat(self._log.fileno()).st_size - 4096, 0))
        said = [line.strip() for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return f"{how}, saying '{said[-1][:200]}'" if said else how


def _name(code: int | None) -> str:
    """Return how a process ended, in a few words."""
    if code is None:
        return "connection lost"
    hint = ", too little memory?" if code == -signal.SIGKILL else ""
    return (signal.Signals(-code).name if code < 0 else f"exit code {code}") + hint


def _wait(selector: selectors.BaseSelector, deadline: float) -> None:
    if not selector.select(max(deadline - time.monotonic(), 0)):
        raise TimeoutError


def _end(process: "subprocess.Popen[bytes]", *closed: IO[bytes] | selectors.BaseSelector) -> None:
    if process.poll() is None:  # not yet reaped, so that the group's number is still its own
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # one that waits for a broken device cannot be ended by anybody
            process.wait(timeout=10)
    for thing in (*closed, process.stdin, process.stdout):
        if thing is not None:
            with suppress(OSError):
                thing.close()


def own_path() -> list[str]:
    """Return the folders of this process in which a process of the same interpreter finds the same modules."""
    return [place or os.getcwd() for place in sys.path]
