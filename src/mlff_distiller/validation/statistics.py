"""Intervals that hold for few, correlated samples: resampled segments, and replicas."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]
Estimator = Callable[[Floats], Any]
"""A function of sums (..., K) that returns estimates (...)."""


def student_t_factor(n_samples: int) -> float:
    """Return the two-sided 95 % quantile of Student's t with ``n_samples - 1`` degrees of freedom.

    Examples
    --------
    >>> round(student_t_factor(3), 3)
    4.303
    """
    from scipy.stats import t  # here, because scipy.stats takes half a second to import

    return float(t.ppf(0.975, n_samples - 1))


def mean_interval(samples: Floats) -> tuple[float, Interval | None]:
    """Return the mean of independent samples and its Student-t 95 % interval.

    Replicas of a simulation are independent whatever the correlation within each, so no correlation time has to be
    guessed.

    Parameters
    ----------
    samples : (n,) array
        One number per replica; one NaN makes the mean NaN.

    Returns
    -------
    mean : float
    interval : tuple or None
        None for fewer than two samples or where a sample is not finite.

    Examples
    --------
    >>> mean, interval = mean_interval(np.array([1.0, 2.0, 3.0]))
    >>> mean, [round(end, 2) for end in interval]
    (2.0, [-0.48, 4.48])
    """
    samples = np.asarray(samples, dtype=np.float64)
    mean = float(samples.mean()) if len(samples) else float("nan")
    if len(samples) < 2 or not np.isfinite(samples).all():
        return mean, None
    half = student_t_factor(len(samples)) * float(samples.std(ddof=1)) / len(samples) ** 0.5
    return mean, (mean - half, mean + half)


def absolute_interval(interval: Interval) -> Interval:
    """Return the interval of |x| from an interval of x.

    Examples
    --------
    >>> absolute_interval((-3.0, 1.0)), absolute_interval((-3.0, -1.0))
    ((0.0, 3.0), (1.0, 3.0))
    """
    low, high = interval
    return (max(low, -high, 0.0), max(-low, high))


def segment_interval(
    sums: Floats, estimate: Estimator, *, rng: np.random.Generator, n_resamples: int = 2000
) -> tuple[float, Interval | None]:
    """Return a positive estimate over correlated samples and its 95 % interval, by a bootstrap of whole segments.

    Frames of one trajectory segment resemble each other, so segments are drawn with replacement, not frames. The
    spread of the resampled estimates gives the standard error of the logarithm (Efron 1979,
    doi:10.1214/aos/1176344552), widened by sqrt(n / (n - 1)) and Student's t for n segments, because the plain
    percentile interval is far too narrow for few segments (Hesterberg 2015, doi:10.1080/00031305.2015.1089789).

    Parameters
    ----------
    sums : (G, K) array
        Sums over the samples of each of G segments.
    estimate : callable
        Sums over all samples (..., K) to the estimate (...).
    rng : numpy.random.Generator
        Draws the segments.
    n_resamples : int
        How many resamples.

    Returns
    -------
    estimate : float
        NaN where there are no segments.
    interval : tuple or None
        None for fewer than two segments.

    Examples
    --------
    >>> squares = np.column_stack([[1.0, 1.2, 0.9, 1.1], np.ones(4)])  # sum of squared errors, count
    >>> value, interval = segment_interval(squares, lambda s: np.sqrt(s[..., 0] / s[..., 1]),
    ...                                    rng=np.random.default_rng(0))
    >>> round(value, 3), interval[0] < value < interval[1]
    (1.025, True)
    """
    n = len(sums)
    if n == 0:
        return float("nan"), None
    value = float(estimate(sums.sum(0)))
    if not np.isfinite(value):
        return value, (value, value) if np.isinf(value) else None
    if n < 2:
        return value, None
    weights = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples).astype(np.float64)
    with np.errstate(invalid="ignore"):  # an infinite column that this estimate does not use
        resampled = estimate(weights @ sums)
    factor = student_t_factor(n) * (n / (n - 1)) ** 0.5
    if value > 0 and (resampled > 0).all():
        ratio = float(np.exp(min(factor * np.log(resampled).std(), 700.0)))
        return value, (value / ratio, value * ratio)
    half = factor * float(resampled.std())
    return value, (max(value - half, 0.0), value + half)
