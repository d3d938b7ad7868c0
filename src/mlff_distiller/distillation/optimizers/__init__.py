"""Optimizers: how a gradient becomes a change of weights."""

from mlff_distiller.core.registry import Registry

OPTIMIZERS = Registry(
    "optimizer",
    {
        "adamw": "mlff_distiller.distillation.optimizers.adamw:AdamWPlan",
        "muon": "mlff_distiller.distillation.optimizers.muon:MuonPlan",
    },
    entry_point_group="mlff_distiller.optimizers",
)
"""Plans of all optimizers by kind; an installed package adds its own through the entry point group."""
