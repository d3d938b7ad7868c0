"""Pool: the contract of everything that runs independent tasks."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from mlff_distiller.core.console import Advance, Reporter

T = TypeVar("T")
R = TypeVar("R")


class Pool(Protocol):
    """Where tasks run: processes of this machine, or others that promise the same."""

    def run(
        self, function: Callable[[T, Reporter], R], tasks: Iterable[T], *, reporter: Reporter
    ) -> Iterator[tuple[int, R]]:
        """Call ``function(task, reporter)`` for every task and yield (index of the task, result) as they complete."""


class OneBar:
    """A reporter that adds the progress of every task to one bar that is there already.

    Parameters
    ----------
    advance : Advance
        The bar.
    reporter : Reporter
        Where messages go.

    Examples
    --------
    >>> from mlff_distiller.core.console import Silent
    >>> bar = Silent().start("sampling", 100)
    >>> OneBar(bar, Silent()).start("walker 3", 10)(10)
    """

    def __init__(self, advance: Advance, reporter: Reporter) -> None:
        self._advance, self._reporter = advance, reporter

    def start(self, title: str, total: int, *, done: int = 0) -> Advance:
        """Return the one bar."""
        return self._advance

    def message(self, text: str) -> None:
        """Pass the message on."""
        self._reporter.message(text)
