"""Deployment: students in the form that other programs read, each behind a parity gate."""

from mlff_distiller.core.registry import Registry

TARGETS = Registry(
    "export target",
    {"ase": "mlff_distiller.deployment.ase_export:ASEExportPlan"},
    entry_point_group="mlff_distiller.export_targets",
)
"""Plans of all export targets by kind."""
