"""Repetitions: the whole validation of a student with known faults, again and again with other random numbers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import numpy as np
from truth_cases import DURATION_PS, DYNAMICS_K, FRAMES_K, STRAIN, TIMESTEP_FS, Case
from truth_world import PairWorld, systems, thermal

from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.randomness import generator
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.held_out import HeldOut
from mlff_distiller.validation.plan import ValidationPlan
from mlff_distiller.validation.trial import Trial
from mlff_distiller.validation.validate import validate
from mlff_distiller.validation.verdict import judge

TIMING = (
    Measurement("step_time", 1.0, "ms", (0.9, 1.1), 20),
    Measurement("memory_growth", 0.0, "%", (0.0, 0.1), 5),
)
"""Speed and memory as a healthy student has them: fixed, as they are not what is calibrated here."""

N_SEGMENTS, N_FRAMES = 50, 2
"""Held-out segments of each system, and frames of each segment."""


@dataclass(frozen=True)
class Repetition:
    """What one validation said of one student.

    Parameters
    ----------
    case : str
        Name of the student.
    seed : int
        Of all that is random in it: held-out frames, starting points, velocities, resampling.
    found : dict
        By the name of the measurement: value and the ends of the interval; the value twice where it has none.
    outcomes : dict
        Outcomes at the production limit.
    verdicts : dict
        By the name of the criteria.
    skipped : tuple
        What could not be measured, with reasons.
    """

    case: str
    seed: int
    found: dict[str, tuple[float, float, float]]
    outcomes: dict[str, str]
    verdicts: dict[str, str]
    skipped: tuple[str, ...] = ()

    def covers(self, name: str, truth: float, tolerance: float) -> bool:
        """Return whether the interval of a measurement holds what was built in; never where there is none."""
        if name not in self.found:
            return False
        _, low, high = self.found[name]
        return low - tolerance <= truth <= high + tolerance

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def plan() -> ValidationPlan:
    """Return all checks, brief where that costs no power: 10 ps take a second."""
    return ValidationPlan.parse(
        {
            "errors": {"n_resamples": 500},
            "nve": {
                "duration_ps": DURATION_PS,
                "timestep_fs": TIMESTEP_FS,
                "temperature_K": DYNAMICS_K,
                "n_replicas": 3,
                "record_every": 10,
            },
            "timestep": {"timestep_fs": TIMESTEP_FS / 2, "duration_ps": 0.5, "temperature_K": DYNAMICS_K},
            "physicality": {"n_per_system": 5, "n_loops": 1},
            "visited": {"n_per_system": 9, "n_resamples": 500},
            "observables": {"enabled": False},
        },
        where="known truths",
    )


def trial(case: Case, seed: int) -> Trial:
    """Return one student with frames and starting points of its own."""

    def rng(*names: str | int) -> np.random.Generator:
        return generator(seed, "known truths", *names)

    rows = [
        (frame, f"{name}/{k}", name)
        for name in systems()
        for k in range(N_SEGMENTS)
        for frame in thermal(name, FRAMES_K, rng("frames", name, k), n=N_FRAMES, memory=0.6, strain=STRAIN)
    ]
    frames = [frame for frame, _, _ in rows]
    labels = PairWorld().predict(frames, ("energy", "forces", "stress"))
    held_out = HeldOut(frames, labels, [s for _, s, _ in rows], [n for _, _, n in rows])
    starts = {name: thermal(name, DYNAMICS_K, rng("starts", name), n=3) for name in systems()}
    return Trial(case.make(), starts, held_out, make_teacher=PairWorld, seed=seed, name=case.name)


@cache
def criteria() -> dict[str, CriteriaPlan]:
    """Return the criteria by which everything is judged."""
    presets = ("production", "quantitative")
    return {preset: CriteriaPlan.parse({"preset": preset}, where="known truths") for preset in presets}


def repeat(case: Case, seed: int) -> Repetition:
    """Validate and judge once."""
    evidence = validate(trial(case, seed), plan())
    measured = [m for one in evidence.values() for m in one.measurements] + list(TIMING)
    skipped = [s for one in evidence.values() for s in one.skipped]
    verdicts = {name: judge(measured, limits, skipped=skipped) for name, limits in criteria().items()}
    ends = {m.name: m.ci95 or (m.value, m.value) for m in measured}
    return Repetition(
        case.name,
        seed,
        {m.name: (m.value, *ends[m.name]) for m in measured},
        {check.name: check.outcome for check in verdicts["production"].checks},
        {name: verdict.verdict for name, verdict in verdicts.items()},
        tuple(f"{s.check}: {s.reason}" for s in skipped if s.applies),
    )


@dataclass(frozen=True)
class Row:
    """How often one number was found, or one thing said, of so many repetitions.

    Parameters
    ----------
    case, what : str
        The student, and the number or what was said.
    truth : str
        What was built in, or what should be said.
    found, of : int
        In how many repetitions of how many it was.
    is_number : bool
        Whether an interval had to hold a number, which it may miss 5 times in 100.
    detail : dict
        What was seen: medians of values and half widths, or how often each verdict came.
    """

    case: str
    what: str
    truth: str
    found: int
    of: int
    is_number: bool = False
    detail: dict[str, Any] = field(default_factory=dict)


def summarize(case: Case, repetitions: Sequence[Repetition]) -> list[Row]:
    """Return how often the intervals held what was built in, and how often the verdict was right."""
    return [*_numbers(case, repetitions), *_outcomes(case, repetitions), *_verdicts(case, repetitions)]


def _numbers(case: Case, repetitions: Sequence[Repetition]) -> list[Row]:
    rows = []
    for name, (truth, tolerance) in case.built_in.items():
        seen = np.array([r.found.get(name, (np.nan,) * 3) for r in repetitions])
        value, low, high = np.median(seen, axis=0)
        found = sum(r.covers(name, truth, tolerance) for r in repetitions)
        detail = {"median": float(value), "low": float(low), "high": float(high)}
        rows.append(Row(case.name, name, f"{truth:.4g}", found, len(repetitions), True, detail))
    return rows


def _outcomes(case: Case, repetitions: Sequence[Repetition]) -> list[Row]:
    rows = []
    for name, outcome in case.reasons.items():
        said = [r.outcomes.get(name, "missing") for r in repetitions]
        rows.append(Row(case.name, name, outcome, said.count(outcome), len(said), detail=_counts(said)))
    return rows


def _verdicts(case: Case, repetitions: Sequence[Repetition]) -> list[Row]:
    rows = []
    for preset, right in case.verdicts.items():
        said = [r.verdicts[preset] for r in repetitions]
        wanted = " or ".join(sorted(right))
        found = sum(verdict in right for verdict in said)
        rows.append(Row(case.name, f"verdict, {preset}", wanted, found, len(said), detail=_counts(said)))
    return rows


def _counts(said: Sequence[str]) -> dict[str, Any]:
    return {word: said.count(word) for word in sorted(set(said))}
