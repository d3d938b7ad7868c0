"""Checks: each measures one aspect of a student; none of them judges."""

from mlff_distiller.core.registry import Registry

CHECKS = Registry(
    "check",
    {
        "force_errors": "mlff_distiller.validation.checks.force_errors:ForceErrorsPlan",
        "nve": "mlff_distiller.validation.checks.nve_drift:NVEPlan",
    },
    entry_point_group="mlff_distiller.checks",
)
"""Plans of all checks by the name they have in a recipe."""
