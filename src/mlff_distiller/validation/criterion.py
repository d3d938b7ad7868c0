"""Criterion: a limit on one measured number, and what follows from its 95 % interval."""

from math import isfinite, isinf
from typing import ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.plan import Plan

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "REPORTED", "NOT_APPLICABLE"]

WITHOUT_INTERVAL: Final = frozenset(
    {
        "systems_covered",
        "nve_systems",
        "nve_replicas",
        "nve_duration",
        "nve_stability",
        "nve_topology_changes",
        "nve_bond_drift",
        "out_of_domain",
        "force_max_error",
        "visited_force_max_error",
        "frequency_mae",
        "geometry_rmsd",
        "torsion_error",
        "dimer_error",
        "eos_error",
        "elastic_error",
        "memory_growth",
    }
)
"""Checks that count, take an extreme or follow from no chance: without an interval, the value itself decides."""

COUNTED: Final = frozenset({"nve_systems", "nve_replicas"})
"""Checks of how much was measured: too little is undecided, not a fault of the student."""


class Criterion(Plan):
    """A limit on one measured number.

    Examples
    --------
    >>> AtMost(limit=0.2).outcome(Measurement("force_rmse", 0.1, "eV/A", (0.09, 0.25), 12))
    'INCONCLUSIVE'
    """

    sign: ClassVar[int]
    symbol: ClassVar[str]

    limit: float | None = Field(None, description="Bound for production use; none: the number is only reported.")
    screening_limit: float | None = Field(
        None, description="Looser bound for screening use; the same as the limit unless given."
    )
    required: bool = Field(False, description="Whether the verdict depends on it.")
    for_screening: bool = Field(True, description="Whether it counts for screening too; otherwise for production only.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.limit is None and (self.required or self.screening_limit is not None):
            raise ValueError("a required check or one with a screening_limit needs a limit")
        screening = self.screening_limit
        if self.limit is not None and screening is not None and self.sign * (screening - self.limit) > 0:
            raise ValueError(f"screening_limit {screening:g} is stricter than limit {self.limit:g}; make it looser")
        return self

    @property
    def screening(self) -> float | None:
        """The screening limit, or the limit where there is none; None where it does not count for screening."""
        if not self.for_screening:
            return None
        return self.limit if self.screening_limit is None else self.screening_limit

    def outcome(self, measurement: Measurement | None, *, screening: bool = False) -> Outcome:
        """Judge one measurement: on which side of the limit does the whole 95 % interval lie.

        PASS or FAIL where it lies on one side; INCONCLUSIVE where it straddles the limit, where there is no
        interval, or where the number is missing or NaN; REPORTED without a limit. Checks in
        :data:`WITHOUT_INTERVAL` are judged by their value where they have no interval; a censored value, which is only
        a lower bound, and a count of what was measured never fail but are INCONCLUSIVE below the limit.

        What was measured more leniently than the checks' defaults say (``detail["lenient"]``) does not pass.

        Parameters
        ----------
        measurement : Measurement or None
            None if the check did not run.
        screening : bool
            Judge by the screening limit.
        """
        limit = self.screening if screening else self.limit
        if limit is None:
            return "REPORTED"
        outcome = self._by_interval(measurement, limit)
        lenient = measurement is not None and measurement.detail.get("lenient")
        return "INCONCLUSIVE" if lenient and outcome == "PASS" else outcome

    def _by_interval(self, measurement: Measurement | None, limit: float) -> Outcome:
        low, high = _ends(measurement)
        if self.sign < 0:
            low, high = -high, -low
        if not low <= high:  # NaN
            return "INCONCLUSIVE"
        if low >= self.sign * limit:
            return "PASS"
        return "FAIL" if high < self.sign * limit else "INCONCLUSIVE"


class AtMost(Criterion):
    """The number must not exceed the limit."""

    sign = -1
    symbol = "≤"


class AtLeast(Criterion):
    """The number must reach the limit."""

    sign = 1
    symbol = "≥"


def _ends(measurement: Measurement | None) -> tuple[float, float]:
    """Return the interval that is judged; NaN where nothing can be said."""
    nothing = (float("nan"), float("nan"))
    if measurement is None:
        return nothing
    value, ci95 = measurement.value, measurement.ci95
    if isinf(value) or (ci95 is None and measurement.name in WITHOUT_INTERVAL):
        only_more = measurement.detail.get("censored") or measurement.name in COUNTED
        return (value, float("inf")) if only_more else (value, value)
    return ci95 if isfinite(value) and ci95 is not None else nothing
