"""How well the total energy is kept: drift, fluctuation, temperature."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.checks.nve.equipartition import equipartition
from mlff_distiller.validation.checks.nve.record import NVERecord
from mlff_distiller.validation.checks.worst import worst
from mlff_distiller.validation.statistics import Replicated, mean_interval, trends

Floats = NDArray[np.float64]


def conservation(record: NVERecord) -> list[Measurement]:
    """Return how well the total energy of runs was kept, their temperature, and how it is shared by the elements.

    The drift is the slope of the shadow energy where the record has it, which differs from the total energy by a
    bounded amount and fluctuates 10 to 100 times less, otherwise of the total energy. Its interval is that of
    :class:`~mlff_distiller.validation.statistics.Replicated`; what settles an undecided limit stands in the details
    of ``nve_drift`` and ``nve_drift_percent``: ``half_width`` of the system that decides, ``scaling``, the power of
    the duration with which it falls (-1.5 for stationary noise, -0.5 for a random walk, 0 where replicas truly
    differ and only more of them help; one more for percent, which a longer run has more of), ``duration_ps`` and
    ``n_replicas``. ``nve_energy_fluctuation`` and ``nve_conservation_ratio`` are those of the total energy.

    Parameters
    ----------
    record : NVERecord
        Runs; a failed one makes all numbers of its system NaN.

    Examples
    --------
    >>> time = np.linspace(0, 10, 201)[:, None]
    >>> zeros, runs = np.zeros((201, 2)), np.array(["H2", "H2"])
    >>> record = NVERecord(systems=runs, n_atoms=np.array([2, 2]), times_ps=time[:, 0],
    ...                    potential_energy=0.004 * time + np.cos([40, 50] * time) / 1000, kinetic_energy=zeros + 0.04,
    ...                    temperatures_K=zeros + 300, survived_ps=np.array([10.0, 10.0]), failures=np.array(["", ""]))
    >>> found = {m.name: m for m in conservation(record)}
    >>> round(found["nve_drift"].value, 4), round(found["nve_drift"].detail["meV_per_atom_per_ns"])
    (0.002, 2000)
    """
    drift = _trends(record)
    factors = _percent(record)
    fluctuation = _total_fluctuation(record)
    return [
        _drift(record, "nve_drift", "eV/atom/ps", drift),
        _drift(record, "nve_drift_percent", "%", drift.scaled(factors), gained=1),
        worst("nve_energy_fluctuation", "meV/atom", _per_system(record, _alone(1000 * fluctuation))),
        worst("nve_conservation_ratio", "", _per_system(record, _alone(_ratio(record, fluctuation)))),
        _temperature(record),
        *equipartition(record),
    ]


def slopes(record: NVERecord) -> Floats:
    """Return the slope of the energy of each run (R,), eV/atom/ps; NaN where it failed."""
    return _trends(record).estimates


def _trends(record: NVERecord) -> Replicated:
    energy = record.energy_per_atom
    if record.shadow_energy.shape == energy.shape:
        energy = record.shadow_energy / record.n_atoms
    whole = record.failures == ""
    known = np.isfinite(energy[:, whole]).all(1) if whole.any() else np.ones(len(energy), dtype=bool)
    return Replicated(*trends(record.times_ps[known], np.where(whole, energy, np.nan)[known]))


def _drift(record: NVERecord, name: str, unit: str, drift: Replicated, *, gained: int = 0) -> Measurement:
    """Return the drift of the worst system, with what would settle a limit; ``gained`` is 1 for energy over a run."""
    systems = _per_system(record, drift)
    found = worst(name, unit, systems, side="magnitude")
    halves = {name: own.half_width() for name, own in systems.items()}
    ends = {name: np.inf if half is None else abs(systems[name].mean) + half for name, half in halves.items()}
    decides = max(ends, key=lambda name: ends[name])
    deciding, scaling = systems[decides], systems[decides].scaling()
    settle: dict[str, Any] = {
        "half_width": halves[decides],
        "scaling": None if scaling is None else scaling + gained,
        "duration_ps": float(record.times_ps[-1]),
        "n_replicas": len(deciding.estimates),
    }
    if not gained:
        settle["meV_per_atom_per_ns"] = 1e6 * found.value
    return replace(found, detail={**found.detail, **settle})


def _percent(record: NVERecord) -> Floats:
    """Return what turns a slope into the energy gained over the run in percent of its mean kinetic energy (R,)."""
    kinetic = _whole(record, record.kinetic_energy).mean(0) / record.n_atoms
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(100 * record.survived_ps / kinetic)


def _total_fluctuation(record: NVERecord) -> Floats:
    """Return the root mean square of the total energy about its straight line (R,), eV/atom."""
    energy = _whole(record, record.energy_per_atom)
    energy = energy - energy.mean(0)
    time = record.times_ps - record.times_ps.mean()
    square = float(time @ time)
    left = energy - time[:, None] * ((time @ energy) / square if square > 0 else np.nan)
    return np.asarray(np.sqrt((left**2).mean(0)))


def _ratio(record: NVERecord, fluctuation: Floats) -> Floats:
    """Return the fluctuation of the total over that of the kinetic energy (R,); NaN where the latter has none."""
    kinetic = _whole(record, record.kinetic_energy) / record.n_atoms
    spread = kinetic.std(0)
    return np.asarray(fluctuation / np.where(spread > 1e-9 * kinetic.mean(0), spread, np.nan))


def _temperature(record: NVERecord) -> Measurement:
    means = _whole(record, record.temperatures_K).mean(0)
    mean, ci95 = mean_interval(means)
    systems = {name: float(means[record.systems == name].mean()) for name in record.names}
    return Measurement("nve_temperature", mean, "K", ci95, len(means), {"systems": systems})


def _whole(record: NVERecord, values: Floats) -> Floats:
    """Return the values (T, R) of runs that went to their end, NaN for the others."""
    return np.where(record.failures == "", values, np.nan)


def _alone(estimates: Floats) -> Replicated:
    return Replicated(estimates, np.empty((len(estimates), 0)))


def _per_system(record: NVERecord, runs: Replicated) -> dict[str, Replicated]:
    chosen = {name: record.systems == name for name in record.names}
    return {name: Replicated(runs.estimates[own], runs.noise[own]) for name, own in chosen.items()}
