"""A team of threads that run one compiled function together and meet at barriers inside it."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from numba import types
from numba.core.typing.templates import signature
from numba.extending import intrinsic

from mlff_distiller.core.compiling import compiled

_PATIENCE: Final = 20_000  # looks at the barrier, about 100 microseconds, before the processor is left to others
_yield = types.ExternalFunction("sched_yield", types.int32())


class Team:
    """Threads of this process that stay alive between calls.

    Parameters
    ----------
    n_threads : int
        The calling thread included.

    Examples
    --------
    >>> done = []
    >>> Team(2).run(lambda thread: done.append(thread))
    >>> sorted(done)
    [0, 1]
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._others: ThreadPoolExecutor | None = None
        self._process = -1

    def run(self, work: Callable[[int], Any]) -> None:
        """Call ``work`` with the numbers of all threads, each in its own, and wait for all of them."""
        if self._process != os.getpid():  # threads do not survive a fork
            self._others = ThreadPoolExecutor(self.n_threads - 1, "mlffd-kernel") if self.n_threads > 1 else None
            self._process = os.getpid()
        submit = self._others.submit if self._others else None
        waiting = [submit(work, thread) for thread in range(1, self.n_threads)] if submit else []
        work(0)
        for other in waiting:
            other.result()


@compiled
def wait_for_all(barrier, n_threads):
    """Wait until as many threads are here.

    Parameters
    ----------
    barrier : (2,) int64
        Zeros at the start: how many have come, and how often all had come.
    n_threads : int
        How many take part.
    """
    if n_threads == 1:
        return
    before = _add(barrier, 1, 0)
    if _add(barrier, 0, 1) == n_threads - 1:
        _add(barrier, 0, -n_threads)
        _add(barrier, 1, 1)
        return
    looks = 0
    while _add(barrier, 1, 0) == before:
        looks += 1
        if looks > _PATIENCE:
            _yield()


@intrinsic
def _add(typing_context, array, place, number):
    """Add to a number that threads share; return what it was."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.gep(data, [arguments[1]], inbounds=True)
        return builder.atomic_rmw("add", pointer, arguments[2], "seq_cst")

    return signature(types.int64, array, types.intp, types.int64), generate


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Let BLAS use one thread meanwhile: the team's threads share the atoms, and more of them would be in the way."""
    changed = [(library, n) for library in _blas() if (n := library.get_num_threads()) != 1]
    for library, _ in changed:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, n in changed:
            library.set_num_threads(n)


@cache
def _blas() -> list[Any]:
    import scipy.linalg.cython_blas  # noqa: F401 - the library that numba calls
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)
