"""Cost: time of a call, and what the labeling will take."""

import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Final

import numpy as np

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.html.words import quantity
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.audit.theme import Found, Outcome, Subject, Theme, Workload
from mlff_distiller.validation.statistics import mean_interval

_REPEATS: Final = 3
_SHARE: Final = 0.1  # of the budget that is left, for the batched calls
_MS_PER_HOUR: Final = 3.6e6


def measure(subject: Subject) -> Evidence:
    """Time single calls and a batch as large as labeling makes it, and extrapolate."""
    structures, probe = list(subject.structures), subject.probe
    single = _timed("time_per_call", [[s] for s in structures] * _REPEATS, subject)
    chunk = subject.workload.chunk_size if subject.workload else len(structures)
    affordable = int(_SHARE * probe.remaining_s / _REPEATS / (single.value / 1000))
    n = max(1, min(chunk, affordable))
    batched = _timed("time_batched", [list(islice(cycle(structures), n))] * _REPEATS, subject)
    if subject.workload is None:
        return Evidence([single, batched], [Skipped("labeling_hours", "no workload was given", applies=False)])
    return Evidence([single, batched, *_forecast(single, batched, subject.workload, _unit(subject))])


def _unit(subject: Subject) -> str:
    device = subject.probe.potential.identity.device
    return "GPU-hours" if device.startswith("cuda") else "core-hours"


def _timed(name: str, calls: Sequence[list[Structure]], subject: Subject) -> Measurement:
    """Return the mean time for one structure, ms; a first call warms up."""
    predict: Callable[[list[Structure]], object] = subject.probe.predict
    predict(calls[0])
    milliseconds = []
    for call in calls:
        began = time.perf_counter()
        predict(call)
        milliseconds.append(1000 * (time.perf_counter() - began) / len(call))
    mean, ci95 = mean_interval(np.array(milliseconds))
    ci95 = None if ci95 is None else (max(ci95[0], 0.0), ci95[1])
    n_atoms = float(np.mean([len(structure) for call in calls for structure in call]))
    detail = {"n_structures_per_call": len(calls[0]), "mean_n_atoms": n_atoms}
    return Measurement(name, mean, "ms", ci95, len(milliseconds), detail)


def _forecast(single: Measurement, batched: Measurement, work: Workload, unit: str) -> list[Measurement]:
    detail = {"n_structures": work.n_structures, "n_steps": work.n_steps, "n_workers": work.n_workers}
    labeling = work.n_structures * work.n_evaluations / _MS_PER_HOUR
    sampling = work.n_steps / _MS_PER_HOUR
    cost = labeling * batched.value + sampling * single.value
    return [
        _scaled("labeling_hours", batched, labeling / work.n_workers, detail),
        _scaled("sampling_hours", single, sampling / work.n_workers, detail),
        Measurement("teacher_cost", cost, unit, None, 1, detail),
    ]


def _scaled(name: str, timed: Measurement, factor: float, detail: dict[str, int]) -> Measurement:
    ci95 = None if timed.ci95 is None else (factor * timed.ci95[0], factor * timed.ci95[1])
    return Measurement(name, factor * timed.value, "h", ci95, timed.n_samples, dict(detail))


def _say(found: Found, outcome: Outcome) -> str:
    text = f"A call takes {_duration(found['time_per_call'].value / 1000)}"
    if "labeling_hours" not in found:
        return f"{text}."
    labeling, cost = found["labeling_hours"], found["teacher_cost"]
    n, workers = labeling.detail["n_structures"], labeling.detail["n_workers"]
    text += f"; labeling {n:,} structures takes about {_duration(3600 * labeling.value)} with {workers} at work"
    if found["sampling_hours"].value > 0:
        text += f", the dynamics of the sampling {_duration(3600 * found['sampling_hours'].value)}"
    return f"{text}: {quantity(cost.value, cost.unit, 2)} in all."


def _duration(seconds: float) -> str:
    """Return a time in the unit that people use for it."""
    scales = ((1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "days"))
    size, unit = max((scale for scale in scales if scale[0] <= seconds), default=scales[0])
    return f"{seconds / size:.3g} {unit}"


THEME: Final = Theme("cost", "Time and cost", measure, _say)
