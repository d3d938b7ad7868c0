"""Learning-curve forecast: what error more training structures would bring, with its uncertainty."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from mlff_distiller.core.errors import TrainingError
from mlff_distiller.core.plan import Plan
from mlff_distiller.core.randomness import generator
from mlff_distiller.data.blocks import blocks
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.similarity.hashes import compositions

Floats = NDArray[np.float64]

_N_RESAMPLED: Final = 200
_N_TRAININGS: Final = 3  # one more than the parameters of the simplest law
_GAIN_THAT_COUNTS: Final = 0.05
_SPREAD_THAT_SPOILS: Final = 0.15


class ForecastPlan(Plan):
    """Which trainings a forecast rests on.

    Examples
    --------
    >>> ForecastPlan(sizes="1/4,1/2,1").sizes
    (0.25, 0.5, 1.0)
    """

    sizes: tuple[float, ...] = Field(
        (0.125, 0.25, 0.5, 1.0), description="Parts of the training set to train on, one in the other."
    )
    n_repeats: int = Field(2, ge=1, le=20, description="Trainings of each size, with other structures and weights.")

    @field_validator("sizes", mode="before")
    @classmethod
    def _fractions(cls, value: Any) -> Any:
        try:
            return (
                tuple(float(Fraction(part.strip())) for part in value.split(",")) if isinstance(value, str) else value
            )
        except (ValueError, ZeroDivisionError) as error:
            raise ValueError(f"'{value}' is no list of fractions such as 1/8,1/4,1/2,1") from error

    @field_validator("sizes")
    @classmethod
    def _in_order(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < size <= 1 for size in value) or len(set(value)) < 2:
            raise ValueError("give at least two different parts, above 0 and up to 1")
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _enough(self) -> "ForecastPlan":
        if len(self.sizes) * self.n_repeats < _N_TRAININGS:
            raise ValueError("two trainings leave no measure of the uncertainty; give more sizes or repeats")
        return self


def nested_rows(train: MolecularDataset, n: int, *, seed: int) -> NDArray[np.int64]:
    """Return n rows of a training set at random; those of a smaller n are among those of a larger.

    Every composition is there, so that no element is unknown to the student.

    Raises
    ------
    TrainingError
        If n is smaller than the number of compositions.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> train = MolecularDataset.from_structures([Structure([z], [[0, 0, 0]]) for z in (1, 1, 1, 2)])
    >>> 3 in nested_rows(train, 2, seed=0)
    True
    """
    hashes = np.concatenate([compositions(columns) for _, columns in blocks(train)])
    order = generator(seed, "nested subsets").permutation(len(train))
    first = np.unique(hashes[order], return_index=True)[1]
    if n < len(first):
        raise TrainingError(
            f"a subset of {n} structures cannot hold all {len(first)} compositions; leave the smallest size out"
        )
    front = order[np.sort(first)]
    return np.concatenate([front, order[~np.isin(order, front)]])[:n].astype(np.int64)


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Errors measured at several sizes of the training set, and the law ``error = a n^-b + c`` through them.

    The law is fitted by least squares in the logarithm of the error (Hestness et al. 2017, arXiv:1712.00409). Its
    uncertainty is that of a parametric bootstrap: the scatter about the fit is drawn anew and the law fitted again.
    With fewer than four different sizes ``c`` cannot be told from the rest and is zero.

    Parameters
    ----------
    n_structures : (M,)
        Sizes of the training set, one for each training.
    errors : (M,)
        What these trainings reached on held-out structures.
    seed : int
        Of the bootstrap.

    Raises
    ------
    TrainingError
        If there are fewer than two different sizes or three trainings, or an error is not a positive number.

    Examples
    --------
    >>> n = np.array([100, 200, 400, 800])
    >>> curve = LearningCurve(n, 2.0 * n**-0.5)
    >>> f"{curve.at(1600)[0]:.3f}"
    '0.050'
    """

    n_structures: Floats
    errors: Floats
    seed: int = 0

    def __post_init__(self) -> None:
        errors = np.asarray(self.errors, dtype=np.float64)
        if not (np.isfinite(errors) & (errors > 0)).all():
            raise TrainingError("an error is not a positive number, so no law can be drawn through them")
        if len(np.unique(self.n_structures)) < 2:
            raise TrainingError("a learning curve needs trainings on at least two different sizes; give more --sizes")
        if len(errors) < _N_TRAININGS:
            raise TrainingError("two trainings leave no measure of the uncertainty; give more --sizes or --repeats")

    @cached_property
    def law(self) -> Floats:
        """The parameters a, b and c (3,); n counts in units of :attr:`unit`, the smallest size."""
        return _fit(self._x, np.log(self.errors), has_floor=self._has_floor)

    @property
    def unit(self) -> float:
        """Structures that ``n`` of the law counts as one."""
        return float(np.min(self.n_structures))

    @cached_property
    def scatter(self) -> float:
        """Standard deviation of the logarithms of the errors about the law."""
        residuals = np.log(self.errors) - np.log(_evaluate(self.law, self._x))
        n_free = max(1, len(self.errors) - 2 - int(self._has_floor and self.law[2] > 0))
        return float(np.sqrt(np.square(residuals).sum() / n_free))

    @cached_property
    def resampled(self) -> Floats:
        """Parameters of the laws of the bootstrap (R, 3)."""
        rng, mean = generator(self.seed, "forecast"), np.log(_evaluate(self.law, self._x))
        noise = rng.normal(scale=max(self.scatter, 1e-9), size=(_N_RESAMPLED, len(mean)))
        return np.array([_fit(self._x, mean + row, has_floor=self._has_floor, start=self.law) for row in noise])

    def at(self, n: float) -> tuple[float, float]:
        """Return the error expected with n training structures, and its standard uncertainty.

        The uncertainty is half the width of the central 68 % of the bootstrap.
        """
        low, high = np.quantile(self._resampled_at(n), [0.16, 0.84])
        return float(_evaluate(self.law, n / self.unit)), float(high - low) / 2

    def gain(self, n: float) -> tuple[float, float, float]:
        """Return by which part the error would shrink if n structures were doubled: low, expected, high (68 %)."""
        gains = 1 - self._resampled_at(2 * n) / self._resampled_at(n)
        low, high = np.quantile(gains, [0.16, 0.84])
        x = n / self.unit
        return float(low), float(1 - _evaluate(self.law, 2 * x) / _evaluate(self.law, x)), float(high)

    def outlook(self) -> Literal["falling", "flat", "unclear"]:
        """Say whether more data of the same kind would help.

        ``flat``: to double the data would gain less than 5 %, which the bootstrap confirms; ``unclear``: repeated
        trainings differ so much that this cannot be said.
        """
        low, _, high = self.gain(float(np.max(self.n_structures)))
        if self.scatter > _SPREAD_THAT_SPOILS or high - low > 2 * _SPREAD_THAT_SPOILS:
            return "unclear"
        return "flat" if high < _GAIN_THAT_COUNTS else "falling"

    @property
    def _x(self) -> Floats:
        return np.asarray(self.n_structures, dtype=np.float64) / self.unit

    @property
    def _has_floor(self) -> bool:
        return len(np.unique(self.n_structures)) >= 4

    def _resampled_at(self, n: float) -> Floats:
        a, b, c = self.resampled.T
        return np.asarray(a * (n / self.unit) ** -b + c)


def _evaluate(law: Floats, x: Floats | float) -> Floats:
    return np.asarray(law[0] * np.asarray(x) ** -law[1] + law[2])


def _fit(x: Floats, log_errors: Floats, *, has_floor: bool, start: Floats | None = None) -> Floats:
    """Return a, b and c of the law by least squares in the logarithm; a and c are at least zero, b is 0 to 2."""
    from scipy.optimize import least_squares

    slope, intercept = np.polyfit(np.log(x), log_errors, 1)
    b, lowest = float(np.clip(-slope, 1e-3, 1.99)), float(np.exp(log_errors.min()))
    scale = float(np.exp(intercept))
    if not has_floor:
        b = float(np.clip(-slope, 0.0, 2.0))
        return np.array([np.exp(np.mean(log_errors + b * np.log(x))), b, 0.0])

    def residuals(law: Floats) -> Floats:
        return np.asarray(np.log(law[0] * x ** -law[1] + law[2]) - log_errors)

    near = None if start is None else [start[0], float(np.clip(start[1], 1e-3, 1.99)), start[2] + 1e-6 * lowest]
    starts = (
        [near]
        if near
        else [[scale, b, 1e-3 * lowest], [max(scale - 0.5 * lowest, 0.1 * scale), min(1.5 * b, 1.9), 0.5 * lowest]]
    )
    bounds = ([1e-12, 0.0, 0.0], [np.inf, 2.0, np.inf])
    found = [least_squares(residuals, begin, bounds=bounds, x_scale=[scale, 0.3, lowest]) for begin in starts]
    return np.asarray(min(found, key=lambda result: result.cost).x)


def sentence(curve: LearningCurve, more: int, *, factor: float = 1e3, unit: str = "meV/Å") -> str:
    """Say what more structures would bring, or that they would not.

    Parameters
    ----------
    curve : LearningCurve
        Measured errors.
    more : int
        Additional training structures.
    factor : float
        From the unit of the errors to the one that is named.
    unit : str
        Its name.

    Examples
    --------
    >>> n = np.array([100, 200, 400, 800])
    >>> sentence(LearningCurve(n, 2.0 * n**-0.5), 800)
    'with 800 more structures expect 50.0 ± 0.0 meV/Å'
    """
    present = float(np.max(np.asarray(curve.n_structures)))
    value, uncertainty = curve.at(present + more)
    expected = f"with {more:,} more structures expect {factor * value:.1f} ± {factor * uncertainty:.1f} {unit}"
    if curve.outlook() == "unclear":
        return f"{expected}, but the trainings differ too much among themselves to rely on it; give more --repeats"
    if curve.outlook() == "flat":
        return f"{expected}: the curve is flat, so the student or its training limits the error, not the data"
    return expected


def table_rows(curve: LearningCurve) -> list[tuple[int, float, float]]:
    """Return size, mean error and standard deviation of each size of the training set.

    Examples
    --------
    >>> table_rows(LearningCurve(np.array([10, 20, 20]), np.array([0.2, 0.1, 0.1])))
    [(10, 0.2, 0.0), (20, 0.1, 0.0)]
    """
    n, errors = np.asarray(curve.n_structures), np.asarray(curve.errors)
    return [(int(size), float(errors[n == size].mean()), float(errors[n == size].std())) for size in np.unique(n)]


def sizes_of(n_train: int, sizes: Sequence[float]) -> list[int]:
    """Return numbers of structures, at least 2.

    Examples
    --------
    >>> sizes_of(100, [0.001, 0.5, 1.0])
    [2, 50, 100]
    """
    return [max(2, round(size * n_train)) for size in sizes]
