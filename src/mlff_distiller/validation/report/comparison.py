"""All students beside each other: what an error costs in time, and which of them nothing else beats."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np

from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import table
from mlff_distiller.core.html.plotting import FAINT, INK, Figure, layout, log_axis, rounded
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.report import tables
from mlff_distiller.validation.report.content import ReportData, StudentReport

Traces = list[dict[str, Any]]

Places = Sequence[tuple[Measurement, Measurement]]

LOOKS: Final = {
    "APPROVED": ("approved", "#00664a", "circle"),
    "SCREENING_ONLY": ("screening only", "#b07800", "triangle-up"),
    "INCONCLUSIVE": ("inconclusive", "#5f6b78", "square-open"),
    "REJECTED": ("rejected", "#a33a00", "x"),
}
"""Word, color and shape of each verdict."""

_NOTHING: Final = 1e-6  # eV/Angstrom; a floor below it is none
_CLOSE: Final = 0.12  # of the figure
_BELOW: Final = 4.0  # times below the best student the teacher stands at the lowest


def pareto(data: ReportData) -> Figure | None:
    """Return force error against time per step of all students, and the teacher's time."""
    placed = {name: student for name, student in data.students.items() if _place(student)}
    if not placed:
        return None
    front, theirs = _front(placed), _teacher(data)
    measured = [place for place in map(_place, placed.values()) if place]
    times, errors = ([*_reach(measured, k), *(p[side][0] for p in theirs)] for k, side in enumerate("xy"))
    sides = _sides(measured, times, errors)
    points = [_point(name, student, side) for (name, student), side in zip(placed.items(), sides, strict=True)]
    traces = [*front, *points, *_keys(placed), *theirs]
    shape = layout(showlegend=True, margin={"l": 64, "r": 24, "t": 34, "b": 52})
    shape["shapes"] = [_mark_of_time(point["x"][0]) for point in theirs]
    shape["xaxis"] = _roomy("Time per MD step (ms)", times)
    shape["yaxis"] = _roomy("Force RMSE, held-out frames (eV/Å)", errors)
    return Figure("Error against time.", _caption(data, drawn_front=bool(front)), traces, shape, 400)


def _mark_of_time(time: float) -> dict[str, Any]:
    """Return a line up from the teacher: what lies to its left is faster."""
    line = {"color": INK, "width": 1, "dash": "dot"}
    return {"type": "line", "xref": "x", "yref": "paper", "x0": time, "x1": time, "y0": 0, "y1": 1, "line": line}


def _caption(data: ReportData, *, drawn_front: bool) -> str:
    text = (
        "Lower left is better; both axes are logarithmic, bars are 95&nbsp;% intervals. Shape and color: the verdict."
    )
    if drawn_front:
        text += " Gray steps: of those not rejected, what no other beats in both."
    if not _teacher_time(data):
        return text
    floor = _floor(data)
    if floor is not None and floor >= _lowest(data):
        where = "stands at its error floor, {}, below which no student that follows its energies can come"
    elif floor is not None:
        where = "marks its time; its error floor, {}, is far below the figure"
    else:
        where = "makes no error by definition: the diamond and the dotted line mark its time, not an error"
    return f"{text} The teacher, {escape(data.teacher)}, {where.format(words.quantity(floor, 'eV/A'))}."


def _roomy(label: str, values: list[float]) -> dict[str, Any]:
    """Return a logarithmic axis with room for names beside the outermost points."""
    low, high = np.log10(min(values)), np.log10(max(values))
    margin = max(0.15 * (high - low), 0.12)
    return log_axis(label, values, range=rounded([low - margin, high + margin]))


def _place(student: StudentReport) -> tuple[Measurement, Measurement] | None:
    time, error = student.measurement("step_time"), student.measurement("force_rmse")
    if time is None or error is None or not (0 < time.value < np.inf and 0 < error.value < np.inf):
        return None
    return time, error


def _sides(places: Places, times: Sequence[float], errors: Sequence[float]) -> list[str]:
    """Return where the name of each point stands: inside the figure, and below where another point is close above."""
    low, high = (np.log10([pick(times), pick(errors)]) for pick in (min, max))
    points = np.log10([[one.value for one in place] for place in places])
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    sides = []
    for x, y in scaled:
        across, up = np.abs(scaled[:, 0] - x), scaled[:, 1] - y
        crowded = (up > 0) & (up < _CLOSE) & (across < 3 * _CLOSE)
        sides.append(f"{'bottom' if crowded.any() else 'top'} {'left' if x > 0.6 else 'right'}")
    return sides


def _reach(places: Places, side: int) -> list[float]:
    """Return values and the ends of their intervals, as far as a logarithmic axis has them."""
    ends = [end for place in places for end in (place[side].value, *(place[side].ci95 or ()))]
    return [end for end in ends if 0 < end < np.inf]


def _ends(measured: Measurement) -> dict[str, Any]:
    low, high = measured.ci95 or (measured.value, measured.value)
    ends = {"array": rounded([high - measured.value]), "arrayminus": rounded([measured.value - low])}
    return {"type": "data", "symmetric": False, "thickness": 1.3, "width": 4, **ends}


def _point(name: str, student: StudentReport, side: str) -> dict[str, Any]:
    place = _place(student)
    assert place is not None  # those without one are left out before
    (time, error), (word, color, shape) = place, LOOKS[student.verdict.verdict]
    hint = f"{escape(name)}, {word}<br>%{{x}} ms per step<br>%{{y}} eV/Å<extra></extra>"
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": rounded([time.value]),
        "y": rounded([error.value]),
        "error_x": {**_ends(time), "color": color},
        "error_y": {**_ends(error), "color": color},
        "marker": {"color": color, "size": 13, "symbol": shape, "line": {"width": 2, "color": color}},
        "text": [f" {escape(name)} "],
        "textposition": side,
        "textfont": {"color": INK},
        "showlegend": False,
        "cliponaxis": False,
        "hovertemplate": hint,
    }


def _keys(students: Mapping[str, StudentReport]) -> Traces:
    """Return an entry of the legend for each verdict that was given."""
    given = {student.verdict.verdict for student in students.values()}
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [None],
            "y": [None],
            "name": word,
            "marker": {"color": color, "size": 11, "symbol": shape, "line": {"width": 2, "color": color}},
        }
        for verdict, (word, color, shape) in LOOKS.items()
        if verdict in given
    ]


def _front(students: Mapping[str, StudentReport]) -> Traces:
    """Return the steps through the students that no other beats in both, rejected ones aside; nothing for one alone."""
    standing = (student for student in students.values() if student.verdict.verdict != "REJECTED")
    places = sorted((time.value, error.value) for time, error in filter(None, map(_place, standing)))
    best = [place for k, place in enumerate(places) if not any(error <= place[1] for _, error in places[:k])]
    if len(best) < 2:
        return []
    x, y = zip(*best, strict=True)
    line = {"shape": "hv", "color": FAINT, "width": 1.2, "dash": "dot"}
    shared = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False}
    return [{**shared, "x": rounded(x), "y": rounded(y), "line": line}]


def _teacher_time(data: ReportData) -> float | None:
    known = [student.measurement("teacher_step_time") for student in data.students.values()]
    return next((m.value for m in known if m is not None and m.value > 0), None)


def _floor(data: ReportData) -> float | None:
    value = data.audit.floor.value if data.audit else 0.0
    return value if value > _NOTHING else None


def _lowest(data: ReportData) -> float:
    """Return where the teacher stands at the lowest, eV/Angstrom: near enough to the students to tell them apart."""
    return min(error.value for _, error in filter(None, map(_place, data.students.values()))) / _BELOW


def _teacher(data: ReportData) -> Traces:
    time = _teacher_time(data)
    if time is None:
        return []
    y = max(_floor(data) or 0.0, _lowest(data))
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": rounded([time]),
            "y": rounded([y]),
            "name": f"teacher, {escape(data.teacher)}" if data.teacher else "teacher",
            "marker": {"color": INK, "size": 12, "symbol": "diamond"},
            "hovertemplate": f"{escape(data.teacher)}<br>%{{x}} ms per step<extra></extra>",
        }
    ]


def beside(data: ReportData) -> str:
    """Return the figure's numbers, best first."""
    rows = [_row(name, student) for name, student in sorted(data.students.items(), key=lambda one: _order(one[1]))]
    return table(
        ["", "Force RMSE<small>eV/Å</small>", "ms per step", "Speed over the teacher's"], rows, numeric=[1, 2, 3]
    )


def _order(student: StudentReport) -> tuple[int, float]:
    error = student.measurement("force_rmse")
    return list(LOOKS).index(student.verdict.verdict), error.value if error else np.inf


def _row(name: str, student: StudentReport) -> list[str]:
    error, time = student.measurement("force_rmse"), student.measurement("step_time")
    speedup = student.measurement("speedup")
    return [
        f"<strong>{escape(name)}</strong><br>{tables.badge(student.verdict.verdict)}",
        words.number(error.value if error else None),
        words.number(time.value if time else None),
        f"{words.number(speedup.value)}{words.TIMES}" if speedup else words.NONE,
    ]
