"""The report page: one HTML file that needs no network, drawn from plain numbers."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Final

from mlff_distiller.core.files import write_text
from mlff_distiller.core.html.markup import Numbered, definitions, note
from mlff_distiller.core.html.page import Section, page
from mlff_distiller.validation.report import cards, check_words, comparison, figures, prose, tables, teacher, worst
from mlff_distiller.validation.report.content import ReportData, StudentReport
from mlff_distiller.validation.report.sections import (
    errors,
    nve,
    observables,
    physicality,
    timestep,
    timing,
    visited,
)

Write = Callable[[Numbered, str, StudentReport], str]
"""Writes what the evidence of one check shows of one student; empty where there is none."""

_FIRST: Final[Sequence[tuple[str, str, Write]]] = (
    ("errors", "Accuracy on held-out frames", errors.section),
    ("nve", "Constant-energy dynamics", nve.section),
)
_FURTHER: Final[Sequence[tuple[str, str, Write]]] = (
    ("timestep", "Time step", timestep.section),
    ("physicality", "Physicality", physicality.section),
    ("visited", "Accuracy where it goes by itself", visited.section),
    ("observables", "Observables against the teacher", observables.section),
    ("timing", "Speed and memory", timing.section),
)


def write_report(path: Path, data: ReportData) -> None:
    """Write the report to one HTML file, atomically.

    Parameters
    ----------
    path : Path
        Usually ``report.html``.
    data : ReportData
        What to show.

    Raises
    ------
    DistillerError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "report.html"
    >>> write_report(path, ReportData("empty", "GFN2-xTB", {}, "", {}, {}))
    >>> "<h1>empty</h1>" in path.read_text(encoding="utf-8")
    True
    """
    write_text(path, render(data))


def render(data: ReportData) -> str:
    """Return the report as HTML."""
    made = escape(str(data.provenance.get("created", ""))).replace("T", " ").replace("Z", " UTC")
    return page(
        data.name,
        _Page(data).sections(),
        title=f"{data.name}: mlffd report",
        kicker=f"MLFF Distiller report{f' · {made}' if made else ''}",
        headline=prose.headline(data),
        version=str(data.provenance.get("versions", {}).get("mlff-distiller", "")),
    )


class _Page:
    """The sections, with figures and tables numbered as they come."""

    def __init__(self, data: ReportData) -> None:
        self.data, self.numbered = data, Numbered()
        self._figure, self._table = self.numbered.figure, self.numbered.table

    def sections(self) -> list[Section]:
        """Return all sections that have something to say, in the order in which a reader decides."""
        made = [
            Section("verdict", "Verdict", self._verdict()),
            Section("comparison", "Comparison", self._comparison()),
            Section("asked", "What was asked", self._asked()),
            Section("teacher", "The teacher", self._teacher()),
            Section("dataset", "Data", self._dataset()),
            Section("learning", "Learning", self._learning()),
            *self._evidence(_FIRST),
            Section("worst", "Worst frames and failed runs", self._worst()),
            *self._evidence(_FURTHER),
            Section("checks", "All checks", self._each(self._all_checks)),
            Section("trust", "Should I trust it?", prose.domain(self.data)),
            Section("provenance", "Provenance", self._provenance()),
        ]
        return [section for section in made if section.html]

    def _evidence(self, checks: Sequence[tuple[str, str, Write]]) -> list[Section]:
        return [Section(check, title, self._found(check, write)) for check, title, write in checks]

    def _verdict(self) -> str:
        caption = (
            "The numbers that decide, with the limit in the heading and the 95&nbsp;% interval below each number. A "
            "check passes only if its whole interval is on the right side of the limit; what is undecided or did not "
            "run never counts as passed."
        )
        floor = self.data.audit.floor if self.data.audit else None
        numbers = tables.verdicts(self.data.students, floor=floor)
        return cards.cards(self.data) + self._table("Verdict.", caption, numbers)

    def _comparison(self) -> str:
        drawn = self._figure(comparison.pareto(self.data))
        if not drawn:
            return note("A comparison needs a force error and a time per step; nobody has both.")
        listed = self._table(
            "Error and time.", "Best verdict first, then the smallest error.", comparison.beside(self.data)
        )
        return f'<div class="beside">{drawn}{listed}</div>'

    def _asked(self) -> str:
        if not self.data.recipe:
            return note("There is no recipe: what was validated came from somewhere else.")
        yaml = escape(self.data.recipe_yaml)
        asked = self.data.recipe.items()
        shown = {key: value for key, value in asked if key != "criteria" and value not in (None, [], {})}
        return (
            f"{definitions(shown)}<p>The limits stand beside all checks, below.</p>"
            f"<details><summary>The recipe with all defaults</summary><pre><code>{yaml}</code></pre></details>"
        )

    def _teacher(self) -> str:
        result = self.data.audit
        if not self.data.teacher:
            return note("There was no teacher: nothing here says whether energies and forces are right.")
        if result is None:
            return note("The teacher was not audited: nothing is known of what its forces are worth.")
        floor, checks = teacher.floor(result, self.data.students), teacher.checks(result)
        caption = (
            "What of the teacher's forces no student can follow that follows its energies, beside the students' errors "
            "on held-out frames. One force may break two rules at once: the largest part counts, and chance adds to it."
        )
        return "".join(
            [
                teacher.introduction(result),
                self._table("The error floor.", caption, floor),
                self._table("Audit of the teacher.", teacher.CAPTION, teacher.themes(result)),
                f"<details><summary>All numbers of the audit</summary>{checks}</details>",
            ]
        )

    def _dataset(self) -> str:
        dataset, refused = self.data.dataset, tables.refusals(self.data.refusals)
        if not dataset:
            return note("There are no labeled data; errors against a teacher were not measured on held-out frames.")
        n_refused = sum(self.data.refusals.values())
        said = f"{n_refused:,} structures were refused." if n_refused else "No structure was refused."
        text = f"<p>{dataset.get('n_frames', 0):,} frames with {dataset.get('n_atoms', 0):,} atoms in all. {said}</p>"
        listed = tables.systems(dataset)
        parts = [
            text,
            self._table("Frames.", "Whole trajectory segments stay in one split.", listed) if listed else "",
            self._table("Refusals.", "Structures without a label, by reason.", refused) if refused else "",
            self._figure(figures.distributions(dataset)),
        ]
        return "".join(parts)

    def _learning(self) -> str:
        drawn = self._figure(figures.learning_curves(self.data.students))
        return drawn or note("There is no training log: nothing was trained here.")

    def _found(self, check: str, write: Write) -> str:
        """Return what all students' evidence of a check shows, and what of it is missing though it is required."""
        shown = {name: write(self.numbered, name, student) for name, student in self.data.students.items()}
        parts = {name: html or _missing(check, self.data.students[name]) for name, html in shown.items()}
        if len(set(parts.values())) == 1:
            return next(iter(parts.values()))
        return "".join(f"<h3>{escape(name)}</h3>{html}" for name, html in parts.items() if html)

    def _worst(self) -> str:
        sights = worst.sights(self.data.students)
        if not sights:
            return ""
        listed = self._table(
            "What to look at.",
            "The worst frame of each of the worst systems, and the first runs to fail. A link shows it below.",
            worst.listed(sights),
        )
        return listed + self._figure(worst.view(sights))

    def _all_checks(self, name: str, student: StudentReport) -> str:
        caption = (
            "n: independent samples behind the interval (segments, replicas, blocks or runs). "
            "Checks in gray are reported; the verdict does not depend on them."
        )
        return self._table(f"Checks of {escape(name)}.", caption, tables.checks(student))

    def _provenance(self) -> str:
        return definitions(self.data.provenance) if self.data.provenance else note("Nothing was recorded.")

    def _each(self, write: Callable[[str, StudentReport], str]) -> str:
        return "".join(write(name, student) for name, student in self.data.students.items())


def _missing(check: str, student: StudentReport) -> str:
    """Return a note where a required check of this kind was not measured; nothing where none is required."""
    missing = [
        one
        for one in student.verdict.checks
        if one.counts and one.value != one.value and check_words.kind_of(one.name) == check
    ]
    reasons = dict.fromkeys(one.reason for one in missing if one.reason)
    why = f": {escape('; '.join(reasons))}" if reasons else ""
    return note(f"This was not measured{why}, and the verdict depends on it.") if missing else ""
