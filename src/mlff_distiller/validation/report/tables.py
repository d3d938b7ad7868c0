"""The tables of the report, as HTML; everything that comes from outside is escaped."""

from collections.abc import Mapping
from html import escape
from typing import Any

from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import table
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.report import check_words
from mlff_distiller.validation.report.content import StudentReport
from mlff_distiller.validation.verdict import CheckOutcome

_NOTHING = 1e-6  # eV/Angstrom
_MARKS = {
    "PASS": "✓",
    "FAIL": "✕",
    "INCONCLUSIVE": "?",
    "REPORTED": "",
    "NOT_RUN": "",
    "NOT_APPLICABLE": words.NONE,
    "WAIVED": "✎",
}
_SAID = {"PASS": "passed", "FAIL": "failed", "INCONCLUSIVE": "undecided", "NOT_APPLICABLE": "does not apply"}
_BADGES = {"APPROVED": "✓", "SCREENING_ONLY": "◐", "REJECTED": "✕", "INCONCLUSIVE": "?"}
_KEY_NUMBERS = {
    "force_rmse": "Force RMSE",
    "force_r2": "Force R²",
    "energy_rmse_per_atom": "Energy RMSE",
    "nve_duration": "NVE survived",
    "nve_drift_percent": "NVE drift",
    "step_time": "Time per step",
}


def badge(verdict: str) -> str:
    """Return a verdict as a badge: word, sign and color."""
    return (
        f'<span class="badge {verdict.lower()}"><span aria-hidden="true">{_BADGES[verdict]}</span> '
        f"{verdict.replace('_', ' ')}</span>"
    )


def mark(outcome: str) -> str:
    """Return an outcome as a sign and a word."""
    sign = f'<span aria-hidden="true">{_MARKS[outcome]}</span> ' if _MARKS[outcome] else ""
    word = _SAID.get(outcome, outcome.lower().replace("_", " "))
    return f'<span class="outcome {outcome.lower()}">{sign}{word}</span>'


def verdicts(students: Mapping[str, StudentReport], *, floor: Measurement | None = None) -> str:
    """Return the first table: a row per student with its verdict and the numbers behind it."""
    shown = [name for name in _KEY_NUMBERS if any(s.check(name) for s in students.values())]
    head = ["Student", *(_key_head(name, students) for name in shown)]
    rows = [
        [_student(name, student), *(_key_number(student, key) for key in shown)] for name, student in students.items()
    ]
    if floor is not None and "force_rmse" in shown:
        rows.append(
            ["<em>Error floor of the teacher</em><small>no student that follows its energies comes closer</small>"]
        )
        rows[-1] += [_floor(floor) if name == "force_rmse" else "" for name in shown]
    return table(head, rows, numeric=range(1, 1 + len(shown)), kind="verdicts")


def _floor(floor: Measurement) -> str:
    least = "≥ " if floor.detail["missing"] else ""
    return f"{least}{floor_number(floor.value)}<small>{floor_interval(floor)}</small>"


def floor_number(value: float) -> str:
    """Return a part of an error floor; what is far below anything that matters is not spelled out.

    Examples
    --------
    >>> floor_number(0.0123), floor_number(3e-15)
    ('0.0123', '&lt; 10⁻⁶')
    """
    return "&lt; 10⁻⁶" if value < _NOTHING else words.number(value)


def floor_interval(floor: Measurement) -> str:
    """Return the interval of an error floor, where there is one worth the name."""
    return words.interval(floor.ci95, 2) if floor.ci95 and floor.value >= _NOTHING else ""


def _student(name: str, student: StudentReport) -> str:
    size = f"<small>{student.n_parameters:,} parameters</small>" if student.n_parameters is not None else ""
    return f"<strong>{escape(name)}</strong><br>{badge(student.verdict.verdict)}{size}"


def _key_head(name: str, students: Mapping[str, StudentReport]) -> str:
    check = next(found for student in students.values() if (found := student.check(name)))
    unit = "% of kin. energy" if name == "nve_drift_percent" else words.unit(check_words.displayed(0.0, check.unit)[1])
    below = f"<small>{limit(check, check.limit)}</small>" if check.limit is not None else ""
    return f"{_KEY_NUMBERS[name]}<small>{unit}</small>{below}"


def _key_number(student: StudentReport, name: str) -> str:
    check = student.check(name)
    if check is None:
        return words.NONE
    digits = check_words.digits_for(name)
    below = words.interval(shown_interval(check), digits - 1) if check.ci95 else ""
    speedup = student.check("speedup") if name == "step_time" else None
    if speedup is not None:
        ratio, word = words.ratio(speedup.value)
        below = f"{ratio}{words.TIMES} {word}"
    sign = f' <span class="outcome {check.outcome.lower()}">{_MARKS[check.outcome]}</span>'
    value, _ = check_words.displayed(check.value, check.unit)
    return f"{words.number(value, digits)}{sign if _MARKS[check.outcome] else ''}<small>{below}</small>"


def shown_interval(check: CheckOutcome) -> tuple[float, float] | None:
    """Return the interval of a check on the scale that the report uses."""
    if check.ci95 is None:
        return None
    low, high = (check_words.displayed(end, check.unit)[0] for end in check.ci95)
    return low, high


def limit(check: CheckOutcome, value: float | None) -> str:
    """Return a limit of a check on the scale that the report uses."""
    return words.bound(None if value is None else check_words.displayed(value, check.unit)[0], check.symbol)


def checks(student: StudentReport) -> str:
    """Return all checks of a student by kind: outcome, value, interval, limits."""
    head = ["Check", "Outcome", "Value", "95 % interval", "n", "Limit", "Screening"]
    ordered = sorted(student.verdict.checks, key=lambda check: check_words.place(check.name))
    rows = [_check(check, student.measurement(check.name)) for check in ordered]
    return table(head, rows, numeric=[2, 3, 4, 5, 6], kind="checks")


def _check(check: CheckOutcome, measured: Measurement | None) -> list[str]:
    digits = check_words.digits_for(check.name)
    name = check_words.title(check.name)
    why = f'<small class="said">{escape(check.reason)}</small>' if check.reason else ""
    return [
        (name if check.required else f'<span class="optional">{name}</span>') + why,
        mark(check.outcome),
        words.quantity(*check_words.displayed(check.value, check.unit), digits),
        words.interval(shown_interval(check), digits),
        f"{measured.n_samples:,}" if measured else words.NONE,
        limit(check, check.limit),
        limit(check, check.screening_limit),
    ]


def breakdown(student: StudentReport) -> str:
    """Return the errors per system and per element, empty where there are none."""
    force, energy = student.measurement("force_rmse"), student.measurement("energy_rmse_per_atom")
    if force is None or "per_system" not in force.detail:
        return ""
    mae = student.measurement("force_mae")
    energies = energy.detail.get("per_system", {}) if energy else {}
    maes = mae.detail if mae else {}
    rows = [
        [
            escape(system),
            words.number(rmse),
            words.number(maes.get("per_system", {}).get(system)),
            _meV(energies.get(system)),
        ]
        for system, rmse in force.detail["per_system"].items()
    ]
    rows += [
        [f"element {escape(element)}", words.number(rmse), words.number(maes.get("per_element", {}).get(element)), ""]
        for element, rmse in force.detail.get("per_element", {}).items()
    ]
    head = ["System or element", "Force RMSE (eV/Å)", "Force MAE (eV/Å)", "Energy RMSE (meV/atom)"]
    return table(head, rows, numeric=[1, 2, 3])


def _meV(value: float | None) -> str:
    return words.number(None if value is None else 1000 * value)


def systems(dataset: Mapping[str, Any]) -> str:
    """Return the frames of each system by split."""
    splits = list(dataset.get("splits", {}))
    rows = [
        [escape(name), words.formula(s["formula"]), str(s["n_atoms"]), f"{s['charge']:+d}" if s["charge"] else "0"]
        + [f"{s['n_frames'].get(split, 0):,}" for split in splits]
        for name, s in dataset.get("systems", {}).items()
    ]
    if not rows:
        return ""
    total = [f"{dataset['splits'][split]['n_frames']:,}" for split in splits]
    segments = [f"{dataset['splits'][split]['n_segments']:,}" for split in splits]
    rows += [["<strong>All frames</strong>", "", "", "", *total], ["Trajectory segments", "", "", "", *segments]]
    head = ["System", "Formula", "Atoms", "Charge (e)", *(escape(split) for split in splits)]
    return table(head, rows, numeric=range(2, 4 + len(splits)))


def refusals(counts: Mapping[str, int]) -> str:
    """Return why structures were refused and how often, empty where none were."""
    rows = [[escape(reason), f"{count:,}"] for reason, count in counts.items() if count]
    return table(["Refused because", "Structures"], rows, numeric=[1]) if rows else ""
