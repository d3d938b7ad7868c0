"""The console: messages and progress bars, on standard error, quiet where nobody watches."""

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.box import SIMPLE
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)


class Advance(Protocol):
    """Report of progress: ``n`` more done, with an optional note such as the current error."""

    def __call__(self, n: int = 1, *, note: str = "") -> None:
        """Add to the progress."""


class Reporter(Protocol):
    """Where long work tells how far it is; a task is one bar."""

    def start(self, title: str, total: int, *, done: int = 0) -> Advance:
        """Begin a task of ``total`` steps, ``done`` of them already there from an earlier run."""

    def message(self, text: str) -> None:
        """Say one line."""


class Silent:
    """A reporter that says nothing (library default).

    Examples
    --------
    >>> Silent().start("labeling", 10)(3)
    """

    def start(self, title: str, total: int, *, done: int = 0) -> Advance:
        """Ignore the task."""

        def advance(n: int = 1, *, note: str = "") -> None:
            """Ignore the progress."""

        return advance

    def message(self, text: str) -> None:
        """Ignore the message."""


class Bars:
    """Progress bars with an estimate on a terminal; plain lines every 15 seconds elsewhere."""

    _INTERVAL_S = 15.0

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def start(self, title: str, total: int, *, done: int = 0) -> Advance:
        """Show a new bar."""
        task = self._progress.add_task(title, total=total, completed=done, note="")
        spoken, began, finished = time.monotonic(), time.monotonic(), done

        def advance(n: int = 1, *, note: str = "") -> None:
            """Move the bar, or print a line where there is no terminal."""
            nonlocal spoken, finished
            finished += n
            self._progress.update(task, advance=n)
            if note:
                self._progress.update(task, note=note)
            now = time.monotonic()
            if not CONSOLE.is_terminal and (finished >= total > finished - n or now - spoken >= self._INTERVAL_S):
                spoken = now
                left = (now - began) / max(finished - done, 1) * (total - finished)
                ending = "done" if finished >= total else f"about {left:.0f} s left"
                CONSOLE.print(
                    f"  {title}: {finished}/{total} {note} ({now - began:.0f} s, {ending})".replace("  (", " (")
                )

        return advance

    def message(self, text: str) -> None:
        """Print one line above the bars."""
        self._progress.console.print(text)


@contextmanager
def progress_bars() -> Iterator[Bars]:
    """Show progress bars while the block runs.

    Examples
    --------
    >>> with progress_bars() as bars:
    ...     advance = bars.start("labeling", 2)
    ...     advance(2, note="done")
    """
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=CONSOLE, disable=not CONSOLE.is_terminal) as progress:
        yield Bars(progress)


def titled_table(title: str, *columns: str, numbers: Collection[str] = ()) -> Table:
    """Return an empty table with a title on its left; columns of numbers are set to the right.

    Examples
    --------
    >>> len(titled_table("Teachers", "kind", "what it is").columns)
    2
    """
    table = Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
        min_width=min(len(title) + 2, 78),  # else the title is broken to the width of the columns
    )
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def print_tables(tables: Iterable[RenderableType]) -> None:
    """Print tables and lines to standard output: results, not messages.

    Examples
    --------
    >>> print_tables(["data set  ethanol"])
    data set  ethanol
    """
    console = Console(highlight=False, markup=False)
    for table in tables:
        console.print(table)
