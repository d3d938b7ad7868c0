"""What is measured of a student to validate it."""

from pydantic import Field

from mlff_distiller.core.plan import Plan
from mlff_distiller.validation.checks.force_errors import ForceErrorsPlan
from mlff_distiller.validation.checks.nve_drift import NVEPlan


class ValidationPlan(Plan):
    """Checks of a student, each with its settings.

    Examples
    --------
    >>> ValidationPlan().nve.duration_ps
    10.0
    """

    errors: ForceErrorsPlan = Field(ForceErrorsPlan(), description="Errors on held-out frames.")
    nve: NVEPlan = Field(NVEPlan(), description="Constant-energy dynamics with the student.")
