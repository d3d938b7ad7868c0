"""The section on the teacher: what it is, its error floor beside the students' errors, and what the audit found."""

from collections.abc import Mapping
from html import escape
from typing import Final

from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import table
from mlff_distiller.validation.audit.result import AuditResult
from mlff_distiller.validation.audit.theme import Judged
from mlff_distiller.validation.report.check_words import title
from mlff_distiller.validation.report.content import StudentReport
from mlff_distiller.validation.report.tables import floor_interval, floor_number, mark

_COMPARABLE: Final = 1e-4
"""Share of a student's error below which the floor says nothing about it."""

CAPTION: Final = (
    "What was measured of the teacher before it labeled anything. A check that did not run says so; it never counts as "
    "passed."
)


def introduction(result: AuditResult) -> str:
    """Return what the teacher is, what its floor means, and what is wrong with it."""
    facts = result.facts
    declared = "are" if result.is_conservative else "are not"
    settings = ", ".join(
        escape(value)
        for key, value in result.teacher.items()
        if key in ("precision", "device") and value not in ("", "unknown")
    )
    gives = words.listing([escape(name.replace("_", " ")) for name in facts.get("properties", [])])
    hopeless = "".join(f"<p><strong>{escape(sentence)}</strong></p>" for sentence in result.hopeless)
    return (
        f"<p><strong>{escape(result.name)}</strong>{f' ({settings})' if settings else ''} gives {gives}; by its own "
        f"account its forces {declared} the gradient of an energy. Looked at: "
        f"{_counted(facts.get('n_structures', 0), 'structure')}; "
        f"the recipe has {_counted(facts.get('n_systems', 0), 'system')}.</p>"
        f"<p>{escape(result.floor_sentence)}</p>{hopeless}"
    )


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def floor(result: AuditResult, students: Mapping[str, StudentReport]) -> str:
    """Return the parts of the error floor and, below, the force errors of the students."""
    found = result.floor
    rows = [[f"teacher: {escape(part)}", floor_number(size), "", ""] for part, size in found.detail["parts"].items()]
    rows += [[f"teacher: {escape(part)}", "not measured", "", ""] for part in found.detail["missing"]]
    rows.append(["<strong>Error floor</strong>", floor_number(found.value), floor_interval(found), ""])
    if "without_energies" in found.detail:
        rows.append(
            [
                "the same for a student free to leave the energies",
                floor_number(found.detail["without_energies"]),
                "",
                "",
            ]
        )
    for name, student in students.items():
        error = student.measurement("force_rmse")
        if error is not None:
            ratio = (
                words.number(error.value / found.value, 2) if found.value > _COMPARABLE * error.value else words.NONE
            )
            rows.append([f"student <strong>{escape(name)}</strong>, force RMSE", words.number(error.value)])
            rows[-1] += [words.interval(error.ci95), ratio]
    return table(["", "eV/Å", "95 % interval", "Times the floor"], rows, numeric=[1, 2, 3])


def themes(result: AuditResult) -> str:
    """Return outcome and sentence of each theme."""
    rows = [[escape(theme.title), mark(theme.outcome), escape(theme.sentence)] for theme in result.themes]
    return table(["Theme", "Outcome", "What it means"], rows, kind="prose")


def checks(result: AuditResult) -> str:
    """Return all numbers of the audit, and what was not measured."""
    rows = []
    for theme in result.themes:
        rows += [_check(check) for check in theme.checks]
        rows += [
            [title(s.check), words.NONE, words.NONE, words.NONE, mark("NOT_RUN") + f" ({escape(s.reason)})"]
            for s in theme.skipped
        ]
    return table(["Check", "Value", "95 % interval", "Limit", "Outcome"], rows, numeric=[1, 2, 3], kind="checks prose")


def _check(check: Judged) -> list[str]:
    found = check.measurement
    return [
        title(found.name),
        words.quantity(found.value, found.unit),
        words.interval(found.ci95),
        words.bound(check.limit, "≤"),
        mark(check.outcome),
    ]
