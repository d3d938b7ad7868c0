"""What is measured of a student to validate it."""

from pydantic import Field

from mlff_distiller.core.plan import Plan
from mlff_distiller.validation.check import CheckPlan
from mlff_distiller.validation.checks.errors.plan import ForceErrorsPlan
from mlff_distiller.validation.checks.nve.plan import NVEPlan
from mlff_distiller.validation.checks.observables import ObservablesPlan
from mlff_distiller.validation.checks.physicality.plan import PhysicalityPlan
from mlff_distiller.validation.checks.timestep import TimestepPlan
from mlff_distiller.validation.checks.visited import VisitedPlan


class ValidationPlan(Plan):
    """Checks of a student, each with its settings.

    Examples
    --------
    >>> ValidationPlan().nve.duration_ps
    10.0
    """

    errors: ForceErrorsPlan = Field(ForceErrorsPlan(), description="Errors on held-out frames.")
    nve: NVEPlan = Field(NVEPlan(), description="Constant-energy dynamics with the student.")
    timestep: TimestepPlan = Field(
        TimestepPlan(), description="How the fluctuation of the energy follows the time step."
    )
    physicality: PhysicalityPlan = Field(PhysicalityPlan(), description="What holds of every energy surface.")
    visited: VisitedPlan = Field(VisitedPlan(), description="Errors where the student's own dynamics goes.")
    observables: ObservablesPlan = Field(ObservablesPlan(), description="What dynamics shows, beside the teacher's.")

    @property
    def checks(self) -> dict[str, CheckPlan]:
        """All checks that are to be done, by name, in the order of the report."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: plan for name, plan in found.items() if plan.enabled}
