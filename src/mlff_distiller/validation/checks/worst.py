"""The worst of several systems: one number that speaks for all, with an interval that is honest about the choice."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.statistics import Interval, Replicated, absolute_interval

Side = Literal["largest", "magnitude", "smallest"]


def worst(name: str, unit: str, samples: Mapping[str, Replicated], *, side: Side = "largest") -> Measurement:
    """Return the value of the worst system with its 95 % interval.

    Below a limit it is only if every system is: the upper end is the largest of the systems' own 97.5 % bounds, and
    each errs on its own, so that a system above a limit passes at most 2.5 times in 100 however many there are
    (intersection-union test; Berger 1982, doi:10.1080/00401706.1982.10487790). Above it, it is as soon as one system
    is: there a sound potential has as many chances to fail as there are systems, so the lower end is the largest of
    the systems' lower bounds at 2.5 % divided by their number (Bonferroni), and a sound one fails at most 2.5 times
    in 100.

    Parameters
    ----------
    name, unit : str
        Of the measurement.
    samples : mapping
        Estimates by the name of the system, one or more.
    side : str
        What is worst: the largest value (of numbers that are never negative), the largest magnitude, or the smallest.

    Examples
    --------
    >>> runs = {"A": Replicated(np.array([1.0, 1.1]), np.empty((2, 0))), "B": Replicated(np.ones(2), np.empty((2, 0)))}
    >>> found = worst("nve_energy_fluctuation", "meV/atom", runs)
    >>> found.detail["worst_system"], round(found.value, 3), [round(end, 2) for end in found.ci95]
    ('A', 1.05, [1.0, 1.69])
    """
    sign = -1.0 if side == "smallest" else 1.0
    values = {system: _seen(sign * own.mean, side) for system, own in samples.items()}
    named = max(values, key=lambda system: np.nan_to_num(values[system], nan=np.inf))
    known = [ends for ends in (_ends(own, sign, side, len(samples)) for own in samples.values()) if ends is not None]
    ci95 = None
    if len(known) == len(samples):
        low, high = (max(ends[side_] for ends in known) for side_ in (0, 1))
        ci95 = (low, high) if sign > 0 else (-high, -low)
    detail: dict[str, Any] = {"worst_system": named, "systems": {s: _plain(own) for s, own in samples.items()}}
    n_samples = min(len(own.estimates) for own in samples.values())
    return Measurement(name, sign * float(np.max(list(values.values()))), unit, ci95, n_samples, detail)


def _seen(value: float, side: Side) -> float:
    return abs(value) if side == "magnitude" else value


def _ends(own: Replicated, sign: float, side: Side, n_systems: int) -> Interval | None:
    """Return the lower end that holds for all systems together, and the upper end that holds for this one."""
    family, alone = own.half_width(0.025 / n_systems), own.half_width()
    if family is None or alone is None:
        return None
    mean = sign * own.mean
    if side == "magnitude":
        return absolute_interval((mean - family, mean + family))[0], abs(mean) + alone
    low = mean - family
    return (max(low, 0.0) if side == "largest" else low), mean + alone


def _plain(own: Replicated) -> dict[str, Any]:
    interval = own.interval()
    plain = {"mean": own.mean, "ci95": list(interval) if interval else None, "replicas": own.estimates.tolist()}
    return plain | ({"run_error": own.error} if own.noise.size else {})
