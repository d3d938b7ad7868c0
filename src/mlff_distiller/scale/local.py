"""LocalPool: tasks on the cores of this machine, each in a process with its own few threads.

Workers are fresh interpreters started with their thread counts in their own environment, which works before any
numerical library is loaded and changes nothing in the caller's process. They talk to the caller through a socket
each and end when the caller ends, also when it is killed.
"""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import Any, TypeVar

from mlff_distiller.core.console import Advance, Reporter
from mlff_distiller.core.errors import DistillerError

T = TypeVar("T")
R = TypeVar("R")

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)

# glibc gives large freed blocks back to the system at once and must have the next ones zeroed again, page by page: a
# third of the time of a training step. A worker keeps them; it ends with its tasks anyway.
_KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_TOP_PAD_": "67108864",
}


def available_cores() -> int:
    """Return how many cores this process may use.

    Examples
    --------
    >>> available_cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class LocalPool:
    """A pool of processes on this machine.

    Parameters
    ----------
    n_workers : int
        Processes at once; 0: one for each core that this process may use.
    threads_per_worker : int
        Threads of the numerical libraries in each process.

    Examples
    --------
    >>> from mlff_distiller.core.console import Silent
    >>> list(LocalPool(2).run(print, [], reporter=Silent()))
    []
    """

    n_workers: int = 0
    threads_per_worker: int = 1

    @property
    def size(self) -> int:
        """Number of processes at once."""
        return self.n_workers or available_cores()

    def run(
        self, function: Callable[[T, Reporter], R], tasks: Iterable[T], *, reporter: Reporter
    ) -> Iterator[tuple[int, R]]:
        """Call ``function(task, reporter)`` for every task and yield (index of the task, result) as they complete.

        Tasks are drawn one by one as workers become free, so they may be many and large. Progress and messages of
        the tasks reach ``reporter`` while they run. Leaving the loop early ends all workers at once.

        Parameters
        ----------
        function : callable
            Importable from a module (not a lambda and not defined in ``__main__``).
        tasks : iterable
            Picklable values.
        reporter : Reporter
            Where progress goes.

        Raises
        ------
        DistillerError
            If a worker process dies; or whatever the function raised, as the same error.
        """
        waiting = enumerate(tasks)
        first = list(islice(waiting, self.size))
        workers: list[_Worker] = []
        try:
            for _ in first:
                workers.append(_Worker(function, self.threads_per_worker))
            for worker, task in zip(workers, first, strict=True):
                worker.give(*task)
            yield from _results(workers, waiting, reporter)
            _dismiss(workers)
        finally:
            for worker in workers:
                worker.kill()


def _results(workers: list["_Worker"], waiting: Iterator[tuple[int, Any]], reporter: Reporter) -> Iterator[Any]:
    while busy := {worker.connection: worker for worker in workers if worker.task is not None}:
        for connection in wait(list(busy)):
            worker = busy[connection]  # type: ignore[index] # wait() returns members of the list it was given
            answer = worker.hear(reporter)
            if answer is None:
                continue
            following = next(waiting, None)
            if following is not None:  # before the result is yielded: the worker must not wait for the caller
                worker.give(*following)
            yield answer


def _dismiss(workers: list["_Worker"]) -> None:
    """Let idle workers end by themselves, so that libraries can clean up behind them."""
    for worker in workers:
        worker.connection.close()
    for worker in workers:
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=5)


class _Worker:
    """One worker process, seen from the parent."""

    def __init__(self, function: Callable[..., Any], threads: int) -> None:
        self.task: int | None = None
        self._bars: dict[int, Advance] = {}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        self.connection, theirs = Pipe()
        start = f"import sys; sys.path[:] = {sys.path!r}; from mlff_distiller.scale.worker import main; "
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"{start}main({theirs.fileno()})"],
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                env={**_KEEP_FREED_MEMORY, **os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))},
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the parent, which then ends the workers
            )
        self._send(function)

    def give(self, index: int, task: Any) -> None:
        """Send a task to the idle worker."""
        self.task = index
        self._bars = {}
        self._send(task)

    def hear(self, reporter: Reporter) -> tuple[int, Any] | None:
        """Handle one message; return the task's index and result if that is what it was."""
        try:
            message = self.connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._death() from None
        match message:
            case "start", number, title, total, done:
                self._bars[number] = reporter.start(title, total, done=done)
            case "advance", number, n, note:
                self._bars[number](n, note=note)
            case "message", text:
                reporter.message(text)
            case "error", error:
                raise error
            case "result", value:
                index, self.task = self.task, None
                return index or 0, value
        return None

    def kill(self) -> None:
        """End the process and whatever it has started, at once; nothing is lost, as only the parent writes."""
        if self.process.returncode is None:  # not yet reaped, so that the group's number is still its own
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.connection.close()
        self._log.close()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def _send(self, value: Any) -> None:
        packed = pickle.dumps(value)
        try:
            self.connection.send_bytes(packed)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death() from None

    def _death(self) -> DistillerError:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        code = self.process.returncode
        how = f"exit code {code}"
        if code is None or code < 0:
            how = f"{signal.Signals(-code).name}; too little memory?" if code == -signal.SIGKILL else _name(code)
        return DistillerError(
            f"a worker process died ({how}){self._last_words()}; run the same command again to continue"
        )

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f" saying '{said[-1][:200]}'" if said else ""


def _name(code: int | None) -> str:
    return "connection lost" if code is None else signal.Signals(-code).name
