"""Teachers: the force fields to distill, each in one file, reached by kind name."""

from mlff_distiller.core.registry import Registry

TEACHERS = Registry(
    "teacher",
    {
        "xtb": "mlff_distiller.teachers.xtb:XTBPlan",
        "fennol": "mlff_distiller.teachers.fennol:FeNNolPlan",
        "torchani": "mlff_distiller.teachers.torchani:TorchANIPlan",
        "mace": "mlff_distiller.teachers.mace:MACEPlan",
        "orb": "mlff_distiller.teachers.orb:OrbPlan",
        "sevennet": "mlff_distiller.teachers.sevennet:SevenNetPlan",
        "chgnet": "mlff_distiller.teachers.chgnet:CHGNetPlan",
        "aimnet2": "mlff_distiller.teachers.aimnet2:AIMNet2Plan",
        "ase": "mlff_distiller.teachers.ase_factory:ASEFactoryPlan",
        "student": "mlff_distiller.students.teacher:StudentTeacherPlan",
        "committee": "mlff_distiller.teachers.combined:CommitteePlan",
        "correction": "mlff_distiller.teachers.combined:CorrectionPlan",
        "difference": "mlff_distiller.teachers.combined:DifferencePlan",
    },
    entry_point_group="mlff_distiller.teachers",
)
"""Plans of all teachers by kind; an installed package adds its own through the entry point group."""
