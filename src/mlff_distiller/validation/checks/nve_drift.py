"""Constant-energy dynamics with a student: does it run, and does it keep the total energy."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Advance
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.plan import Plan
from mlff_distiller.core.randomness import generator
from mlff_distiller.dynamics.failures import Limits
from mlff_distiller.dynamics.nve import NVETrace, run_nve
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.statistics import Interval, absolute_interval, mean_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NVERecord:
    """Energies and temperatures of R runs (systems x replicas) at T times.

    Attributes
    ----------
    systems : (R,) str
        System of each run.
    n_atoms : (R,) int
        Its number of atoms.
    times_ps : (T,)
        Time, ps.
    potential_energy, kinetic_energy : (T, R)
        eV; NaN from the moment a run failed.
    temperatures_K : (T, R)
        Instantaneous temperature, K.
    survived_ps : (R,)
        Until when each run went on.
    failures : (R,) str
        Why a run failed; empty where it ran to the end.
    """

    systems: NDArray[np.str_]
    n_atoms: NDArray[np.int64]
    times_ps: Floats
    potential_energy: Floats
    kinetic_energy: Floats
    temperatures_K: Floats
    survived_ps: Floats
    failures: NDArray[np.str_]

    @property
    def energy_per_atom(self) -> Floats:
        """Total energy per atom (T, R), eV."""
        return (self.potential_energy + self.kinetic_energy) / self.n_atoms

    @property
    def names(self) -> list[str]:
        """Names of the distinct systems, in order of first appearance."""
        return list(dict.fromkeys(self.systems.tolist()))

    @classmethod
    def from_trace(cls, trace: NVETrace, systems: Sequence[str], duration_ps: float) -> "NVERecord":
        """Keep of a trace what the measurements and the report need."""
        return cls(
            systems=np.array(systems),
            n_atoms=trace.n_atoms,
            times_ps=trace.times_ps,
            potential_energy=trace.potential_energy,
            kinetic_energy=trace.kinetic_energy,
            temperatures_K=trace.temperatures_K,
            survived_ps=np.array([duration_ps if f is None else f.time_ps for f in trace.failures]),
            failures=np.array(["" if f is None else f.reason for f in trace.failures]),
        )


class NVEPlan(Plan):
    """Constant-energy dynamics with the student: how long, how hot, how often."""

    duration_ps: float = Field(10.0, gt=0, le=1e5, description="Length of each constant-energy run.")
    timestep_fs: float = Field(0.5, ge=1e-3, le=10, description="Time step of velocity Verlet.")
    temperature_K: float = Field(300.0, gt=0, description="Temperature at which the starting velocities are drawn.")
    n_replicas: int = Field(
        3, ge=1, description="Runs per system with different velocities; an interval needs at least two."
    )
    record_every: int = Field(10, ge=1, description="Steps between recorded energies.")
    limits: Limits = Field(Limits(), description="What counts as a failed run.")

    @property
    def n_steps(self) -> int:
        """Number of steps of a run, never shorter than the duration asked for."""
        return ceil(round(self.duration_ps * 1000 / self.timestep_fs, 6))

    def measure(
        self,
        student: Potential,
        structures: Sequence[Structure],
        *,
        names: Sequence[str] = (),
        seed: int = 0,
        advance: Advance | None = None,
    ) -> tuple[list[Measurement], NVERecord]:
        """Run all systems and replicas in one batch and return what was seen.

        Parameters
        ----------
        student : Potential
            What is validated.
        structures : sequence of Structure
            One or more starting points for each distinct system, used by its replicas in turn; a frame sampled near
            the temperature asked for starts closer to equilibrium than a relaxed geometry, whose temperature halves.
        names : sequence of str, optional
            Names of the systems, one for each starting point; their formulas unless given.
        seed : int
            Of the starting velocities.
        advance : Advance, optional
            Told how many steps are done, of :attr:`n_steps`.

        Raises
        ------
        DataError
            If there are no systems, or not a name for each starting point.

        Examples
        --------
        >>> from mlff_distiller.potentials.analytic import harmonic
        >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.05]])
        >>> plan = NVEPlan(duration_ps=0.05, timestep_fs=0.25)
        >>> measurements, record = plan.measure(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), [h2])
        >>> {m.name: m.value for m in measurements}["nve_stability"]
        1.0
        """
        starts = _starts(structures, names)
        runs = [(own[r % len(own)], name, r) for name, own in starts.items() for r in range(self.n_replicas)]
        velocities = [
            maxwell_boltzmann(structure, self.temperature_K, generator(seed, "nve", name, replica))
            for structure, name, replica in runs
        ]
        trace = run_nve(
            student,
            [structure for structure, _, _ in runs],
            velocities,
            timestep_fs=self.timestep_fs,
            n_steps=self.n_steps,
            record_every=min(self.record_every, self.n_steps),
            limits=self.limits,
            advance=advance,
        )
        duration_ps = round(self.n_steps * self.timestep_fs / 1000, 9)
        record = NVERecord.from_trace(trace, [name for _, name, _ in runs], duration_ps)
        return self.summarize(record), record

    def summarize(self, record: NVERecord) -> list[Measurement]:
        """Return the measurements of runs made before."""
        settings = self.model_dump(mode="json", include={"duration_ps", "timestep_fs", "temperature_K", "n_replicas"})
        measured = [
            *_stability(record),
            _worst("nve_drift", "eV/atom/ps", _per_system(record, slopes(record)), absolute=True),
            _worst("nve_drift_percent", "%", _per_system(record, _percent(record)), absolute=True),
            _worst("nve_energy_fluctuation", "meV/atom", _per_system(record, _fluctuations(record))),
            _temperature(record),
        ]
        return [
            Measurement(m.name, m.value, m.unit, m.ci95, m.n_samples, {"settings": settings, **m.detail})
            for m in measured
        ]


def slopes(record: NVERecord) -> Floats:
    """Return the least-squares slope of the total energy of each run (R,), eV/atom/ps; NaN where it failed.

    Examples
    --------
    >>> drifting = NVERecord(np.array(["X"]), np.array([1]), np.array([0.0, 1.0, 2.0]), np.array([[0.0], [0.1], [0.2]]),
    ...                      np.zeros((3, 1)), np.zeros((3, 1)), np.array([2.0]), np.array([""]))
    >>> slopes(drifting).round(3).tolist()
    [0.1]
    """
    slope, _ = _fit(record)
    return slope


def _fit(record: NVERecord) -> tuple[Floats, Floats]:
    """Return slopes (R,) and what is left of the energies (T, R) without their straight lines."""
    energy = record.energy_per_atom - record.energy_per_atom[0]
    energy = np.where(record.failures == "", energy, np.nan)
    time = record.times_ps - record.times_ps.mean()
    square = float(time @ time)
    slope = time @ energy / square if square > 0 else np.full(energy.shape[1], np.nan)
    return slope, energy - energy.mean(0) - time[:, None] * slope


def _percent(record: NVERecord) -> Floats:
    """Return the energy gained over each run in percent of its mean kinetic energy (R,)."""
    kinetic = np.where(record.failures == "", record.kinetic_energy, np.nan).mean(0) / record.n_atoms
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(100 * slopes(record) * record.survived_ps / kinetic)


def _fluctuations(record: NVERecord) -> Floats:
    _, left = _fit(record)
    return np.asarray(1000 * np.sqrt((left**2).mean(0)))


def _per_system(record: NVERecord, values: Floats) -> dict[str, Floats]:
    return {name: values[record.systems == name] for name in record.names}


def _worst(name: str, unit: str, samples: dict[str, Floats], *, absolute: bool = False) -> Measurement:
    """Return the largest of the systems' values, with an interval for that largest one.

    Its ends are the largest lower and the largest upper end of all systems: below a limit only if every system is,
    above it as soon as one system is.
    """
    values, intervals, systems = [], [], {}
    for system, own in samples.items():
        mean, interval = mean_interval(own)
        systems[system] = {"mean": mean, "ci95": list(interval) if interval else None, "replicas": own.tolist()}
        values.append(abs(mean) if absolute else mean)
        intervals.append(_magnitude(interval) if absolute else interval)
    worst = list(samples)[int(np.argmax(np.nan_to_num(values, nan=np.inf)))]
    known = [interval for interval in intervals if interval is not None]
    ci95 = (max(i[0] for i in known), max(i[1] for i in known)) if len(known) == len(samples) else None
    detail: dict[str, Any] = {"worst_system": worst, "systems": systems}
    n_samples = min(len(own) for own in samples.values())
    return Measurement(name, float(np.max(values)), unit, ci95, n_samples, detail)


def _magnitude(interval: Interval | None) -> Interval | None:
    return None if interval is None else absolute_interval(interval)


def _stability(record: NVERecord) -> list[Measurement]:
    """Return the completed share of the runs and the shortest time survived.

    A run that went to its end shows only that it survives at least that long: the time is then censored.
    """
    completed = record.failures == ""
    failures = [_failure(record, run) for run in np.flatnonzero(~completed).tolist()]
    n_runs = len(completed)
    detail = {"n_runs": n_runs, "n_systems": len(record.names), "failures": failures}
    shortest = float(record.survived_ps.min())
    censored = {"censored": bool(completed.all())}
    return [
        Measurement("nve_duration", shortest, "ps", None, n_runs, {**censored, **detail}),
        Measurement("nve_stability", float(completed.mean()), "", None, n_runs, detail),
    ]


def _failure(record: NVERecord, run: int) -> dict[str, Any]:
    system = str(record.systems[run])
    replica = 1 + int((record.systems[:run] == system).sum())
    time_ps, reason = float(record.survived_ps[run]), str(record.failures[run])
    return {"system": system, "replica": replica, "time_ps": time_ps, "reason": reason}


def _temperature(record: NVERecord) -> Measurement:
    means = np.where(record.failures == "", record.temperatures_K, np.nan).mean(0)
    mean, ci95 = mean_interval(means)
    systems = {system: float(own.mean()) for system, own in _per_system(record, means).items()}
    return Measurement("nve_temperature", mean, "K", ci95, len(means), {"systems": systems})


def _starts(structures: Sequence[Structure], names: Sequence[str]) -> dict[str, list[Structure]]:
    """Return the starting points of each system."""
    if not structures:
        raise DataError("there are no systems to run dynamics on; name at least one molecule or file in the recipe")
    labels = list(names) or [structure.formula for structure in structures]
    if len(labels) != len(structures):
        raise DataError(f"{len(structures)} starting points need a name each, got {', '.join(labels)}")
    starts: dict[str, list[Structure]] = {}
    for name, structure in zip(labels, structures, strict=True):
        starts.setdefault(name, []).append(structure)
    return starts
