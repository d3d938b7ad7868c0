"""The contract of a check: a plan that measures a potential on trial and judges nothing."""

from typing import ClassVar

from pydantic import Field

from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.plan import Plan
from mlff_distiller.validation.trial import Trial


class CheckPlan(Plan):
    """Settings of one check.

    What a check cannot measure it returns as skipped, with the reason; it raises only where the run as a whole cannot
    go on. The same trial gives the same numbers, and a check that keeps unfinished work in ``trial.folder`` ends the
    same when it was killed and goes on.
    """

    builds_on: ClassVar[tuple[str, ...]] = ()
    """Names of checks whose evidence it needs, found in ``trial.found``; ``teacher`` is what the teacher itself did."""

    asks_teacher: ClassVar[bool] = False
    """Whether it asks the teacher itself, so that what it finds depends on which one that is."""

    enabled: bool = Field(
        True, description="Whether it is done; what is not done cannot pass, so a required check stays undecided."
    )

    def measure(self, trial: Trial) -> Evidence:
        """Measure; every check has its own."""
        raise TypeError(f"{type(self).__name__} is the settings of no check")
