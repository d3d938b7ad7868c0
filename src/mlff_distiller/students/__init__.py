"""Students: small, fast force fields; each gives atomic energies from a Graph and nothing else."""

from mlff_distiller.core.registry import Registry

STUDENTS = Registry(
    "student",
    {"painn": "mlff_distiller.students.painn.plan:PaiNNPlan"},
    entry_point_group="mlff_distiller.students",
)
"""Plans of all student architectures by kind; an installed package adds its own through the entry point group."""
