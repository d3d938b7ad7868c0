"""What the numbers say in plain words, for a reader who decides."""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from mlff_distiller.core.html import words
from mlff_distiller.validation.report import check_words, tables
from mlff_distiller.validation.report.content import ReportData, StudentReport
from mlff_distiller.validation.verdict import CheckOutcome

_MEANING = {
    "APPROVED": "every required check passes its production limit with its whole 95&nbsp;% interval",
    "SCREENING_ONLY": "every required check passes its screening limit, but not all reach the production limit",
    "REJECTED": "at least one required check fails even its screening limit",
    "INCONCLUSIVE": "what was measured does not decide; an undecided check never counts as passed",
}


def headline(data: ReportData) -> str:
    """Return one sentence on all students."""
    parts = [
        f"<strong>{escape(name)}</strong> is {student.verdict.verdict.replace('_', ' ').lower()}"
        for name, student in data.students.items()
    ]
    n = len(data.students)
    return (
        f"{n} student force field{'s' if n != 1 else ''} distilled from <strong>{escape(data.teacher)}</strong>: "
        f"{words.listing(parts)}."
    )


def trust(name: str, student: StudentReport) -> str:
    """Return the paragraphs on one student: verdict and reasons, size of the errors, dynamics, speed."""
    verdict = student.verdict.verdict
    sentences = [
        f"<strong>{escape(name)} is {verdict.replace('_', ' ').lower()}</strong>: {_MEANING[verdict]}.",
        *_reasons(student),
    ]
    evidence = [text for text in (_errors(student), _dynamics(student), _speed(student)) if text]
    return f"<p>{' '.join(sentences)}</p><p>{' '.join(evidence)}</p>"


def _reasons(student: StudentReport) -> list[str]:
    """Return a sentence per required check that did not pass."""
    return [_reason(check, student) for check in student.verdict.checks if check.required and check.outcome != "PASS"]


def _reason(check: CheckOutcome, student: StudentReport) -> str:
    name = check_words.title(check.name)
    value = words.quantity(*check_words.displayed(check.value, check.unit), check_words.digits_for(check.name))
    limit = tables.limit(check, check.limit)
    if check.outcome == "FAIL":
        beyond = "; the screening limit is missed too" if check.screening_outcome == "FAIL" else ""
        return f"{name} is {value} (limit {limit}{beyond})."
    if student.measurement(check.name) is None:
        return f"{name} was not measured."
    dynamics = check.name.startswith("nve")
    remedy = "more replicas or a longer run" if dynamics else "more held-out trajectory segments"
    if check.value != check.value:
        return f"{name} could not be evaluated, because a run failed or there was nothing to compare with."
    if check.name == "nve_duration":
        return f"The runs were {value} long, too short for the limit {limit}; run longer to settle it."
    if check.ci95 is None:
        return f"{name} is {value}, but one sample gives no interval; {remedy} would settle it."
    shown = words.interval(tables.shown_interval(check), check_words.digits_for(check.name))
    return f"{name} is {value}, but its interval ({shown}) lies on both sides of {limit}; {remedy} would settle it."


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
    dataset: Mapping[str, Any] = data.dataset
    elements = words.listing([escape(str(e)) for e in dataset.get("elements", [])])
    charges = words.listing([f"{c:+d}" if c else "0" for c in dataset.get("charges", [])]).replace("-", words.MINUS)
    systems = words.listing([escape(str(s)) for s in dataset.get("systems", {})])
    temperatures = [f"{t:g}" for t in dataset.get("temperatures_K", [])]
    sampled = f", sampled at {words.listing(temperatures)}&nbsp;K" if temperatures else ""
    return (
        f"<p><strong>Where it holds.</strong> The students have seen the elements {elements}, total charge {charges}, "
        f"and {systems}{sampled}. Other elements and charges are refused with an error. Other molecules, hotter "
        "geometries and breaking bonds are not refused, and no check in this report speaks for them.</p>"
        f"<p><strong>What the errors mean.</strong> They are measured against {escape(data.teacher)}, not against "
        "experiment: what the teacher gets wrong, its students get wrong too.</p>"
    )
