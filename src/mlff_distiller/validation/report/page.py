"""The report page: one HTML file that needs no network, drawn from plain numbers."""

from collections.abc import Callable
from html import escape
from pathlib import Path

from mlff_distiller.core.files import write_text
from mlff_distiller.core.html.markup import Numbered, definitions, note
from mlff_distiller.core.html.page import Section, page
from mlff_distiller.validation.report import figures, nve_figure, prose, tables, teacher
from mlff_distiller.validation.report.content import ReportData, StudentReport

_SECTIONS = (
    ("verdict", "Verdict"),
    ("asked", "What was asked"),
    ("teacher", "The teacher"),
    ("dataset", "Data"),
    ("learning", "Learning"),
    ("accuracy", "Accuracy on held-out frames"),
    ("dynamics", "Constant-energy dynamics"),
    ("checks", "All checks"),
    ("speed", "Speed"),
    ("trust", "Should I trust it?"),
    ("provenance", "Provenance"),
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
    write = _Page(data)
    return page(
        data.name,
        [Section(key, title, getattr(write, key)()) for key, title in _SECTIONS],
        title=f"{data.name}: mlffd report",
        kicker=f"MLFF Distiller report{f' · {made}' if made else ''}",
        headline=prose.headline(data),
        version=str(data.provenance.get("versions", {}).get("mlff-distiller", "")),
    )


class _Page:
    """The sections, with figures and tables numbered as they come."""

    def __init__(self, data: ReportData) -> None:
        self.data = data
        numbered = Numbered()
        self._figure, self._table = numbered.figure, numbered.table

    def verdict(self) -> str:
        caption = (
            "Each student with the numbers that decide; in the heading the limit, below each number its 95&nbsp;% "
            "interval. A check passes only if its whole interval is on the right side of the limit."
        )
        floor = self.data.audit.floor if self.data.audit else None
        return self._table("Verdict.", caption, tables.verdicts(self.data.students, floor=floor))

    def asked(self) -> str:
        yaml = escape(self.data.recipe_yaml)
        return (
            f"{definitions(self.data.recipe)}"
            f"<details><summary>The recipe with all defaults</summary><pre><code>{yaml}</code></pre></details>"
        )

    def teacher(self) -> str:
        result = self.data.audit
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

    def dataset(self) -> str:
        dataset, refused = self.data.dataset, tables.refusals(self.data.refusals)
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

    def learning(self) -> str:
        return self._figure(figures.learning_curves(self.data.students)) or note("There is no training log.")

    def accuracy(self) -> str:
        return self._each(self._accuracy) or note("No student was compared with held-out frames.")

    def _accuracy(self, name: str, student: StudentReport) -> str:
        if student.parity is None:
            return ""
        parts, listed = self._figure(figures.parity(name, student.parity)), tables.breakdown(student)
        caption = "Errors by system and by element on held-out frames."
        return parts + (self._table(f"Errors of {escape(name)}.", caption, listed) if listed else "")

    def dynamics(self) -> str:
        return self._each(self._dynamics) or note("No student was run in dynamics.")

    def _dynamics(self, name: str, student: StudentReport) -> str:
        if student.nve is None:
            return ""
        drift = student.measurement("nve_drift")
        temperature = drift.detail.get("settings", {}).get("temperature_K") if drift else None
        drifts, failed = tables.drifts(student), tables.failures(student)
        caption = "Least-squares slope of the total energy; mean and Student-t interval over independent replicas."
        return (
            self._figure(nve_figure.constant_energy(name, student.nve, temperature))
            + (self._table(f"Drift of {escape(name)}.", caption, drifts) if drifts else "")
            + (self._table(f"Failed runs of {escape(name)}.", "When and why.", failed) if failed else "")
        )

    def checks(self) -> str:
        caption = (
            "n: independent samples behind the interval (segments, replicas, blocks or runs). "
            "Checks in gray are reported; the verdict does not depend on them."
        )
        return self._each(lambda name, s: self._table(f"Checks of {escape(name)}.", caption, tables.checks(s)))

    def speed(self) -> str:
        drawn = self._figure(figures.timing(self.data.students, self.data.teacher))
        return drawn or note("Nothing was timed.")

    def trust(self) -> str:
        return self._each(prose.trust) + prose.domain(self.data)

    def provenance(self) -> str:
        return definitions(self.data.provenance) if self.data.provenance else note("Nothing was recorded.")

    def _each(self, write: Callable[[str, StudentReport], str]) -> str:
        return "".join(write(name, student) for name, student in self.data.students.items())
