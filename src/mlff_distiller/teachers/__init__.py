"""Teachers: the force fields to distill, each in one file, reached by kind name."""

from mlff_distiller.core.registry import Registry

TEACHERS = Registry(
    "teacher",
    {"xtb": "mlff_distiller.teachers.xtb:XTBPlan", "ase": "mlff_distiller.teachers.ase_factory:ASEFactoryPlan"},
    entry_point_group="mlff_distiller.teachers",
)
"""Plans of all teachers by kind; an installed package adds its own through the entry point group."""
