"""Spans: how long calls of chosen functions take, watched from outside and without a trace afterwards."""

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, NamedTuple

import numpy as np

GARBAGE = "garbage collection"


class Span(NamedTuple):
    """One call.

    Parameters
    ----------
    label : str
        What was done.
    begin, end : float
        Seconds of :func:`time.perf_counter`.
    parent : int
        Index of the span that it happened in; -1 for none.
    """

    label: str
    begin: float
    end: float
    parent: int


class Place(NamedTuple):
    """A function that is watched: an attribute of an object, a class or a module."""

    owner: Any
    attribute: str
    label: str


class Recorder(AbstractContextManager["Recorder"]):
    """Watches functions and garbage collection while the block runs; afterwards everything is as it was.

    Watched calls belong to the thread that watches; those of other threads run unseen.

    Parameters
    ----------
    places : sequence of Place
        What is watched; attributes that are not there are left out.

    Examples
    --------
    >>> class Clock:
    ...     def tick(self):
    ...         return 1
    >>> clock = Clock()
    >>> with Recorder([Place(clock, "tick", "tick")]) as recorder:
    ...     _ = clock.tick()
    >>> [span.label for span in recorder.spans], vars(clock)
    (['tick'], {})
    """

    def __init__(self, places: Sequence[Place]) -> None:
        from threading import get_ident

        self._places = [place for place in places if hasattr(place.owner, place.attribute)]
        self._restore: list[Callable[[], None]] = []
        self._spans: list[Span | None] = []
        self._open: list[int] = []
        self._thread = get_ident
        self._own = get_ident()

    @property
    def spans(self) -> list[Span]:
        """All spans, in the order in which they began."""
        return [span for span in self._spans if span is not None]

    def __enter__(self) -> "Recorder":
        for place in self._places:
            self._watch(place)
        gc.callbacks.append(self._garbage)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._garbage)
        for restore in reversed(self._restore):
            restore()
        self._restore.clear()

    def _watch(self, place: Place) -> None:
        owner, name, label = place
        had, inner = name in vars(owner), getattr(owner, name)
        before = vars(owner).get(name)

        @wraps(inner)
        def watched(*arguments: Any, **settings: Any) -> Any:
            if self._thread() != self._own:
                return inner(*arguments, **settings)
            self._begin(label)
            try:
                return inner(*arguments, **settings)
            finally:
                self._end()

        self._restore.append((lambda: setattr(owner, name, before)) if had else (lambda: delattr(owner, name)))
        setattr(owner, name, watched)

    def _begin(self, label: str) -> None:
        parent = self._open[-1] if self._open else -1
        self._open.append(len(self._spans))
        self._spans.append(Span(label, time.perf_counter(), 0.0, parent))

    def _end(self) -> None:
        end, index = time.perf_counter(), self._open.pop()
        span = self._spans[index]
        assert span is not None
        self._spans[index] = span._replace(end=end)

    def _garbage(self, phase: str, info: dict[str, Any]) -> None:
        if self._thread() == self._own:
            self._begin(GARBAGE) if phase == "start" else self._end()


class Part(NamedTuple):
    """What one label takes of a step, without what other labels take inside it.

    Parameters
    ----------
    label : str
        What is done.
    typical_ms, mean_ms : float
        Mean over the quicker half of the steps, which others disturb less, and over all.
    calls : float
        Per step.
    """

    label: str
    typical_ms: float
    mean_ms: float
    calls: float


def parts(spans: Sequence[Span], step: str) -> list[Part]:
    """Return what each label takes of a step, the largest first.

    Parameters
    ----------
    spans : sequence of Span
        Of some steps.
    step : str
        Label of the span with which a step begins.

    Examples
    --------
    >>> parts([Span("step", 0.0, 5e-3, -1), Span("b", 1e-3, 3e-3, 0)], "step")
    [Part(label='step', typical_ms=3.0, mean_ms=3.0, calls=1.0), Part(label='b', typical_ms=2.0, ...)]
    """
    begins = np.array([span.begin for span in spans if span.label == step])
    if not len(begins):
        return []
    own = np.array([span.end - span.begin for span in spans])
    for span in spans:
        if span.parent >= 0:
            own[span.parent] -= span.end - span.begin
    labels = list(dict.fromkeys(span.label for span in spans))
    rows = np.array([labels.index(span.label) for span in spans])
    number = np.maximum(np.searchsorted(begins, [span.begin for span in spans], side="right") - 1, 0)
    taken = np.zeros((len(labels), len(begins)))
    np.add.at(taken, (rows, number), 1e3 * own)
    whole = taken.sum(0)
    quick = whole <= (1 + 1e-9) * np.median(whole)  # equal ones stay together whatever their rounding
    found = [
        Part(label, round(float(ms[quick].mean()), 9), round(float(ms.mean()), 9), float((rows == row).sum() / len(ms)))
        for row, (label, ms) in enumerate(zip(labels, taken, strict=True))
    ]
    return sorted(found, key=lambda part: -part.typical_ms)


def chrome_trace(spans: Sequence[Span], *, name: str, more: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Return spans as a Chrome trace, which chrome://tracing and Perfetto open.

    Source: Trace Event Format of the Catapult project; complete events ("X"), times in microseconds.

    Parameters
    ----------
    spans : sequence of Span
        Of one thread.
    name : str
        Of the process.
    more : sequence of dict
        Events of other threads.

    Examples
    --------
    >>> chrome_trace([Span("step", 1.0, 1.5, -1)], name="tiny")["traceEvents"][-1]["dur"]
    500000.0
    """
    first = min((span.begin for span in spans), default=0.0)
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": name}},
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": "dynamics"}},
    ]
    events += [
        {
            "name": span.label,
            "cat": "step" if span.parent < 0 else "part",
            "ph": "X",
            "ts": round(1e6 * (span.begin - first), 3),
            "dur": round(1e6 * (span.end - span.begin), 3),
            "pid": 1,
            "tid": 1,
        }
        for span in spans
    ]
    return {"traceEvents": [*events, *more], "displayTimeUnit": "ms"}
