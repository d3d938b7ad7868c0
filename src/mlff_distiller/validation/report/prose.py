"""What the numbers say in plain words, for a reader who decides."""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from mlff_distiller.core.html import words
from mlff_distiller.validation.report import check_words
from mlff_distiller.validation.report.content import ReportData, StudentReport


def headline(data: ReportData) -> str:
    """Return one sentence on all students."""
    parts = [
        f"<strong>{escape(name)}</strong> is {student.verdict.verdict.replace('_', ' ').lower()}"
        for name, student in data.students.items()
    ]
    n, given = len(data.students), words.listing(parts)
    teacher = f"<strong>{escape(data.teacher)}</strong>"
    if data.is_trained:
        return f"{_counted(n, 'student force field')} distilled from {teacher}: {given}."
    held = f"held against {teacher}" if data.teacher else "validated without a teacher"
    return f"{_counted(n, 'force field')} {held}: {given}."


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def plainly(student: StudentReport) -> str:
    """Return the size of the errors, the dynamics and the speed of one student as sentences."""
    return " ".join(text for text in (_errors(student), _dynamics(student), _speed(student)) if text)


def _errors(student: StudentReport) -> str:
    force, energy = student.measurement("force_rmse"), student.measurement("energy_rmse_per_atom")
    if force is None or student.parity is None:
        return ""
    reference = student.parity.reference_forces
    typical = float(np.sqrt(np.nanmean(reference**2))) if np.isfinite(reference).any() else float("nan")
    text = f"On held-out frames a force component is off by {words.quantity(force.value, 'eV/A')} (root mean square)"
    if typical > 0:
        text += f", {words.number(100 * force.value / typical, 2)}&nbsp;% of the typical force in these frames"
    if energy is not None:
        text += f", and the energy by {words.quantity(1000 * energy.value, 'meV/atom')}"
    return f"{text}."


def _dynamics(student: StudentReport) -> str:
    duration, percent = student.measurement("nve_duration"), student.measurement("nve_drift_percent")
    warmth = student.measurement("nve_temperature")
    if duration is None:
        return "It was not run in molecular dynamics, so nothing is known about its stability."
    n_runs, n_failed = duration.detail.get("n_runs", duration.n_samples), len(duration.detail.get("failures", []))
    if n_failed:
        first = words.quantity(duration.value, "ps")
        return f"Of {n_runs} constant-energy runs {n_failed} failed, the first after {first}."
    text = f"All {n_runs} constant-energy runs of {words.quantity(duration.value, 'ps')} went to their end"
    if warmth is not None and np.isfinite(warmth.value):
        text += f" at a mean temperature of {words.number(warmth.value)}&nbsp;K"
    if percent is not None and percent.ci95 is not None:
        text += (
            f"; over a run the total energy moved by no more than {words.number(percent.ci95[1], 2)}&nbsp;% of the "
            "kinetic energy (95&nbsp;% bound, worst system)"
        )
    return f"{text}."


def _speed(student: StudentReport) -> str:
    step, speedup = student.measurement("step_time"), student.measurement("speedup")
    if step is None:
        return ""
    text = f"A dynamics step takes {words.quantity(step.value, 'ms')}"
    if speedup is None:
        return f"{text}."
    ratio, faster = words.ratio(speedup.value)
    return f"{text}, {ratio} times {faster} than with the teacher."


def domain(data: ReportData) -> str:
    """Return where the students may be used, and what no check here says anything about."""
    return _where(data) + _unseen(data) + _meaning(data)


def _where(data: ReportData) -> str:
    dataset: Mapping[str, Any] = data.dataset
    elements = words.listing([escape(str(e)) for e in dataset.get("elements", [])])
    charges = words.listing([f"{c:+d}" if c else "0" for c in dataset.get("charges", [])]).replace("-", words.MINUS)
    systems = words.listing([escape(str(s)) for s in dataset.get("systems", {})])
    temperatures = [f"{t:g}" for t in dataset.get("temperatures_K", [])]
    sampled = f", sampled at {words.listing(temperatures)}&nbsp;K" if temperatures else ""
    if not dataset:
        return (
            "<p><strong>Where it holds.</strong> There were no labeled frames, so only what the dynamics and the "
            "checks of the potential itself show is known.</p>"
        )
    if not data.is_trained:
        return (
            f"<p><strong>Where it holds.</strong> It was held against labels of the elements {elements}, total charge "
            f"{charges}, and {systems}{sampled}. What it was trained on is not known here.</p>"
        )
    return (
        f"<p><strong>Where it holds.</strong> The students have seen the elements {elements}, total charge {charges}, "
        f"and {systems}{sampled}. Other elements and charges are refused with an error. Other molecules, hotter "
        "geometries and breaking bonds are not refused, and no check in this report speaks for them.</p>"
    )


def _unseen(data: ReportData) -> str:
    """Return which kinds of evidence there are none of, for any of the students."""
    unseen = [
        said
        for check, said in check_words.UNSEEN.items()
        if not any(check in student.evidence for student in data.students.values())
    ]
    said = words.listing(unseen)
    return f"<p><strong>What was not looked at.</strong> {said[0].upper()}{said[1:]}.</p>" if unseen else ""


def _meaning(data: ReportData) -> str:
    if not data.teacher:
        return (
            "<p><strong>What the numbers mean.</strong> Without a teacher nothing here says whether the energies and "
            "forces are right, only whether they hang together.</p>"
        )
    return (
        f"<p><strong>What the errors mean.</strong> They are measured against {escape(data.teacher)}, not against "
        "experiment: what the teacher gets wrong, its students get wrong too.</p>"
    )
