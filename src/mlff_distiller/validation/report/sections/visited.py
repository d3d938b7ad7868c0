"""The section on visited frames: is the student as good where its own dynamics leads as on held-out frames."""

from html import escape
from typing import Any, Final

import numpy as np

from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import Numbered, note, table
from mlff_distiller.core.html.plotting import (
    COLORS,
    INK,
    Figure,
    anchored,
    axes_of,
    axis,
    domain,
    layout,
    log_axis,
    rounded,
    thinned,
    translucent,
)
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.checks.errors.parity import Parity
from mlff_distiller.validation.checks.visited import parity_of
from mlff_distiller.validation.report.content import StudentReport

Traces = list[dict[str, Any]]

_WORSE: Final = 1.5
_MOST_NAMES: Final = 10
_POINTS: Final = 200


def section(numbered: Numbered, name: str, student: StudentReport) -> str:
    """Return what is to be said of frames that the student visits itself; empty where none were labeled.

    Parameters
    ----------
    numbered : Numbered
        Numbers figures and tables.
    name : str
        Name of the student.
    student : StudentReport
        Its evidence of ``visited`` and, to compare with, of ``errors``.
    """
    found = student.evidence.get("visited")
    rmse = None if found is None else found.measurement("visited_force_rmse")
    if found is None or rmse is None:
        reasons = dict.fromkeys(one.reason for one in found.skipped if one.applies) if found else {}
        return "".join(note(f"Not measured: {escape(reason)}.") for reason in reasons)
    drawn = numbered.figure(along_the_runs(name, student))
    title = f"Errors of {escape(name)} where its own dynamics leads."
    return f"<p>{_sentence(found, rmse)}</p>{drawn}{numbered.table(title, _CAPTION, _rows(student, rmse))}"


_CAPTION: Final = (
    "Root mean square errors of force components: on held-out frames, which the teacher's sampling drew, and on frames "
    "of the student's own constant-energy runs, labeled afresh by the teacher. The ratio shows whether the student "
    "leads itself to where it knows less; held-out frames may be hotter, which makes it smaller than one."
)


def _sentence(found: Evidence, rmse: Measurement) -> str:
    """Return in plain words whether the student is worse where it goes by itself."""
    detail, ratio = rmse.detail, found.measurement("visited_force_ratio")
    value = words.quantity(rmse.value, "eV/A") + (f" ({words.interval(rmse.ci95)})" if rmse.ci95 else "")
    text = f"On {detail['n_frames']:,} frames of its own dynamics the force components are off by {value}"
    if ratio is not None and ratio.value == ratio.value:
        worse = "clearly worse than" if (ratio.ci95 or (0.0,))[0] > _WORSE else "compared with"
        text += f", {worse} held-out frames: the ratio is {words.number(ratio.value)}"
        text += f" ({words.interval(ratio.ci95)})" if ratio.ci95 else ""
    text += "."
    if detail["n_before_failure"]:
        without = words.quantity(detail["rmse_without_failures_eV_per_A"], "eV/A")
        text += (
            f" {detail['n_before_failure']} of them come from just before a run failed; without these it is {without}."
        )
    if detail["n_refused"]:
        text += f" The teacher could not label {detail['n_refused']} further frames ({escape(detail['refusals'][0])})."
    return text


def _rows(student: StudentReport, rmse: Measurement) -> str:
    ratio, usual = student.measurement("visited_force_ratio"), student.measurement("force_rmse")
    ratios = ratio.detail.get("per_system", {}) if ratio else {}
    held_out = usual.detail.get("per_system", {}) if usual else {}
    systems, counts = np.unique(student.arrays("visited")["systems"], return_counts=True)
    n_frames = dict(zip(systems.tolist(), counts.tolist(), strict=True))
    rows = [
        [
            escape(system),
            str(n_frames.get(system, 0)),
            words.number(held_out.get(system)),
            words.number(value),
            words.number(ratios.get(system)),
        ]
        for system, value in rmse.detail.get("per_system", {}).items()
    ]
    return table(["System", "Frames", "Held out (eV/Å)", "Visited (eV/Å)", "Ratio"], rows, numeric=range(1, 5))


def along_the_runs(name: str, student: StudentReport) -> Figure | None:
    """Return the error of each visited frame over time, and errors of force vectors beside those on held-out frames."""
    arrays = student.arrays("visited")
    if not arrays:
        return None
    visited = parity_of(arrays)
    dots = _dots(visited, arrays)
    shares = [_share(visited, "visited", COLORS[1])]
    if student.parity is not None:
        shares.insert(0, _share(student.parity, "held out", COLORS[0]))
    shape = layout(showlegend=True)
    errors = [y for trace in dots for y in trace["y"]]
    shape["xaxis"] = axis("Time in the run (ps)", domain=domain(0, 2, 0.12), rangemode="tozero")
    shape["yaxis"] = log_axis("Force RMSE of the frame (eV/Å)", errors)
    sizes = [x for trace in shares for x in trace["x"]]
    shape["xaxis2"] = log_axis("Error of a force vector (eV/Å)", sizes, domain=domain(1, 2, 0.12), anchor="y2")
    shape["yaxis2"] = axis("Atoms with a smaller error (%)", anchor="x2", range=[0, 100])
    failed = " Crosses: frames just before a run failed." if arrays["before_failure"].any() else ""
    caption = (
        f"Left: {len(visited.n_atoms):,} frames of constant-energy runs of <em>{escape(name)}</em>, by system; an "
        f"error that grows with time means that the student leads itself astray.{failed} Right: share of force vectors "
        "with a smaller error; a curve to the right of that of the held-out frames is worse."
    )
    return Figure(f"Errors of {escape(name)} along its own dynamics.", caption, dots + shares, anchored(shape), 360)


def _dots(visited: Parity, arrays: dict[str, Any]) -> Traces:
    rmse, systems = visited.frame_force_rmse, np.unique(visited.systems)
    traces: Traces = []
    for system, color in zip(systems.tolist(), COLORS, strict=False):
        own = np.flatnonzero((visited.systems == system) & np.isfinite(rmse))
        symbols = ["x" if before else "circle" for before in arrays["before_failure"][own]]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": rounded(arrays["times_ps"][own]),
                "y": rounded(rmse[own], 3),
                "marker": {"size": 6, "color": translucent(color, 0.7), "symbol": symbols},
                "name": escape(system),
                "showlegend": len(systems) <= _MOST_NAMES,
                "hovertemplate": f"{escape(system)}<br>%{{x}} ps<br>%{{y}} eV/Å<extra></extra>",
                **axes_of(1),
            }
        )
    return traces


def _share(numbers: Parity, label: str, color: str) -> dict[str, Any]:
    """Return the cumulative distribution of the errors of force vectors."""
    error = np.linalg.norm(numbers.force_errors, axis=1)
    ranked = np.sort(error[np.isfinite(error)])
    chosen = thinned(len(ranked), _POINTS) if len(ranked) else np.zeros(0, dtype=np.int64)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": rounded(ranked[chosen], 4),
        "y": rounded(100 * (chosen + 1) / max(len(ranked), 1), 4),
        "line": {
            "color": color if len(ranked) else INK,
            "width": 2,
            "dash": "dash" if label == "held out" else "solid",
        },
        "name": label,
        "hovertemplate": f"{label}: %{{y}} % below %{{x}} eV/Å<extra></extra>",
        **axes_of(2),
    }
