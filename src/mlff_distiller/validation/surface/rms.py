"""Root mean squares of what should be zero, with their intervals, cleared of known noise."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.randomness import generator
from mlff_distiller.validation.statistics import segment_interval, student_t_factor

Floats = NDArray[np.float64]

_FEW = 3
_CHI = 0.03134, 2.2414  # 2.5 and 97.5 % of the size of a normal number of unit variance


def rms(
    name: str,
    unit: str,
    squares: Sequence[Floats],
    *,
    noise: float = 0.0,
    doubt: float = 0.0,
    detail: dict[str, Any] | None = None,
) -> Measurement:
    """Return the root mean square of faults that were measured with noise.

    The interval rests on structures, or on single numbers where there are fewer than three structures, resampled on a
    logarithmic scale; on a normal distribution where there is but one number. Its upper end is bounded by Student's t
    for the mean square: a symmetric structure that is right to the last digit, beside one that is not, would send it
    to infinity. The mean square of the noise is taken off; the lower end falls to zero where noise and doubt may
    explain everything.

    Parameters
    ----------
    name, unit : str
        Of the measurement.
    squares : sequence of (n,) arrays
        Squares of the faults found in each structure.
    noise, doubt : float
        Mean square of the noise of these numbers, and of what else may be wrong with them.
    detail : dict, optional
        For the measurement.

    Examples
    --------
    >>> found = rms("force_residual", "eV/A", [np.array([4.0, 4.0]), np.array([4.0])], noise=3.0)
    >>> found.value, found.ci95
    (1.0, (0.0, 2.0))
    """
    if len(squares) >= _FEW:
        sums = np.array([[own.sum(), own.size] for own in squares])
    else:
        sums = np.array([[square, 1.0] for own in squares for square in own])
    seen, interval = segment_interval(sums, _root_mean, rng=generator(0, "audit", name))
    ci95 = None if interval is None else (interval[0], min(interval[1], _upper(sums)))
    if len(sums) == 1:
        ci95 = seen / _CHI[1], seen / _CHI[0]
    if ci95 is not None:
        ci95 = max(ci95[0] ** 2 - 2 * (noise + doubt), 0.0) ** 0.5, max(ci95[1], seen)
    return Measurement(name, max(seen**2 - noise, 0.0) ** 0.5, unit, ci95, len(squares), detail or {})


def _root_mean(sums: Floats) -> Any:
    return np.sqrt(sums[..., 0] / sums[..., 1])


def _upper(sums: Floats) -> float:
    """Return the upper end of the interval of a root mean square, from the scatter of the mean square (n, 2)."""
    n = len(sums)
    total, count = sums.sum(0)
    left = sums[:, 0] - total / count * sums[:, 1]
    half = student_t_factor(n) * np.sqrt(n / (n - 1) * (left**2).sum()) / count
    return float(np.sqrt(total / count + half))


def exact(name: str, value: float, unit: str = "", *, detail: dict[str, Any] | None = None) -> Measurement:
    """Return a measurement of something that was counted.

    Examples
    --------
    >>> exact("odd_electrons", 2).ci95
    (2.0, 2.0)
    """
    return Measurement(name, float(value), unit, (float(value), float(value)), 1, detail or {})


def spread(samples: Floats) -> Floats:
    """Return the squares of the deviations of n samples (n, ...) from their mean, scaled to be unbiased.

    Examples
    --------
    >>> spread(np.array([[1.0], [3.0]])).tolist()
    [2.0]
    """
    deviations = samples - samples[0]  # exactly zero where all are equal
    deviations = deviations - deviations.mean(0)
    return np.asarray((deviations**2).sum(0).ravel() / (len(samples) - 1))
