"""Two potentials side by side: the difference of each number, and whether it is beyond noise."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import hypot, isfinite
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.randomness import generator
from mlff_distiller.validation.checks.errors.energy import energy_errors
from mlff_distiller.validation.checks.errors.estimates import Errors
from mlff_distiller.validation.checks.errors.force import ForceErrors
from mlff_distiller.validation.checks.errors.parity import Parity
from mlff_distiller.validation.checks.errors.stress import stress_errors, without_stress
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.statistics import Interval, student_t_factor

Floats = NDArray[np.float64]
Found = Mapping[str, Evidence]
"""What every check found of one potential."""

_SHARED: Final = ("systems", "segments", "n_atoms", "numbers", "positions", "cells")
_REFERENCES: Final = ("reference_energies", "reference_forces")
_EXACT: Final = frozenset(
    {"systems_covered", "frequency_mae", "geometry_rmsd", "torsion_error", "dimer_error", "eos_error", "elastic_error"}
)
"""Numbers without chance in them: any difference is one."""

_N_RESAMPLES: Final = 2000


@dataclass(frozen=True)
class Difference:
    """One number of two potentials.

    Parameters
    ----------
    name, unit : str
        As in the measurements.
    first, second : Measurement or None
        Of the one and of the other; None where it was not measured.
    value : float
        Second minus first; NaN where one is missing.
    ci95 : tuple or None
        95 % confidence interval of the difference.
    paired : bool
        Whether both were measured on the same frames, so that what is hard for both cancels.
    better : str
        Which is better beyond noise, ``first`` or ``second``; empty where neither is, or where nobody can say what
        would be better.
    """

    name: str
    unit: str
    first: Measurement | None
    second: Measurement | None
    value: float
    ci95: Interval | None = None
    paired: bool = False
    better: Literal["first", "second", ""] = ""


def differences(first: Found, second: Found, *, seed: int = 0) -> list[Difference]:
    """Return the difference of every number that was measured of at least one of two potentials.

    Errors on the same held-out frames are compared in pairs: whole segments are resampled, for both at once, so that
    what is hard for both cancels. Other intervals are taken as independent and put together from their own ends on
    both sides (Zou and Donner 2008, doi:10.1002/sim.3095).

    Parameters
    ----------
    first, second : mapping
        Evidence by check.
    seed : int
        Of the resamples.

    Examples
    --------
    >>> one = {"timing": Evidence([Measurement("step_time", 1.0, "ms", (0.9, 1.1), 20)])}
    >>> other = {"timing": Evidence([Measurement("step_time", 0.5, "ms", (0.4, 0.6), 20)])}
    >>> [found] = differences(one, other)
    >>> found.value, found.better, [round(end, 2) for end in found.ci95]
    (-0.5, 'second', [-0.64, -0.36])
    """
    mine, theirs = _measurements(first), _measurements(second)
    pairs, criteria = paired_differences(first, second, seed=seed), CriteriaPlan()
    order = [name for name in criteria.names() if name in mine | theirs]
    order += [name for name in mine | theirs if name not in order]
    return [_difference(name, mine.get(name), theirs.get(name), criteria, pairs.get(name)) for name in order]


def _measurements(found: Found) -> dict[str, Measurement]:
    return {m.name: m for evidence in found.values() for m in evidence.measurements}


def _difference(
    name: str,
    first: Measurement | None,
    second: Measurement | None,
    criteria: CriteriaPlan,
    pair: Interval | None,
) -> Difference:
    unit = next((m.unit for m in (first, second) if m is not None), "")
    if first is None or second is None or not (isfinite(first.value) and isfinite(second.value)):
        return Difference(name, unit, first, second, float("nan"))
    value = second.value - first.value
    ci95 = pair or _independent(first, second)
    sign = criteria.criterion(name).sign if name in criteria.names() else 0
    return Difference(name, unit, first, second, value, ci95, pair is not None, _better(ci95, sign))


def _independent(first: Measurement, second: Measurement) -> Interval | None:
    """Return the interval of the difference of two numbers that were measured apart."""
    ends = [_ends(measured) for measured in (first, second)]
    if ends[0] is None or ends[1] is None:
        return None
    (low1, high1), (low2, high2) = ends[0], ends[1]
    value = second.value - first.value
    return (
        value - hypot(second.value - low2, high1 - first.value),
        value + hypot(high2 - second.value, first.value - low1),
    )


def _ends(measured: Measurement) -> Interval | None:
    if measured.ci95 is not None:
        return measured.ci95 if all(isfinite(end) for end in measured.ci95) else None
    return (measured.value, measured.value) if measured.name in _EXACT else None


def _better(ci95: Interval | None, sign: int) -> Literal["first", "second", ""]:
    if ci95 is None or sign == 0 or ci95[0] <= 0 <= ci95[1]:
        return ""
    return "second" if sign * ci95[0] > 0 else "first"


def paired_differences(first: Found, second: Found, *, seed: int = 0) -> dict[str, Interval]:
    """Return the interval of the difference of each error that was measured on the same frames for both.

    Parameters
    ----------
    first, second : mapping
        Evidence by check; none is paired unless the reference of the check ``errors`` is the same in every number.
    seed : int
        Of the resamples.

    Examples
    --------
    >>> paired_differences({}, {})
    {}
    """
    arrays = [found["errors"].arrays if "errors" in found else {} for found in (first, second)]
    if not all(arrays) or not all(_same(arrays[0][name], arrays[1][name]) for name in (*_SHARED, *_REFERENCES)):
        return {}
    threshold = _threshold(first["errors"])
    mine, theirs = (list(_errors(Parity(**own), threshold)) for own in arrays)
    found: dict[str, Interval] = {}
    for one, other in zip(mine, theirs, strict=False):
        for name in one.estimates:
            interval = _paired(name, one, other, generator(seed, "compare", name))
            found |= {} if interval is None else {name: interval}
    return found


def _same(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _threshold(errors: Evidence) -> float:
    angle = errors.measurement("force_angular_error")
    return float(angle.detail.get("threshold_eV_per_A", 0.1)) if angle else 0.1


def _errors(parity: Parity, threshold: float) -> Iterator[Errors]:
    yield ForceErrors(parity, threshold=threshold).errors
    yield energy_errors(parity)
    if not without_stress(parity):
        yield stress_errors(parity)


def _paired(name: str, first: Errors, second: Errors, rng: np.random.Generator) -> Interval | None:
    """Return the interval of a difference from resamples of segments, the same ones for both."""
    estimate = first.estimates[name]
    counted = (first.sums[:, estimate.counted] > 0) & (second.sums[:, estimate.counted] > 0)
    one, other, n = first.sums[counted], second.sums[counted], int(counted.sum())
    if n < 2 or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return None
    weights = rng.multinomial(n, np.full(n, 1 / n), size=_N_RESAMPLES).astype(np.float64)
    sign = -1.0 if estimate.from_one else 1.0
    resampled = sign * (estimate.function(weights @ other) - estimate.function(weights @ one))
    value = sign * float(estimate.function(other.sum(0)) - estimate.function(one.sum(0)))
    half = student_t_factor(n) * (n / (n - 1)) ** 0.5 * float(resampled.std())
    return (value - half, value + half) if isfinite(half) else None
