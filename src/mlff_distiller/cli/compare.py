"""``mlffd compare``: two students side by side, number by number, and which is better beyond noise."""

from collections.abc import Iterator, Sequence
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from mlff_distiller.core.console import print_tables, titled_table
from mlff_distiller.core.errors import PlanError

if TYPE_CHECKING:
    from rich.table import Table

    from mlff_distiller.core.evidence import Evidence
    from mlff_distiller.core.measurement import Measurement
    from mlff_distiller.validation.difference import Difference

Side = Annotated[str, typer.Argument(help="Directory of a run or validation, or one student of it, RUN:STUDENT.")]


class Contender(NamedTuple):
    """One student of a run: what to call it, what was measured, and its verdict."""

    name: str
    found: "dict[str, Evidence]"
    verdict: str


def compare(a: Side, b: Side) -> None:
    """Compare two students, or all students of two runs that have the same names.

    Errors on the same held-out frames are compared in pairs. Nothing is run.
    """
    from mlff_distiller.validation.difference import differences

    for first, second in _pairs(a, b):
        found = differences(first.found, second.found)
        print_tables([table(first.name, second.name, found), *in_words(first, second, found)])


def _pairs(a: str, b: str) -> Iterator[tuple[Contender, Contender]]:
    """Yield what is compared with what: the students that are named, or those of the same name."""
    (run_a, names_a), (run_b, names_b) = _side(a), _side(b)
    if len(names_a) == len(names_b) == 1:
        yield _contender(run_a, names_a[0], a), _contender(run_b, names_b[0], b)
        return
    common = [name for name in names_a if name in names_b]
    if not common or len(names_a) == 1 or len(names_b) == 1:
        raise PlanError(
            f"say which students to compare, RUN:STUDENT; {run_a} has {', '.join(names_a)}, and {run_b} has "
            f"{', '.join(names_b)}"
        )
    for name in common:
        yield _contender(run_a, name, f"{run_a}:{name}"), _contender(run_b, name, f"{run_b}:{name}")


def _side(text: str) -> tuple[Path, list[str]]:
    """Return the directory and the students that a text names."""
    from mlff_distiller.recipes.judging import recipe_in

    folder, _, name = (text, "", "") if Path(text).exists() else text.rpartition(":")
    names = recipe_in(Path(folder or text)).names
    if name and name not in names:
        raise PlanError(f"there is no '{name}' in {folder}; known: {', '.join(names)}")
    return Path(folder or text), [name] if name else names


def _contender(run: Path, name: str, called: str) -> Contender:
    from mlff_distiller.recipes.judging import evidence, judgement, recipe_in
    from mlff_distiller.recipes.run_directory import RunDirectory

    recipe, directory = recipe_in(run), RunDirectory(run)
    _, judged = judgement(recipe, directory).verdicts[name]
    return Contender(called, evidence(recipe, directory, name), judged.verdict)


def table(first: str, second: str, found: "Sequence[Difference]") -> "Table":
    """Return all numbers of two students with their differences.

    Examples
    --------
    >>> from mlff_distiller.core.measurement import Measurement
    >>> from mlff_distiller.validation.difference import Difference
    >>> pair = [Measurement("step_time", t, "ms", (t, t), 20) for t in (1.0, 0.5)]
    >>> table("a", "b", [Difference("step_time", "ms", *pair, -0.5, (-0.6, -0.4), better="second")]).row_count
    1
    """
    numbers = ("A", "B", "B - A", "95 % interval")
    shown = titled_table(f"A: {first}   B: {second}", "", *numbers, "better", numbers=numbers)
    for row in found:
        better = {"first": "A", "second": "B", "": ""}[row.better]
        interval = f"{_number(row, row.ci95[0])} to {_number(row, row.ci95[1])}" if row.ci95 else ""
        values = [_number(row, None if m is None else m.value) for m in (row.first, row.second)]
        pairs = " *" if row.paired else ""
        shown.add_row(_title(row), *values, f"{_number(row, row.value)}{pairs}", interval, better)
    shown.caption = "* on the same held-out frames; better: the 95 % interval of the difference leaves out zero"
    return shown


def in_words(first: Contender, second: Contender, found: "Sequence[Difference]") -> Iterator[str]:
    """Yield the verdicts, and who is better at what."""
    for side, contender in (("A", first), ("B", second)):
        yield f"{side} ({contender.name}): {contender.verdict.replace('_', ' ')}"
    for side, which in (("A", "first"), ("B", "second")):
        better = [_title(row, unit=False) for row in found if row.better == which]
        yield f"{side} is better beyond noise in: {'; '.join(better) if better else 'nothing'}."
    alike = sum(1 for row in found if row.ci95 is not None and not row.better)
    missing = sum(1 for row in found if row.value != row.value)
    yield f"{alike} numbers do not differ beyond noise, {missing} were not measured of both."


def _title(row: "Difference", *, unit: bool = True) -> str:
    from mlff_distiller.core.html import words
    from mlff_distiller.validation.report.check_words import displayed, title

    shown = words.unit(displayed(0.0, row.unit)[1]) if unit else ""
    return unescape(f"{title(row.name)}, {shown}" if shown else title(row.name))


def _number(row: "Difference", value: float | None) -> str:
    from mlff_distiller.core.html import words
    from mlff_distiller.validation.report.check_words import displayed

    return words.number(None if value is None else displayed(value, row.unit)[0], _digits(row.first or row.second))


def _digits(measured: "Measurement | None") -> int:
    from mlff_distiller.validation.report.check_words import digits_for

    return 3 if measured is None else digits_for(measured.name)
