"""How far a student is from its teacher, in units of how far two runs of the teacher are from each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.statistics import Interval, student_t_factor

Floats = NDArray[np.float64]
Metric = Callable[[Floats, Floats], float]
"""A distance of what two runs gave."""


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances of runs of one system; run i of the student begins where run i of the teacher begins.

    Attributes
    ----------
    crossed : (R, R)
        From run i of the student to run j of the teacher.
    own : (R, R)
        From run i of the teacher to its run j.
    """

    crossed: Floats
    own: Floats

    @property
    def n_runs(self) -> int:
        """Number of runs of each."""
        return len(self.own)

    @property
    def means(self) -> tuple[float, float]:
        """Mean distance of student and teacher, and of two runs of the teacher.

        Runs that begin at the same geometry are left out: they resemble each other more than others do.
        """
        apart = ~np.eye(self.n_runs, dtype=bool)
        return float(self.crossed[apart].mean()), float(self.own[apart].mean())

    @property
    def ratio(self) -> float:
        """Their ratio; 1 where all are zero."""
        crossed, own = self.means
        if own > 0:
            return crossed / own
        return 1.0 if crossed == 0 else float("inf")

    def without(self, run: int) -> "Distances":
        """Return the distances of the other runs."""
        kept = np.delete(np.arange(self.n_runs), run)
        rows = np.ix_(kept, kept)
        return Distances(self.crossed[rows], self.own[rows])

    @property
    def variance(self) -> float:
        """Variance of the ratio's logarithm by a jackknife over the starting points.

        Runs of student and teacher that begin at the same geometry are left out together. Source: Efron and Stein
        1981, doi:10.1214/aos/1176345462.
        """
        left_out = np.array([self.without(run).ratio for run in range(self.n_runs)])
        logarithms = np.log(np.clip(left_out, 1e-12, 1e12))
        return float((self.n_runs - 1) / self.n_runs * ((logarithms - logarithms.mean()) ** 2).sum())


def distances(student: Floats, teacher: Floats, metric: Metric) -> Distances:
    """Return all distances of what R runs of a student and R runs of its teacher gave (R, ...).

    A run of the student that failed is NaN, and infinitely far.

    Examples
    --------
    >>> runs = np.array([[0.0], [1.0], [2.0]])
    >>> distances(runs + 5, runs, lambda a, b: float(abs(a - b).mean())).means
    (5.0, 1.3333333333333333)
    """

    def table(left: Floats) -> Floats:
        return np.array([[metric(a, b) for b in teacher] for a in left])

    return Distances(np.nan_to_num(table(student), nan=np.inf, posinf=np.inf), table(teacher))


def mean_ratio(systems: Mapping[str, Distances]) -> tuple[float, Interval | None]:
    """Return student-teacher over teacher-teacher distances, the geometric mean of systems, and a 95 % interval.

    1 is expected of a student that is the teacher. The interval is symmetric in the logarithm; its width comes from the
    jackknife of each system and Student's t with Satterthwaite's degrees of freedom (doi:10.2307/3002019), so that few
    runs give a wide one. The geometric mean is not ruled by one system whose runs of the teacher agree by chance.

    Parameters
    ----------
    systems : mapping
        Distances of each system; one or more.

    Returns
    -------
    ratio : float
    interval : tuple or None
        None where a system has fewer than three runs, or a distance is zero.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> student, teacher = rng.normal(size=(2, 4, 50))
    >>> metric = lambda a, b: float(abs(a - b).mean())
    >>> ratio, interval = mean_ratio({"water": distances(student[..., None], teacher[..., None], metric)})
    >>> interval[0] < 1 < interval[1]
    True
    """
    ratios = np.array([own.ratio for own in systems.values()])
    if np.isinf(ratios).any():
        return float("inf"), (float("inf"), float("inf"))
    value = float(np.exp(np.log(ratios).mean())) if (ratios > 0).all() else 0.0
    if min(own.n_runs for own in systems.values()) < 3 or value == 0:
        return value, None
    variances = np.array([own.variance for own in systems.values()])
    freedom = np.array([own.n_runs - 1 for own in systems.values()])
    total = float(variances.sum())
    effective = total**2 / float((variances**2 / freedom).sum()) if total else 1.0
    spread = student_t_factor(1 + max(effective, 1.0)) * total**0.5 / len(systems)  # type: ignore[arg-type]
    factor = float(np.exp(min(spread, 700.0)))
    return value, (value / factor, value * factor)


def measure_ratio(name: str, systems: Mapping[str, Distances], *, unit: str, what: str) -> Measurement:
    """Return how far the student is from the teacher in units of the teacher's own difference, system by system.

    Parameters
    ----------
    name : str
        Of the measurement.
    systems : mapping
        Distances of each system.
    unit : str
        Of the distances.
    what : str
        What the distance is, in a few words.
    """
    value, ci95 = mean_ratio(systems)
    per_system: dict[str, Any] = {}
    for system, own in systems.items():
        crossed, between = own.means
        per_system[system] = {"ratio": own.ratio, "to_teacher": crossed, "of_teacher": between, "n_runs": own.n_runs}
    worst = max(per_system, key=lambda system: per_system[system]["ratio"])
    detail = {"distance": what, "distance_unit": unit, "worst_system": worst, "systems": per_system}
    return Measurement(name, value, "", ci95, sum(own.n_runs for own in systems.values()), detail)
