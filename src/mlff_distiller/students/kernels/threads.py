"""A team of threads that run one compiled function together and meet at barriers inside it."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any, Final

import numpy as np
from numba import types
from numba.core.typing import signature
from numba.extending import intrinsic
from numpy.typing import NDArray

from mlff_distiller.core.compiling import compiled

_LINE: Final = 8  # numbers of a cache line
_COME, _ROUND, _BROKEN = 0, _LINE, 2 * _LINE
_PATIENCE: Final = 20_000  # looks at the barrier, about 100 microseconds, before the processor is left to others
_yield = types.ExternalFunction("sched_yield", types.int32())


class Team:
    """Threads of this process that stay alive between calls.

    Parameters
    ----------
    n_threads : int
        The most that a call takes, the calling thread included.

    Examples
    --------
    >>> done = []
    >>> Team(2).run(lambda thread, barrier: done.append(thread), 2)
    >>> sorted(done)
    [0, 1]
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._others: ThreadPoolExecutor | None = None
        self._process = -1

    def run(self, work: Callable[[int, NDArray[np.int64]], Any], n_threads: int) -> None:
        """Call ``work`` with each thread's number and a barrier for :func:`wait_for_all`; return when all are done.

        If one of them fails, or the calling thread is interrupted, nobody waits at the barrier any more.
        """
        if self._others is None or self._process != os.getpid():  # threads do not survive a fork
            self._others = ThreadPoolExecutor(max(1, self.n_threads - 1), "mlffd-kernel")
            self._process = os.getpid()
        barrier = np.zeros(3 * _LINE, np.int64)

        def share(thread: int) -> None:
            try:
                work(thread, barrier)
            except BaseException:
                barrier[_BROKEN] = 1
                raise

        others: list[Future[None]] = []
        try:
            for thread in range(1, n_threads):
                others.append(self._others.submit(share, thread))
            share(0)
        except BaseException:
            barrier[_BROKEN] = 1
            raise
        finally:
            wait(others)  # they still write where the next call would
        for other in others:
            other.result()


@compiled
def wait_for_all(barrier, n_threads):
    """Wait until as many threads are here.

    Parameters
    ----------
    barrier : (3 * 8,) int64
        Zeros at the start; on cache lines of their own: how many have come, how often all had come, and whether one of
        them will never come.
    n_threads : int
        How many take part.
    """
    if n_threads == 1:
        return
    before = _look(barrier, _ROUND)
    if _add(barrier, _COME, 1) == n_threads - 1:
        _add(barrier, _COME, -n_threads)
        _add(barrier, _ROUND, 1)
        return
    looks = 0
    while _look(barrier, _ROUND) == before and _look(barrier, _BROKEN) == 0:
        looks += 1
        if looks > _PATIENCE:
            _yield()


@intrinsic
def _add(typing_context, array, place, number):
    """Add to a number that threads share; return what it was."""

    def generate(context, builder, signature, arguments):
        pointer = _shared(context, builder, signature, arguments)
        return builder.atomic_rmw("add", pointer, arguments[2], "seq_cst")

    return signature(types.int64, array, types.intp, types.int64), generate


@intrinsic
def _look(typing_context, array, place):
    """Return a number that threads share."""

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_shared(context, builder, signature, arguments), "seq_cst", 8)

    return signature(types.int64, array, types.intp), generate


def _shared(context, builder, signature, arguments):
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.gep(data, [arguments[1]], inbounds=True)


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Let BLAS use one thread meanwhile: the team's threads share the atoms, and more of them would be in the way.

    The number is one for the whole process: the last of those who ask for it at the same time gives it back.
    """
    with _guard:
        _asking.append(None)
        if len(_asking) == 1:
            _changed.extend((library, n) for library in _blas() if (n := library.get_num_threads()) != 1)
            for library, _ in _changed:
                library.set_num_threads(1)
    try:
        yield
    finally:
        with _guard:
            _asking.pop()
            while not _asking and _changed:
                library, n = _changed.pop()
                library.set_num_threads(n)


_guard = Lock()
_asking: list[None] = []
_changed: list[tuple[Any, int]] = []


@cache
def _blas() -> list[Any]:
    import scipy.linalg.cython_blas  # noqa: F401 - the library that numba calls
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)
