"""What times are summed up by: medians with honest intervals, high percentiles, nanoseconds a day."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Median:
    """A median and the order statistics that enclose it."""

    value: float
    ci95: tuple[float, float]


def median(samples: Floats) -> Median:
    """Return the median with its distribution-free 95 % interval.

    The number of samples below the true median is binomial, so two order statistics enclose it whatever the
    distribution (Hahn and Meeker 1991, doi:10.1002/9780470316771).

    Examples
    --------
    >>> median(np.arange(1.0, 22.0))
    Median(value=11.0, ci95=(6.0, 16.0))
    """
    from scipy.stats import binom

    ordered = np.sort(samples)
    n = len(ordered)
    rank = int(binom.ppf(0.025, n, 0.5))
    low = max(rank - 1, 0)
    return Median(float(np.median(ordered)), (float(ordered[low]), float(ordered[n - 1 - low])))


def tail(samples: Floats) -> dict[str, float]:
    """Return mean and high percentiles of times by name.

    Examples
    --------
    >>> tail(np.array([1.0, 1.0, 4.0]))["mean"]
    2.0
    """
    p95, p99 = np.quantile(samples, [0.95, 0.99])
    return {"mean": float(np.mean(samples)), "p95": float(p95), "p99": float(p99)}


def ns_per_day(step_ms: float, timestep_fs: float) -> float:
    """Return the nanoseconds of a trajectory that a day gives.

    Examples
    --------
    >>> round(ns_per_day(0.432, 0.5), 9)
    100.0
    """
    return 86_400e3 / step_ms * timestep_fs * 1e-6


def summary(samples: Floats, timestep_fs: float) -> dict[str, Any]:
    """Return median, its interval, mean, high percentiles (all ms) and nanoseconds a day as plain data.

    Examples
    --------
    >>> summary(np.full(9, 0.432), 0.5)["median"]
    0.432
    """
    found = median(samples)
    return {
        "median": found.value,
        "ci95": list(found.ci95),
        **tail(samples),
        "ns_per_day": ns_per_day(found.value, timestep_fs),
    }
