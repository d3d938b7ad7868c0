"""The report page: one HTML file that needs no network, drawn from plain numbers."""

import json
from collections.abc import Callable
from html import escape
from importlib.resources import files
from itertools import count
from pathlib import Path
from string import Template

from mlff_distiller.core.files import write_text
from mlff_distiller.validation.report import figures, nve_figure, prose, tables
from mlff_distiller.validation.report.content import ReportData, StudentReport
from mlff_distiller.validation.report.plotting import Figure

_SECTIONS = (
    ("verdict", "Verdict"),
    ("asked", "What was asked"),
    ("dataset", "Data"),
    ("learning", "Learning"),
    ("accuracy", "Accuracy on held-out frames"),
    ("dynamics", "Constant-energy dynamics"),
    ("checks", "All checks"),
    ("speed", "Speed"),
    ("trust", "Should I trust it?"),
    ("provenance", "Provenance"),
)

# The policy forbids every request: the page is the same with and without a network.
_PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:">
<title>$title</title>
<style>
$style
</style>
</head>
<body>
<header>
<p class="kicker">MLFF Distiller report$made</p>
<h1>$name</h1>
<p class="lead">$headline</p>
<nav aria-label="Contents">$contents</nav>
</header>
<main>
$sections
</main>
<footer>$footer</footer>
<noscript><p class="note">The figures are drawn by a script inside this file; allow scripts to see them.</p></noscript>
<script>$plotly</script>
<script>
$script
</script>
</body>
</html>
"""  # noqa: E501 - one attribute
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
    from plotly.offline import get_plotlyjs

    folder = files("mlff_distiller.validation.report")
    contents = "".join(
        f'<a href="#{key}">{number}&nbsp;{title}</a>' for number, (key, title) in enumerate(_SECTIONS, 1)
    )
    return _PAGE.substitute(
        title=f"{escape(data.name)}: mlffd report",
        style=folder.joinpath("style.css").read_text(encoding="utf-8"),
        made=f" · {_made(data)}" if _made(data) else "",
        name=escape(data.name),
        headline=prose.headline(data),
        contents=contents,
        sections=_Page(data).sections(),
        footer=_footer(data),
        plotly=get_plotlyjs(),
        script=folder.joinpath("draw.js").read_text(encoding="utf-8"),
    )


def _made(data: ReportData) -> str:
    return escape(str(data.provenance.get("created", ""))).replace("T", " ").replace("Z", " UTC")


def _footer(data: ReportData) -> str:
    version = escape(str(data.provenance.get("versions", {}).get("mlff-distiller", "")))
    return f"Written by mlff-distiller {version}. This file is complete: it loads nothing from anywhere."


class _Page:
    """The sections, with figures and tables numbered as they come."""

    def __init__(self, data: ReportData) -> None:
        self.data = data
        self._figure_numbers, self._table_numbers = count(1), count(1)

    def sections(self) -> str:
        write: dict[str, Callable[[], str]] = {key: getattr(self, key) for key, _ in _SECTIONS}
        return "\n".join(
            f'<section id="{key}"><h2><span class="number">{number}</span>{title}</h2>\n{write[key]()}</section>'
            for number, (key, title) in enumerate(_SECTIONS, 1)
        )

    def verdict(self) -> str:
        caption = (
            "Each student with the numbers that decide; in the heading the limit, below each number its 95&nbsp;% "
            "interval. A check passes only if its whole interval is on the right side of the limit."
        )
        return self._table("Verdict.", caption, tables.verdicts(self.data.students))

    def asked(self) -> str:
        yaml = escape(self.data.recipe_yaml)
        return (
            f"{tables.definitions(self.data.recipe)}"
            f"<details><summary>The recipe with all defaults</summary><pre><code>{yaml}</code></pre></details>"
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
        return self._figure(figures.learning_curves(self.data.students)) or _missing("There is no training log.")

    def accuracy(self) -> str:
        return self._each(self._accuracy) or _missing("No student was compared with held-out frames.")

    def _accuracy(self, name: str, student: StudentReport) -> str:
        if student.parity is None:
            return ""
        parts, listed = self._figure(figures.parity(name, student.parity)), tables.breakdown(student)
        caption = "Errors by system and by element on held-out frames."
        return parts + (self._table(f"Errors of {escape(name)}.", caption, listed) if listed else "")

    def dynamics(self) -> str:
        return self._each(self._dynamics) or _missing("No student was run in dynamics.")

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
        return drawn or _missing("Nothing was timed.")

    def trust(self) -> str:
        return self._each(prose.trust) + prose.domain(self.data)

    def provenance(self) -> str:
        return tables.definitions(self.data.provenance) if self.data.provenance else _missing("Nothing was recorded.")

    def _each(self, write: Callable[[str, StudentReport], str]) -> str:
        return "".join(write(name, student) for name, student in self.data.students.items())

    def _figure(self, figure: Figure | None) -> str:
        if figure is None:
            return ""
        number = next(self._figure_numbers)
        content = json.dumps({"data": figure.traces, "layout": figure.layout}, allow_nan=False).replace("<", "\\u003c")
        return (
            f'<figure><div class="scroll"><div class="plot" id="figure-{number}" style="height:{figure.height}px" '
            f'role="img" aria-label="Figure {number}: {figure.title}"></div></div>'
            f'<script type="application/json" data-figure="figure-{number}">{content}</script>'
            f"<figcaption><b>Figure {number}. {figure.title}</b> {figure.caption}</figcaption></figure>"
        )

    def _table(self, title: str, caption: str, html: str) -> str:
        number = next(self._table_numbers)
        return f'<div class="table"><p class="caption"><b>Table {number}. {title}</b> {caption}</p>{html}</div>'


def _missing(text: str) -> str:
    return f'<p class="note">{text}</p>'
