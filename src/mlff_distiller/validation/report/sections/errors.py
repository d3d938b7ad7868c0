"""The section on errors: how close the student comes to held-out labels, where it does not, and for which forces."""

from html import escape
from typing import Any, Final

from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import Numbered, note, table
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.report import tables
from mlff_distiller.validation.report.content import StudentReport
from mlff_distiller.validation.report.figures import parity

Row = dict[str, Any]

_SHOWN_FRAMES: Final = 8


def section(numbered: Numbered, name: str, student: StudentReport) -> str:
    """Return what is to be said of the errors of a student on held-out frames; empty where they were not measured.

    Parameters
    ----------
    numbered : Numbered
        Numbers figures and tables.
    name : str
        Name of the student.
    student : StudentReport
        Its evidence of ``errors``.
    """
    found = student.evidence.get("errors")
    rmse = None if found is None else found.measurement("force_rmse")
    if found is None or rmse is None:
        return ""
    numbers = student.parity
    figure = None if numbers is None else parity(name, numbers)
    return "".join(
        [
            f"<p>{_sentence(found, rmse)}</p>",
            numbered.figure(figure),
            _table(numbered, f"Errors of {escape(name)} by system and element.", _BY_SYSTEM, tables.breakdown(student)),
            _table(numbered, f"Errors of {escape(name)} by size of the force.", _BY_SIZE, _by_size(rmse)),
            _table(numbered, f"Worst frames of {escape(name)}.", _WORST, _worst(rmse)),
            "".join(note(f"Not measured: {escape(one.reason)}.") for one in _missing(found)),
        ]
    )


_BY_SYSTEM: Final = "Root mean square and mean absolute errors of force components and of energies."
_BY_SIZE: Final = (
    "Atoms are sorted by the size of the teacher's force on them. An error that grows with the force, at about the "
    "same percentage, is usual; large percentages for large forces mean that short distances were not learned."
)
_WORST: Final = "The held-out frames with the largest root mean square error of their force components."


def _missing(found: Evidence) -> list[Any]:
    return list({one.reason: one for one in found.skipped if one.applies}.values())


def _table(numbered: Numbered, title: str, caption: str, html: str) -> str:
    return numbered.table(title, caption, html) if html else ""


def _sentence(found: Evidence, rmse: Measurement) -> str:
    """Return in plain words how large the errors are, and where the largest is."""
    value = words.quantity(rmse.value, "eV/A") + (f" ({words.interval(rmse.ci95)})" if rmse.ci95 else "")
    text = f"On {rmse.n_samples:,} held-out segments the force components are off by {value}, root mean square"
    angle = found.measurement("force_angular_error")
    if angle is not None and angle.value == angle.value:
        text += f", and forces point {words.quantity(angle.value, 'degree', 2)} away from where they should"
    largest = found.measurement("force_max_error")
    if largest is None or "element" not in largest.detail:
        return f"{text}."
    where = largest.detail
    force = words.quantity(where["reference_force_eV_per_A"], "eV/A", 2)
    return (
        f"{text}. The largest error of a single force is {words.quantity(largest.value, 'eV/A', 2)}, on an atom of "
        f"{escape(where['element'])} in {escape(where['system'])} where the teacher's force is {force}."
    )


def _by_size(rmse: Measurement) -> str:
    rows = [_size(row) for row in rmse.detail.get("per_magnitude", [])]
    head = [
        "Teacher's force (eV/Å)",
        "Atoms",
        "RMSE (eV/Å)",
        "MAE (eV/Å)",
        "RMSE of typical component (%)",
        "Angle (°)",
    ]
    return table(head, rows, numeric=range(1, 6)) if rows else ""


def _size(row: Row) -> list[str]:
    low, high = row["from_eV_per_A"], row["to_eV_per_A"]
    typical = row["typical_eV_per_A"]
    percent = 100 * row["rmse_eV_per_A"] / typical if typical else None
    return [
        f"above {low:g}" if high == float("inf") else f"{low:g} to {high:g}",
        f"{row['n_atoms']:,}",
        words.number(row["rmse_eV_per_A"]),
        words.number(row["mae_eV_per_A"]),
        words.number(percent, 2),
        words.number(row["angular_error_degree"], 2),
    ]


def _worst(rmse: Measurement) -> str:
    rows = [
        [escape(row["system"]), escape(row["segment"]), str(row["frame"]), words.number(row["rmse_eV_per_A"])]
        for row in rmse.detail.get("worst_frames", [])[:_SHOWN_FRAMES]
    ]
    return table(["System", "Segment", "Held-out frame", "Force RMSE (eV/Å)"], rows, numeric=[2, 3]) if rows else ""
