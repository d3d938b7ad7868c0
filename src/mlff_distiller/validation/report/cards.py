"""The verdict on each student with its reasons: what failed, what is open, what passed, what does not apply."""

import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from mlff_distiller.core.html import words
from mlff_distiller.validation.report import check_words, prose, tables
from mlff_distiller.validation.report.content import ReportData, StudentReport
from mlff_distiller.validation.verdict import CheckOutcome
from mlff_distiller.validation.waivers import Waiver

MEANING: Final = {
    "APPROVED": "Every required check keeps its limit with its whole 95&nbsp;% interval",
    "SCREENING_ONLY": "Every required check keeps its screening limit, but not all keep the limit for production",
    "REJECTED": "At least one required check misses even its screening limit",
    "INCONCLUSIVE": "What was measured does not decide; an undecided check never counts as passed",
}

_TYPED: Final = re.compile("`([^`]+)`")


def cards(data: ReportData) -> str:
    """Return a card for each student."""
    return "".join(_card(name, student) for name, student in data.students.items())


def _card(name: str, student: StudentReport) -> str:
    verdict = student.verdict.verdict
    size = f"<small>{student.n_parameters:,} parameters</small>" if student.n_parameters is not None else ""
    reasons = "".join(f"<li>{tables.mark(kind)} <div>{said}</div></li>" for kind, said in _reasons(name, student))
    return (
        f'<article class="card {verdict.lower()}"><h3>{escape(name)} {tables.badge(verdict)}{size}</h3>'
        f"<p><strong>{MEANING[verdict]}.</strong> {prose.plainly(student)}</p>"
        f'<ul class="reasons">{reasons}</ul></article>'
    )


def _reasons(name: str, student: StudentReport) -> Iterator[tuple[str, str]]:
    """Return what the verdict rests on, the worst first; what does not count stands at the end."""
    counting = [check for check in student.verdict.checks if check.counts]
    for check in _with(counting, "FAIL"):
        yield "FAIL", _failed(check)
    undecided = _with(counting, "INCONCLUSIVE")
    for check in undecided:
        if check.value == check.value:
            yield "INCONCLUSIVE", _undecided(check)
    yield from _unmeasured([check for check in undecided if check.value != check.value])
    passed = [check_words.title(check.name) for check in _with(counting, "PASS")]
    if passed:
        yield "PASS", f"{words.listing(passed)} ({len(passed)} of {len(counting)} required checks)."
    idle = _with([check for check in student.verdict.checks if check.required], "NOT_APPLICABLE")
    for check in idle:
        yield "NOT_APPLICABLE", f"{check_words.title(check.name)}{f': {escape(check.reason)}' if check.reason else ''}."
    for waiver in student.verdict.waivers:
        if waiver.concerns(name):
            yield "WAIVED", _waived(waiver)


def _with(checks: Sequence[CheckOutcome], outcome: str) -> list[CheckOutcome]:
    return [check for check in checks if check.outcome == outcome]


def _waived(waiver: Waiver) -> str:
    on = f" on {escape(waiver.date)}" if waiver.date else ""
    return (
        f"{check_words.title(waiver.check)}: \N{LEFT DOUBLE QUOTATION MARK}{escape(waiver.reason)}"
        f"\N{RIGHT DOUBLE QUOTATION MARK}, signed by {escape(waiver.signed)}{on}. "
        "<em>The verdict stays as it is.</em>"
    )


def _failed(check: CheckOutcome) -> str:
    beyond = {
        "FAIL": "; the screening limit is missed too",
        "PASS": f"; the screening limit {tables.limit(check, check.screening_limit)} is kept",
        "INCONCLUSIVE": f"; the screening limit {tables.limit(check, check.screening_limit)} is undecided",
    }.get(check.screening_outcome, "")
    known = check.ci95 is not None and check.ci95[0] < check.ci95[1]
    interval = f", 95&nbsp;% interval {_interval(check)}" if known else ""
    limit = tables.limit(check, check.limit)
    return f"{check_words.title(check.name)} is {_value(check)}{interval} (limit {limit}{beyond}). {_settle(check)}"


def _value(check: CheckOutcome) -> str:
    return words.quantity(*check_words.displayed(check.value, check.unit), check_words.digits_for(check.name))


def _interval(check: CheckOutcome) -> str:
    return words.interval(tables.shown_interval(check), check_words.digits_for(check.name))


def _undecided(check: CheckOutcome) -> str:
    """Return why a check is undecided, and what would settle it."""
    limit = tables.limit(check, check.limit)
    found = f"is {_value(check)} (limit {limit})"
    if check.ci95 is not None:
        found = f"is {_value(check)}, but its 95&nbsp;% interval, {_interval(check)}, lies on both sides of {limit}"
    return f"{check_words.title(check.name)} {found}. {_settle(check)}"


def _unmeasured(checks: Sequence[CheckOutcome]) -> Iterator[tuple[str, str]]:
    """Return what was not measured; what has the same reason and remedy is said together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for check in checks:
        groups.setdefault((check.reason, _settle(check)), []).append(check_words.title(check.name))
    for (reason, remedy), names in groups.items():
        why = f" ({escape(reason)})" if reason else ""
        yield "INCONCLUSIVE", f"Not known{why}: {words.listing(names)}. {remedy}"


def _settle(check: CheckOutcome) -> str:
    """Return what would settle a check; what is to be typed as such."""
    return _TYPED.sub(r"<code>\1</code>", escape(check.settle))
