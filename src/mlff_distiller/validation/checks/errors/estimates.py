"""Estimates from sums over trajectory segments: what is summed, what follows from it, and its interval."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.randomness import generator
from mlff_distiller.validation.checks.errors.parity import Parity
from mlff_distiller.validation.statistics import Estimator, segment_interval

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """One number that follows from sums.

    Attributes
    ----------
    unit : str
    counted : int
        Column that holds how many values were summed.
    function : callable
        Sums (..., K) to estimates (...), positive.
    from_one : bool
        Whether the number is one minus that estimate, as a coefficient of determination is.
    """

    unit: str
    counted: int
    function: Estimator
    from_one: bool = False


@dataclass(frozen=True, eq=False)
class Errors:
    """Sums per segment of one kind of error, and what follows from them.

    Parameters
    ----------
    estimates : mapping
        Name of the measurement to its estimate.
    sums : (G, K) array
        Sums over each of G segments.
    detail : mapping
        More for the detail of a measurement, by its name.
    """

    estimates: Mapping[str, Estimate]
    sums: Floats
    detail: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def measurements(self, *, n_resamples: int, seed: int) -> list[Measurement]:
        """Return all numbers with their 95 % intervals, by a bootstrap of segments."""
        return [self._measurement(name, n_resamples, seed) for name in self.estimates]

    def _measurement(self, name: str, n_resamples: int, seed: int) -> Measurement:
        estimate = self.estimates[name]
        sums = self.sums[self.sums[:, estimate.counted] > 0]
        rng = generator(seed, "bootstrap", name)
        value, ci95 = segment_interval(sums, estimate.function, rng=rng, n_resamples=n_resamples)
        if estimate.from_one:
            value, ci95 = 1 - value, None if ci95 is None else (1 - ci95[1], 1 - ci95[0])
        detail = {
            "n_segments": len(sums),
            "n_values": int(sums[:, estimate.counted].sum()),
            **self.detail.get(name, {}),
        }
        return Measurement(name, value, estimate.unit, ci95, len(sums), detail)


def mean(total: int, count: int, *, root: bool = False) -> Estimator:
    """Return the estimator of the mean of a column, or of its square root.

    Examples
    --------
    >>> float(mean(1, 0, root=True)(np.array([2.0, 18.0])))
    3.0
    """

    def estimate(sums: Floats) -> Any:
        found = sums[..., total] / sums[..., count]
        return np.sqrt(found) if root else found

    return estimate


def unexplained(count: int, squared_error: int, total: int, squares: int) -> Estimator:
    """Return the estimator of 1 - R2: the sum of squared errors over the sum of squares about the mean.

    Examples
    --------
    >>> float(unexplained(0, 1, 2, 3)(np.array([2.0, 0.1, 4.0, 10.0])))  # 1 and 3: 2 about the mean
    0.05
    """

    def estimate(sums: Floats) -> Any:
        spread = sums[..., squares] - sums[..., total] ** 2 / sums[..., count]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(spread > 0, sums[..., squared_error] / spread, np.nan)

    return estimate


def by_segment(parity: Parity, columns: Floats) -> Floats:
    """Return the sums (G, K) over each segment of the columns of frames (F, K) or of atoms (A, K)."""
    names, index = np.unique(parity.segments, return_inverse=True)
    if len(columns) != len(index):
        index = index[parity.atom_frames]
    sums = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, index, columns)
    return sums
