"""Criteria: limits for what was measured, each with a looser one for screening."""

from math import isfinite, isinf
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.plan import Plan

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "REPORTED"]

WITHOUT_INTERVAL: Final = frozenset({"systems_covered", "nve_duration", "nve_stability", "force_max_error"})
"""Checks that count or take an extreme: there is no interval, the value itself decides."""


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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.limit is None and (self.required or self.screening_limit is not None):
            raise ValueError("a required check or one with a screening_limit needs a limit")
        screening = self.screening
        if self.limit is not None and screening is not None and self.sign * (screening - self.limit) > 0:
            raise ValueError(f"screening_limit {screening:g} is stricter than limit {self.limit:g}; make it looser")
        return self

    @property
    def screening(self) -> float | None:
        """The screening limit, or the limit where there is none."""
        return self.limit if self.screening_limit is None else self.screening_limit

    def outcome(self, measurement: Measurement | None, *, screening: bool = False) -> Outcome:
        """Judge one measurement: on which side of the limit does the whole 95 % interval lie.

        PASS or FAIL where it lies on one side; INCONCLUSIVE where it straddles the limit, where there is no
        interval, or where the number is missing or NaN; REPORTED without a limit. Checks in
        :data:`WITHOUT_INTERVAL` are judged by their value; a censored value, which is only a lower bound, never
        fails but is INCONCLUSIVE below the limit.

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
    if measurement.name in WITHOUT_INTERVAL or isinf(value):
        return (value, float("inf")) if measurement.detail.get("censored") else (value, value)
    return ci95 if isfinite(value) and ci95 is not None else nothing


class CriteriaPlan(Plan):
    """What a student must reach to be approved; give only what differs from the defaults.

    Examples
    --------
    >>> strict = CriteriaPlan.parse({"force_rmse": {"limit": 0.05}}, where="criteria")
    >>> strict.force_rmse.limit, strict.force_rmse.screening_limit, strict.force_rmse.required
    (0.05, 0.4, True)
    """

    force_rmse: AtMost = Field(
        AtMost(limit=0.2, screening_limit=0.4, required=True),
        description="Root mean square error of force components on held-out frames, eV/Angstrom.",
    )
    force_mae: AtMost = Field(
        AtMost(limit=0.1, screening_limit=0.2, required=True),
        description="Mean absolute error of force components on held-out frames, eV/Angstrom.",
    )
    force_r2: AtLeast = Field(
        AtLeast(limit=0.95, screening_limit=0.85, required=True),
        description="Coefficient of determination of force components on held-out frames.",
    )
    force_angular_error: AtMost = Field(
        AtMost(), description="Mean angle between the student's and the reference force, degrees."
    )
    force_max_error: AtMost = Field(AtMost(), description="Largest error of a force vector, eV/Angstrom.")
    energy_rmse_per_atom: AtMost = Field(
        AtMost(limit=0.05, screening_limit=0.1, required=True),
        description="Root mean square error of the energy on held-out frames, eV/atom.",
    )
    energy_mae_per_atom: AtMost = Field(
        AtMost(), description="Mean absolute error of the energy on held-out frames, eV/atom."
    )
    stress_rmse: AtMost = Field(
        AtMost(), description="Root mean square error of stress components on held-out frames, eV/Angstrom^3."
    )
    nve_duration: AtLeast = Field(
        AtLeast(limit=10.0, required=True),
        description="Shortest time that a constant-energy run survived, ps.",
    )
    nve_stability: AtLeast = Field(
        AtLeast(limit=1.0), description="Share of the constant-energy runs that went to their end."
    )
    nve_drift: AtMost = Field(
        AtMost(limit=1e-6), description="Size of the slope of the total energy, worst system, eV/atom/ps."
    )
    nve_drift_percent: AtMost = Field(
        AtMost(limit=1.0, screening_limit=5.0, required=True),
        description="Energy gained or lost over a run in percent of the mean kinetic energy, worst system.",
    )
    nve_energy_fluctuation: AtMost = Field(
        AtMost(), description="Root mean square of the total energy about its straight line, worst system, meV/atom."
    )
    systems_covered: AtLeast = Field(
        AtLeast(limit=1.0, screening_limit=0.0, required=True),
        description="Share of the systems trained on that were tested too; isolated atoms do not count.",
    )
    step_time: AtMost = Field(AtMost(), description="Time of one dynamics step with the student, ms.")
    speedup: AtLeast = Field(AtLeast(), description="How many times faster a step is than with the teacher.")

    @model_validator(mode="before")
    @classmethod
    def _merge(cls, value: Any) -> Any:
        """Let a recipe change one limit and keep the rest of that criterion."""
        if not isinstance(value, dict):
            return value
        known = cls.model_fields
        return {
            key: {**known[key].default.model_dump(), **own} if key in known and isinstance(own, dict) else own
            for key, own in value.items()
        }

    def criterion(self, name: str) -> Criterion:
        """Return the criterion of a check; one without limits for checks that are only reported.

        Examples
        --------
        >>> CriteriaPlan().criterion("teacher_step_time").limit is None
        True
        """
        found = getattr(self, name, None)
        return found if isinstance(found, Criterion) else AtMost()

    def names(self, *, required: bool = False) -> list[str]:
        """Return the names of all checks that have a criterion, or of those that the verdict depends on.

        Examples
        --------
        >>> CriteriaPlan().names(required=True)[:3]
        ['force_rmse', 'force_mae', 'force_r2']
        """
        return [name for name in type(self).model_fields if self.criterion(name).required or not required]
