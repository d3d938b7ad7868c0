"""Loss terms: what a student is asked to match, each with its weight, its course over the training and its metric."""

from mlff_distiller.core.registry import Registry

LOSSES = Registry(
    "loss term",
    {
        "energy": "mlff_distiller.distillation.losses.energy:EnergyTerm",
        "forces": "mlff_distiller.distillation.losses.forces:ForcesTerm",
        "stress": "mlff_distiller.distillation.losses.stress:StressTerm",
        "force_angle": "mlff_distiller.distillation.losses.force_angle:ForceAngleTerm",
        "atomic_energies": "mlff_distiller.distillation.losses.atomic_energies:AtomicEnergiesTerm",
        "hessian": "mlff_distiller.distillation.losses.hessian:HessianTerm",
        "embedding": "mlff_distiller.distillation.losses.embedding:EmbeddingTerm",
    },
    entry_point_group="mlff_distiller.losses",
)
"""Plans of all loss terms by kind; an installed package adds its own through the entry point group."""
