"""Intervals that hold for few, correlated samples: resampled segments, replicas, and trends of time series."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]
Estimator = Callable[[Floats], Any]
"""A function of sums (..., K) that returns estimates (...)."""


N_NOISE: Final = 6
"""How many slow components beside the trend of a run tell the error of the trend."""

_SMOOTHED: Final = 0.05  # share of a run over which energies are averaged, so that vibrations do not count as noise
_ALIKE: Final = 2.0  # prior odds of no spread between replicas, against one factor e of excess variance


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


def trends(times: Floats, series: Floats) -> tuple[Floats, Floats]:
    """Return slopes of time series, and what slopes the noise beside the trend would have made.

    A series is averaged over a twentieth of its length with a Hann window, which leaves a line as it is and removes
    vibrations, and projected on orthonormal polynomials in time. The component of degree 1 is the slope. Those of
    degrees 2 to 7 hold no trend, only noise as slow as the one that disturbs the slope: where its spectrum is flat
    below a few inverse lengths of the series they have the variance of the slope's error, with one degree of freedom
    each, so that no correlation time has to be guessed (Phillips 2005, doi:10.1017/S0266466605050085; Sun 2013,
    doi:10.1111/j.1368-423X.2012.00390.x).

    Parameters
    ----------
    times : (T,) array
        Evenly spaced.
    series : (T, R) array
        R series; NaN makes a series' slope NaN.

    Returns
    -------
    slopes : (R,) array
        Units of the series per unit of time; NaN for a single time.
    noise : (R, K) array
        Components of degrees 2 to K + 1 in the units of the slopes; K is :data:`N_NOISE`, less for short series.

    Examples
    --------
    >>> times = np.arange(41.0)
    >>> slopes, noise = trends(times, np.column_stack([3 * times, 3 * times + (-1) ** times]))
    >>> slopes.round(6).tolist(), noise.shape
    ([3.0, 3.0], (2, 6))
    """
    series = series - series[0]
    n_times, n_series = series.shape
    if n_times < 2:
        return np.full(n_series, np.nan), np.empty((n_series, 0))
    window = np.hanning(2 * int(_SMOOTHED * n_times / 2) + 3)[1:-1]
    n_left = n_times - len(window) + 1
    degrees = min(N_NOISE + 1, n_left - 1)
    polynomials = np.linalg.qr(np.polynomial.legendre.legvander(np.linspace(-1, 1, n_left), degrees))[0].T[1:]
    spectra = np.fft.rfft(polynomials, n_times) * np.fft.rfft(window / window.sum(), n_times)
    weights = np.fft.irfft(spectra, n_times)  # polynomials convolved with the window: as long as the series
    components = (weights @ series) / (weights[0] @ times)
    return components[0], components[1:].T


@dataclass(frozen=True, eq=False)
class Replicated:
    """Estimates of one quantity by replicas, each with noise of its own.

    The interval of their mean rests on both the spread between replicas and the noise within them. Let the variance
    of an estimate be L times that within a run, L >= 1: L is 1 where replicas differ by noise alone, and more where
    they truly differ or where slow noise is larger than what a run shows of it (a random walk). L is given the prior
    1/L with a mass at 1 (Tiao and Tan 1965, doi:10.1093/biomet/52.1-2.37); the mass is chosen so that the interval
    holds the truth in at least 93 of 100 repetitions for every L, and in 95 and more for L = 1 and for large L.

    With large L it is Student's t over the replicas. With noise alone it is as long on average, which no interval
    that holds for every L can undercut by much, but steadier: three replicas that agree by chance make Student's t
    far too short in 1 of 20 cases, those that disagree by chance far too long, and for the bounds of many systems
    (see :func:`~mlff_distiller.validation.checks.worst.worst`) its quantile explodes.

    Parameters
    ----------
    estimates : (R,) array
        One number per replica.
    noise : (R, K) array
        Each entry has the variance of an estimate's error within a run; K = 0 where it is not known.

    Examples
    --------
    >>> alone = Replicated(np.array([1.0, 2.0, 3.0]), np.empty((3, 0)))
    >>> [round(end, 2) for end in alone.interval()]  # Student's t
    [-0.48, 4.48]
    >>> noisy = Replicated(np.array([1.0, 2.0, 3.0]), np.full((3, 6), 1.0))
    >>> [round(end, 2) for end in noisy.interval()]
    [-0.16, 4.16]
    """

    estimates: Floats
    noise: Floats

    @property
    def mean(self) -> float:
        """Mean of the replicas; NaN if one of them is."""
        return float(self.estimates.mean()) if len(self.estimates) else float("nan")

    @property
    def error(self) -> float:
        """Standard error of one estimate from the noise within the runs; NaN where that is not known."""
        return float(np.sqrt((self.noise**2).mean())) if self.noise.size else float("nan")

    def scaled(self, factors: Floats) -> "Replicated":
        """Return the same for estimates times factors (R,)."""
        return Replicated(self.estimates * factors, self.noise * factors[:, None])

    def half_width(self, tail: float = 0.025) -> float | None:
        """Return how far the interval reaches to each side of the mean, with ``tail`` left out there.

        None for fewer than two replicas or where one is not finite: one replica cannot show that replicas agree.
        """
        n, values = len(self.estimates), self.estimates
        if n < 2 or not np.isfinite(values).all():
            return None
        between, within = float(values.var(ddof=1)), self.error**2
        if not within > 1e-12 * between:  # no noise is known, or none beside the spread
            factor = _quantile(np.ones(1), np.ones(1), n - 1, tail)
            return float(factor * (between / n) ** 0.5)
        return float(_mixture_half_width(between / within, n - 1, self.noise.size, tail) * (within / n) ** 0.5)

    def interval(self, tail: float = 0.025) -> Interval | None:
        """Return the interval of the mean, with ``tail`` left out on each side; None as for :meth:`half_width`."""
        half = self.half_width(tail)
        return None if half is None else (self.mean - half, self.mean + half)

    def scaling(self) -> float | None:
        """Return the power of the duration with which the error of a slope falls; None where no noise is known.

        -1.5 for stationary noise, -0.5 for a random walk, 0 where replicas truly differ, so that only more of them
        help. Which one: by likelihood of the noise components, whose variance is the same at every degree k for
        stationary noise and falls as 1/((2k - 1)(2k + 3)) for a random walk.
        """
        if not self.noise.size or len(self.estimates) < 2:
            return None
        degree = np.arange(1, self.noise.shape[1] + 2)
        shapes = {-1.5: np.ones(len(degree)), -0.5: 5.0 / ((2 * degree - 1) * (2 * degree + 3))}
        levels = {power: float((self.noise**2 / shape[1:]).mean()) for power, shape in shapes.items()}
        cost = {power: np.log(shape[1:] * levels[power]).sum() for power, shape in shapes.items() if levels[power] > 0}
        if not cost:
            return 0.0
        power = min(cost, key=lambda key: float(cost[key]))
        differ = self.estimates.var(ddof=1) > levels[power] * _f_limit(len(self.estimates) - 1, self.noise.size)
        return 0.0 if differ else power


def _mixture_half_width(ratio: float, n_between: int, n_within: int, tail: float) -> float:
    """Return the half width in standard errors of the mean by the noise within runs alone.

    Given L, the mean is Student's t with all degrees of freedom; weights are the posterior of L.
    """
    excess = np.geomspace(1.0, 1e4 * max(ratio, 1.0), 64)
    prior = np.full(len(excess), np.log(excess[1]))
    prior[0] = prior[0] / 2 + _ALIKE
    freedom = n_between + n_within
    squares = (n_between * ratio / excess + n_within) / freedom
    log_weight = np.log(prior) - 0.5 * n_between * np.log(excess) - 0.5 * freedom * np.log(squares)
    weight = np.exp(log_weight - log_weight.max())
    return _quantile(np.sqrt(excess * squares), weight / weight.sum(), freedom, tail)


def _quantile(scales: Floats, weights: Floats, freedom: int, tail: float) -> float:
    """Return what a mixture of Student's t of these scales exceeds with probability ``tail``."""
    from scipy.optimize import brentq
    from scipy.special import stdtr, stdtrit

    edge = float(stdtrit(freedom, 1 - tail))
    low, high = edge * float(scales.min()), edge * float(scales.max())
    if low == high:
        return low
    return float(brentq(lambda x: float(weights @ stdtr(freedom, -x / scales)) - tail, low, high, rtol=1e-9))


def _f_limit(n_between: int, n_within: int) -> float:
    from scipy.special import fdtri

    return float(fdtri(n_between, n_within, 0.99))
