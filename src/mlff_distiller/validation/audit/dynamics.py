"""Dynamics: a short constant-energy run of the teacher itself."""

import time
from dataclasses import replace
from typing import Final

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.html.words import number, quantity
from mlff_distiller.dynamics.failures import Limits
from mlff_distiller.validation.audit.theme import Found, Outcome, Subject, Theme
from mlff_distiller.validation.checks.nve.plan import NVEPlan
from mlff_distiller.validation.surface.rms import exact
from mlff_distiller.validation.surface.subject import name_of
from mlff_distiller.validation.trial import Trial

_REPLICAS: Final = 3
_MOST_SYSTEMS: Final = 2
_FEWEST_STEPS: Final = 40
_KEPT: Final = ("nve_drift", "nve_drift_percent", "nve_temperature")


def measure(subject: Subject) -> Evidence:
    """Run constant-energy dynamics from the first structure of the smallest systems, as long as there is time."""
    plan, starts = subject.plan, _starts(subject)
    if not starts:
        return Evidence(skipped=[Skipped("nve_drift", "single atoms do not move", applies=False)])
    began = time.perf_counter()
    subject.probe.predict(starts * _REPLICAS)  # what each step asks for
    affordable = int(subject.probe.remaining_s / 2 / (time.perf_counter() - began))
    n_steps = min(round(1000 * plan.duration_ps / plan.timestep_fs), affordable)
    if n_steps < _FEWEST_STEPS:
        return Evidence(skipped=[Skipped("nve_drift", "the time budget of the audit is used up")])
    run = NVEPlan(
        duration_ps=n_steps * plan.timestep_fs / 1000,
        timestep_fs=plan.timestep_fs,
        temperature_K=plan.temperature_K,
        n_replicas=_REPLICAS,
        record_every=max(1, n_steps // 100),
        limits=Limits(max_force=1e3),
    )
    named = {name_of(start): [start] for start in starts}
    measured = run.measure(Trial(subject.probe.potential, named, seed=subject.seed)).measurements
    found = {m.name: replace(m, detail={**m.detail, "lenient": ""}) for m in measured}  # a teacher may be hot
    failures = found["nve_duration"].detail["failures"]
    detail = {"duration_ps": run.duration_ps, "n_runs": _REPLICAS * len(starts), "failures": failures}
    return Evidence([exact("nve_failed_runs", len(failures), detail=detail), *(found[name] for name in _KEPT)])


def _starts(subject: Subject) -> list[Structure]:
    """Return the first structure of the smallest systems."""
    first: dict[str, Structure] = {}
    for structure in sorted(subject.structures, key=len):
        if len(structure) > 1:
            first.setdefault(name_of(structure), structure)
    return list(first.values())[:_MOST_SYSTEMS]


def _say(found: Found, outcome: Outcome) -> str:
    failed, drift, share = found["nve_failed_runs"], found["nve_drift"], found["nve_drift_percent"]
    length = quantity(failed.detail["duration_ps"], "ps")
    if failed.value:
        reason = failed.detail["failures"][0]["reason"]
        return f"Of {failed.detail['n_runs']} runs of {length} {failed.value:.0f} failed: {reason}."
    kept = {"PASS": "keeps", "FAIL": "does not keep"}.get(outcome, "may or may not keep")
    return (
        f"The teacher {kept} its energy in dynamics: it drifts by {number(share.value, 2)} % of the kinetic energy in "
        f"{length} ({quantity(1000 * drift.value, 'meV/atom/ps', 2)})."
    )


THEME: Final = Theme("dynamics", "Constant-energy dynamics", measure, _say)
