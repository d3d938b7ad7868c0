"""Parts of the compiled kernel: one function for the compiler, taken apart for the profile alone."""

import time
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, NamedTuple

import numpy as np

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.students.backends import kernel
from mlff_distiller.students.backends.kernel import Kernel
from mlff_distiller.students.kernels import evaluation

_EVALUATE: Final = "evaluate"  # the compiled function, by the name under which the backend calls it

_LABELS: Final = {
    "splines": "filters: grid points and weights",
    "_message": "messages, forward",
    "_update": "atom-wise, forward",
    "perceptron": "atom-wise, forward",
    "_readout": "readout",
    "_update_backward": "atom-wise, backward",
    "_message_backward": "messages, backward",
    "perceptron_backward": "atom-wise, backward",
    "added": "atom-wise, backward",
}


class KernelParts(NamedTuple):
    """Median milliseconds of the compiled call, and of its parts by themselves."""

    whole_ms: float
    parts_ms: dict[str, float]


def kernel_parts(backend: Kernel, graph: Graph, *, n_calls: int = 20) -> KernelParts:
    """Time the compiled evaluation of a graph with one thread, whole and part by part.

    The parts are the same compiled functions, called one after the other by the interpreter. What handing over the
    arguments costs is measured with a call for no atoms, and taken off. The first time they are compiled for half a
    minute.

    Parameters
    ----------
    backend : Kernel
        Not used by others meanwhile.
    graph : Graph
        What is evaluated.
    n_calls : int
        Calls of which the median is taken.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> from mlff_distiller.students.student import Student
    >>> student = Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6})
    >>> graph = Graph.from_structures([Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])], student.cutoff)
    >>> kernel_parts(Kernel(student), graph, n_calls=2).whole_ms > 0
    True
    """
    whole: list[float] = []
    split: list[dict[str, float]] = []
    compiled = getattr(kernel, _EVALUATE)

    def timed(*arguments: Any) -> None:
        begin = time.perf_counter()
        compiled(*arguments)
        whole.append(1e3 * (time.perf_counter() - begin))

    def taken_apart(*arguments: Any) -> None:
        split.append(dict.fromkeys(_LABELS.values(), 0.0))
        known = vars(evaluation)
        watched = {name: _watched(known[name], label, split[-1]) for name, label in _LABELS.items()}
        FunctionType(compiled.py_func.__code__, {**known, **watched})(*arguments)

    for function in (timed, taken_apart):
        _with_evaluation(backend, function, graph, n_calls + 1)
    medians = {label: max(float(np.median([own[label] for own in split[1:]])), 0.0) for label in split[0]}
    return KernelParts(float(np.median(whole[1:])), medians)


def _with_evaluation(backend: Kernel, function: Callable[..., None], graph: Graph, n_calls: int) -> None:
    """Call a backend with another function in place of the compiled one, in one thread; put everything back."""
    compiled, n_threads = getattr(kernel, _EVALUATE), backend.n_threads
    setattr(kernel, _EVALUATE, function)
    backend.n_threads = 1
    try:
        for _ in range(n_calls):
            backend.derive(graph)
    finally:
        setattr(kernel, _EVALUATE, compiled)
        backend.n_threads = n_threads


def _watched(part: Callable[..., None], label: str, times: dict[str, float]) -> Callable[..., None]:
    """Return a part that adds its time to others of its label; the first two arguments are its range of atoms."""

    def watched(begin: int, end: int, *rest: Any) -> None:
        start = time.perf_counter()
        part(begin, end, *rest)
        middle = time.perf_counter()
        part(begin, begin, *rest)
        times[label] += 1e3 * (2 * middle - start - time.perf_counter())

    return watched
