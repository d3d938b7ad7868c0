"""The section on constant-energy dynamics: does it run, does it keep its energy, and if not, why."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import Numbered, note, table
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.report.content import StudentReport
from mlff_distiller.validation.report.nve_figure import constant_energy, last_forces

_DRIFT = (
    "Slope of the energy that velocity Verlet keeps (the shadow energy), mean over independent replicas with its "
    "95&nbsp;% interval; fluctuation of the total energy about its straight line, also over that of the kinetic energy."
)
_STABILITY = (
    "Of the geometries kept. RMSD: root mean square distance of the atoms from the start after superposition, mean "
    "over the second half of the runs. Bond drift: largest change of the mean length of a bond between the first and "
    "the last fifth of a run. Other bonds: runs that end with bonds broken or formed."
)
_FAILURES = (
    "Pair: the two atoms that are furthest from where they should be. First force: the atom whose force went astray "
    "first, and when. Forces: magnitude on that atom where the run failed, in the last good geometry below; the "
    "teacher's are labels made afresh for these geometries."
)


def section(numbered: Numbered, name: str, student: StudentReport) -> str:
    """Return what is to be said of the constant-energy runs of a student; empty where there were none.

    Parameters
    ----------
    numbered : Numbered
        Numbers figures and tables.
    name : str
        Name of the student.
    student : StudentReport
        Its evidence of ``nve``.
    """
    found, record = student.evidence.get("nve"), student.nve
    if found is None:
        return ""
    missing = "".join(note(f"Not measured: {escape(one.reason)}.") for one in found.skipped if one.applies)
    if record is None:
        return missing
    drift = student.measurement("nve_drift")
    temperature = drift.detail.get("settings", {}).get("temperature_K") if drift else None
    slopes = drift.detail["systems"] if drift else None
    tables = [
        (f"Energy of {escape(name)}.", _DRIFT, drifts(student)),
        (f"Stability of {escape(name)}.", _STABILITY, stability(student)),
        (f"Failed runs of {escape(name)}.", _FAILURES, failures(student)),
    ]
    return "".join(
        [
            numbered.figure(constant_energy(name, record, temperature, drifts=slopes)),
            *(numbered.table(*one) for one in tables if one[2]),
            numbered.figure(last_forces(name, record)),
            missing,
        ]
    )


def drifts(student: StudentReport) -> str:
    """Return drift, fluctuation and temperature of every system, empty where there are none."""
    drift = student.measurement("nve_drift")
    if drift is None or not any(np.isfinite(s["mean"]) for s in drift.detail["systems"].values()):
        return ""
    rows = []
    for system, found in drift.detail["systems"].items():
        share, wobble, ratio = (
            _of(student, f"nve_{what}", system)
            for what in ("drift_percent", "energy_fluctuation", "conservation_ratio")
        )
        rows.append(
            [
                escape(system),
                str(len(found["replicas"])),
                words.number(found["mean"]) + _below(_interval(found)),
                words.number(1e6 * found["mean"]),
                words.number(share.get("mean")) + _below(_interval(share)),
                words.number(wobble.get("mean")),
                words.number(ratio.get("mean")),
                words.number(_of(student, "nve_temperature", system).get("mean")),
            ]
        )
    head = ["System", "Runs", "Drift (eV/atom/ps)", "(meV/atom/ns)", "In % of kinetic energy"]
    head += ["Fluctuation (meV/atom)", "Over kinetic", "Mean T (K)"]
    return table(head, rows, numeric=range(1, 8))


def stability(student: StudentReport) -> str:
    """Return what became of the runs of every system, empty where nothing was kept."""
    record, changes = student.nve, student.measurement("nve_topology_changes")
    if record is None or changes is None:
        return ""
    rows = []
    for system in record.names:
        runs = record.runs(system)
        bond, rmsd = _of(student, "nve_bond_drift", system), _of(student, "nve_rmsd", system)
        changed = [one for one in changes.detail["changes"] if one["system"] == system]
        rows.append(
            [
                escape(system),
                str(record.n_atoms[runs[0]]),
                f"{sum(record.failures[run] == '' for run in runs)} of {len(runs)}",
                words.number(float(record.survived_ps[runs].min())),
                words.number(rmsd.get("mean")) + _below(_interval(rmsd, least=0.0)),
                words.number(bond.get("change_A")) + _below(escape(str(bond.get("bond", "")))),
                f"{len(changed)}{_below(_bonds(changed))}",
            ]
        )
    head = ["System", "Atoms", "Completed", "Shortest (ps)", "RMSD (Å)", "Bond drift (Å)", "Other bonds"]
    return table(head, rows, numeric=range(1, 7))


def failures(student: StudentReport) -> str:
    """Return the runs that failed, and what is known of why; empty where none did."""
    measured = student.measurement("nve_stability")
    rows = [_failure(found) for found in (measured.detail.get("failures", []) if measured else [])]
    head = ["System", "Run", "Failed (ps)", "Why", "Pair", "First force", "Student (eV/Å)", "Teacher (eV/Å)"]
    return table(head, rows, numeric=[1, 2, 6, 7]) if rows else ""


def _failure(found: dict[str, Any]) -> list[str]:
    distance, first = found.get("distance_A"), found.get("first_time_ps")
    return [
        escape(str(found["system"])),
        str(found["replica"]),
        words.number(found["time_ps"]),
        escape(str(found["reason"])),
        escape(str(found.get("pair") or words.NONE)) + _below(words.quantity(distance, "Å") if distance else ""),
        escape(str(found.get("first_atom") or words.NONE)) + _below(words.quantity(first, "ps") if first else ""),
        *(
            words.number(found.get(f"{who}_force")) + _below(words.number(found.get(f"{who}_force_good")))
            for who in ("student", "teacher")
        ),
    ]


def _of(student: StudentReport, name: str, system: str) -> dict[str, Any]:
    """Return what a measurement says of a system; a single number as its mean."""
    measured: Measurement | None = student.measurement(name)
    found = measured.detail.get("systems", {}).get(system, {}) if measured else {}
    return found if isinstance(found, dict) else {"mean": found}


def _interval(found: dict[str, Any], *, least: float = -np.inf) -> str:
    ends: Sequence[float] | None = found.get("ci95")
    return words.interval((max(ends[0], least), ends[1])) if ends else ""


def _bonds(changes: Sequence[dict[str, Any]]) -> str:
    """Return the bonds that broke or formed, each once, escaped."""
    said = [f"{bond} {word}" for change in changes for word in ("broken", "formed") for bond in change[word]]
    return escape("; ".join(dict.fromkeys(said)))


def _below(text: str) -> str:
    return f"<small>{text}</small>" if text else ""
