"""The worst held-out frames and the failed runs of all students, to be turned and looked at."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import table
from mlff_distiller.core.html.plotting import Choice, Choices, Figure
from mlff_distiller.data.columns import Columns, pack
from mlff_distiller.data.pictures import scene
from mlff_distiller.validation.checks.errors.parity import Parity
from mlff_distiller.validation.checks.nve.record import NVERecord
from mlff_distiller.validation.report.content import StudentReport

Floats = NDArray[np.float64]

KEY: Final = "worst"
"""Key of the section."""

_MOST_FRAMES: Final = {"held-out": 3, "visited": 2}
_MOST_FAILURES: Final = 4
_FAR: Final = 1e3  # Angstrom; what flew apart further shows nothing


class Sight(NamedTuple):
    """Something to look at.

    Attributes
    ----------
    student, what, size, why : str
        Whose it is, what it is, how bad it is and why; escaped HTML.
    choice : Choice
        Its picture.
    """

    student: str
    what: str
    size: str
    why: str
    choice: Choice


def sights(students: Mapping[str, StudentReport]) -> list[Sight]:
    """Return the worst frames and the failed runs of all students."""
    return [sight for name, student in students.items() for sight in _sights(escape(name), student)]


def listed(sights: Sequence[Sight]) -> str:
    """Return a table with a link to each."""
    rows = [
        [f"<strong>{s.student}</strong>", f'<a href="#{KEY}-list" data-choice="{k}">{s.what}</a>', s.size, s.why]
        for k, s in enumerate(sights)
    ]
    return table(["", "What", "How bad", "Largest error, or why it failed"], rows, kind="prose")


def view(sights: Sequence[Sight]) -> Figure:
    """Return a figure that shows one of them, whichever a reader chooses."""
    caption = (
        f"{scene.HOW_TO_TURN} Frames, held out or visited in the student's own dynamics: the worst of each of the "
        "worst systems, by their force RMSE; orange arrows: student minus teacher, in proportion within a structure; "
        "ring: the atom with the largest error. Failed runs: the geometry that a run failed at; rings: the atoms that "
        f"the failure is about. {scene.HOW_TO_READ}"
    )
    shown = Choices(f"{KEY}-list", "Structure", [sight.choice for sight in sights])
    return Figure("Worst frames and failed runs.", caption, [], scene.layout(), scene.HEIGHT, shown)


def _sights(name: str, student: StudentReport) -> Iterator[Sight]:
    for kind, parity in (("held-out", student.parity), ("visited", student.visited)):
        if parity is not None:
            yield from (_frame(name, kind, parity, frame) for frame in _worst(parity)[: _MOST_FRAMES[kind]])
    record = student.nve
    if record is not None and len(record.last_positions):
        first = sorted(record.failed, key=lambda run: float(record.survived_ps[run]))
        for run in _diverse(first, record.systems)[:_MOST_FAILURES]:
            yield from _failed(name, record, run)


def _worst(parity: Parity) -> list[int]:
    """Return the worst frame of each of the worst systems, then the next ones of any."""
    rmse = np.where(np.isfinite(parity.frame_force_rmse), parity.frame_force_rmse, -np.inf)
    order = [int(frame) for frame in np.argsort(-rmse, kind="stable") if np.isfinite(rmse[frame])]
    return _diverse(order, parity.systems)


def _diverse(order: list[int], systems: NDArray[np.str_]) -> list[int]:
    """Return what comes first of each system before what comes second of any."""
    first = list({str(systems[one]): one for one in reversed(order)}.values())
    return sorted(first, key=order.index) + [one for one in order if one not in first]


def _frame(name: str, kind: str, parity: Parity, frame: int) -> Sight:
    own = parity.atom_frames == frame
    structure = Structure(
        parity.numbers[own], parity.positions[own], cell=parity.cells[frame], pbc=parity.pbc[frame].astype(bool)
    )
    columns, errors = pack([frame], [structure]), parity.force_errors[own]
    sizes = np.where(np.isfinite(errors).all(1), np.linalg.norm(errors, axis=1), -1.0)
    atom = int(sizes.argmax())
    reference = float(np.linalg.norm(parity.reference_forces[own][atom]))
    what = f"{escape(str(parity.systems[frame]))}, {kind} frame {frame}"
    size = words.quantity(float(parity.frame_force_rmse[frame]), "eV/A")
    why = (
        f"{words.quantity(float(sizes[atom]), 'eV/A')} on {SYMBOLS[parity.numbers[own][atom]]} {atom}, where the "
        f"teacher's force is {words.quantity(reference, 'eV/A')}"
    )
    drawn = scene.draw(columns, ringed=np.array([atom]), vectors=errors, color=scene.ACCUSED)
    segment = escape(str(parity.segments[frame]))
    text = f"<strong>{what}</strong> (segment {segment}): force RMSE {size}, largest error {why}."
    return Sight(name, what, f"RMSE {size}", why, Choice(f"{name}: {what}", _said(text, columns), *drawn))


def _said(text: str, columns: Columns) -> str:
    return f'<p>{text}{scene.left_out(columns)}<br><small class="inline">{scene.colors(columns)}</small></p>'


def _failed(name: str, record: NVERecord, run: int) -> Iterator[Sight]:
    """Yield where a run failed, or the geometry before where that has flown apart; nothing without either."""
    path = [one for one in record.last(run) if np.ptp(one, axis=0).max() < _FAR]
    if not path:
        return
    columns = pack([run], [record.structure(run, path[-1])])
    errors, moved = _errors(record, run), path[-1] - path[-2] if len(path) > 1 else np.zeros_like(path[-1])
    known = errors is not None and len(path) == len(record.last(run))
    what = f"{escape(str(record.systems[run]))}, run {record.replica(run)}"
    size = f"failed after {words.quantity(float(record.survived_ps[run]), 'ps')}"
    why = escape(str(record.failures[run]))
    arrows = "student minus teacher" if known else "where the atoms came from and went to"
    text = f"<strong>{what}</strong> {size}: {why}. Arrows: {arrows}."
    drawn = scene.draw(
        columns,
        ringed=_accused(record, run),
        vectors=errors if known else moved,
        color=scene.ACCUSED,
        unit="eV/A" if known else "A",
    )
    yield Sight(name, what, size, why, Choice(f"{name}: {what}, {size}", _said(text, columns), *drawn))


def _errors(record: NVERecord, run: int) -> Floats | None:
    """Return the student's forces less the teacher's where a run failed (N, 3), or None where one is not known."""
    if not len(record.last_teacher_forces):
        return None
    last = np.flatnonzero(np.isfinite(record.last_times_ps[:, run]))[-1:]
    errors = (record.last_student_forces - record.last_teacher_forces)[last][:, record.atoms(run)]
    return errors[0] if len(errors) and np.isfinite(errors).all() else None


def _accused(record: NVERecord, run: int) -> NDArray[np.int64]:
    """Return the atoms that a failure is about."""
    named = record.failure_atoms[run] if len(record.failure_atoms) else np.zeros(0, dtype=np.int64)
    return np.asarray(named[named >= 0], dtype=np.int64)
