"""Errors on what the student itself visits: frames of its own dynamics, labeled afresh by the teacher."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Advance
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.check import CheckPlan
from mlff_distiller.validation.checks.errors.parity import Parity, compare
from mlff_distiller.validation.checks.errors.summary import summarize
from mlff_distiller.validation.checks.label_journal import Journal
from mlff_distiller.validation.checks.nve.record import NVERecord
from mlff_distiller.validation.held_out import HeldOut
from mlff_distiller.validation.trial import Trial

Arrays = Mapping[str, NDArray[Any]]
Moments = list[tuple[float, NDArray[np.float64]]]

_KEPT: Final = ("force_rmse", "force_mae", "force_max_error", "energy_rmse_per_atom")
NAMES: Final = (*(f"visited_{name}" for name in _KEPT), "visited_force_ratio")
"""All that is measured."""

_ANGLE_THRESHOLD: Final = 0.1  # eV/Angstrom; no angle is reported


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame that the student visited."""

    structure: Structure
    system: str
    run: str
    time_ps: float
    before_failure: bool


@dataclass(frozen=True, eq=False)
class _Labeled:
    """Frames with what the teacher says of them, and why it says nothing of others."""

    frames: list[Frame]
    labels: list[Labels]
    refusals: list[str]


class VisitedPlan(CheckPlan):
    """Errors on frames that the student visits in its own dynamics, labeled by the teacher."""

    builds_on: ClassVar[tuple[str, ...]] = ("nve",)
    asks_teacher: ClassVar[bool] = True

    n_per_system: int = Field(25, ge=2, description="Frames of each system, spread over its runs and their time.")
    n_before_failure: int = Field(
        3, ge=0, le=10, description="Further frames from just before the end of every run that failed."
    )
    chunk_size: int = Field(32, ge=1, description="Frames that the teacher labels in one call.")
    n_resamples: int = Field(
        2000, ge=200, le=100_000, description="Number of bootstrap resamples behind each 95 % interval."
    )

    def measure(self, trial: Trial) -> Evidence:
        """Label visited frames with the teacher and return the student's errors there, run by run.

        Arrays: the fields of a :class:`~mlff_distiller.validation.checks.errors.parity.Parity`, whose segments are the
        runs, with ``times_ps`` (F,) and ``before_failure`` (F,) bool. A frame that the teacher cannot evaluate is
        left out and counted.

        Raises
        ------
        DistillerError
            If the teacher does not cover a system at all.
        """
        arrays = trial.found["nve"].arrays if "nve" in trial.found else {}
        if trial.teacher is None:
            return _nothing("there is no teacher to label what the student visits")
        if not len(arrays.get("frame_positions", ())):
            return _nothing("there are no frames of constant-energy runs")
        frames = visited_frames(
            NVERecord(**arrays), n_per_system=self.n_per_system, n_before_failure=self.n_before_failure
        )
        advance = trial.reporter.start(f"visited frames {trial.name}", len(frames))
        journal = Journal(trial.folder, chunk_size=self.chunk_size)
        labeled = _labeled(trial.teacher, frames, journal=journal, advance=advance)
        if not labeled.frames:
            why = labeled.refusals[0] if labeled.refusals else "no run went on beyond its start"
            return _nothing(f"there are no labeled frames: {why}")
        parity = compare(trial.potential, _as_held_out(labeled))
        more = {
            "times_ps": np.array([frame.time_ps for frame in labeled.frames]),
            "before_failure": np.array([frame.before_failure for frame in labeled.frames]),
        }
        measured = self._measured(parity, trial, _facts(parity, labeled, more["before_failure"]))
        missing = [] if len(measured) == len(NAMES) else [Skipped(NAMES[-1], "there are no held-out frames")]
        return Evidence(measured, missing, {**vars(parity), **more})

    def _measured(self, parity: Parity, trial: Trial, facts: dict[str, Any]) -> list[Measurement]:
        """Return errors on visited frames and, where there are held-out ones, the ratio of both."""
        own = self._errors(parity, trial.seed)
        found = [replace(own[name], name=f"visited_{name}", detail={**own[name].detail, **facts}) for name in _KEPT]
        if trial.held_out is None:
            return found
        others = self._errors(compare(trial.potential, trial.held_out), trial.seed)
        return [*found, _ratio(own["force_rmse"], others["force_rmse"])]

    def _errors(self, parity: Parity, seed: int) -> dict[str, Measurement]:
        found = summarize(parity, angle_threshold_eV_per_A=_ANGLE_THRESHOLD, n_resamples=self.n_resamples, seed=seed)
        return {measurement.name: measurement for measurement in found}


def parity_of(arrays: Arrays) -> Parity:
    """Return the errors among the arrays of this check."""
    return Parity(**{field.name: arrays[field.name] for field in fields(Parity)})


def visited_frames(record: NVERecord, *, n_per_system: int, n_before_failure: int) -> list[Frame]:
    """Return frames of constant-energy runs, spread evenly over the runs of each system and over time.

    Parameters
    ----------
    record : NVERecord
        The runs.
    n_per_system : int
        How many of each system, its starting points left out.
    n_before_failure : int
        How many more from before the end of each run that failed.
    """
    chosen = []
    for run, system in enumerate(record.systems.tolist()):
        n_runs, replica = len(record.runs(system)), record.replica(run)
        n_frames = n_per_system // n_runs + (replica <= n_per_system % n_runs)
        last = _last_good(record, run, n_before_failure) if record.failures[run] else []
        for before_failure, moments in ((False, _spread(record, run, n_frames)), (True, last)):
            chosen += [
                Frame(record.structure(run, positions), system, f"{system}/{replica}", time_ps, before_failure)
                for time_ps, positions in moments
            ]
    return chosen


def _spread(record: NVERecord, run: int, n: int) -> Moments:
    """Return n moments at the ends of equal parts of what a run lasted."""
    times_ps, positions = record.frame_times_ps, record.frame_positions[:, record.atoms(run)]
    alive = np.flatnonzero(np.isfinite(positions).all((1, 2)) & (times_ps > 0))
    places = np.unique(np.ceil(np.arange(1, n + 1) * len(alive) / max(n, 1)).astype(int) - 1)
    return [(float(times_ps[k]), positions[k]) for k in alive[places[places >= 0]]]


def _last_good(record: NVERecord, run: int, n: int) -> Moments:
    """Return the last n moments before that at which a run failed."""
    times_ps, positions = record.last_times_ps[:, run], record.last_positions[:, record.atoms(run)]
    known = np.flatnonzero(np.isfinite(positions).all((1, 2)))[:-1]
    return [(float(times_ps[k]), positions[k]) for k in known[max(len(known) - n, 0) :]]


def _labeled(teacher: Potential, frames: Sequence[Frame], *, journal: Journal, advance: Advance) -> _Labeled:
    """Label frames chunk by chunk, leaving out those that the teacher cannot evaluate."""
    found = _Labeled([], [], [])
    for first in range(0, len(frames), journal.chunk_size):
        chunk = frames[first : first + journal.chunk_size]
        labels, refusals = journal.labels(teacher, [frame.structure for frame in chunk])
        for frame, label, why in zip(chunk, labels, refusals, strict=True):
            if label is None:
                found.refusals.append(f"{frame.run} at {frame.time_ps:g} ps: {why}")
            else:
                found.frames.append(frame)
                found.labels.append(label)
        advance(len(chunk))
    journal.close()
    return found


def _as_held_out(labeled: _Labeled) -> HeldOut:
    frames = labeled.frames
    return HeldOut(
        [frame.structure for frame in frames],
        labeled.labels,
        [frame.run for frame in frames],
        [frame.system for frame in frames],
    )


def _facts(parity: Parity, labeled: _Labeled, before_failure: NDArray[np.bool_]) -> dict[str, Any]:
    """Return how many frames there were of which kind, and the error without those before a failure."""
    usual = parity.force_errors[~before_failure[parity.atom_frames]]
    return {
        "n_frames": len(labeled.frames),
        "n_before_failure": int(before_failure.sum()),
        "rmse_without_failures_eV_per_A": float(np.sqrt((usual**2).mean())) if len(usual) else None,
        "n_refused": len(labeled.refusals),
        "refusals": labeled.refusals[:20],
    }


def _ratio(visited: Measurement, held_out: Measurement) -> Measurement:
    """Return the error on visited frames over that on held-out ones; their intervals are independent."""
    value = visited.value / held_out.value if held_out.value > 0 else float("nan")
    ci95, both = None, (visited.ci95, held_out.ci95)
    if value > 0 and all(ends is not None and ends[0] > 0 and np.isfinite(ends[1]) for ends in both):
        spread = np.hypot(*(np.log(m.ci95[1] / m.value) for m in (visited, held_out) if m.ci95))
        ci95 = (float(value * np.exp(-spread)), float(value * np.exp(spread)))
    own, other = visited.detail.get("per_system", {}), held_out.detail.get("per_system", {})
    per_system = {name: own[name] / other[name] for name in own if other.get(name)}
    detail = {"per_system": per_system, "held_out_rmse_eV_per_A": held_out.value}
    return Measurement("visited_force_ratio", value, "", ci95, min(visited.n_samples, held_out.n_samples), detail)


def _nothing(reason: str) -> Evidence:
    return Evidence(skipped=[Skipped(name, reason) for name in NAMES])
