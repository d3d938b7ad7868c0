"""The contract, kept by the teachers that need no environment of their own."""

import pytest

from mlff_distiller.students import checkpoint
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.student import Student
from mlff_distiller.students.teacher import StudentTeacherPlan
from mlff_distiller.teachers.ase_factory import ASEFactoryPlan
from mlff_distiller.teachers.combined import CommitteePlan, CorrectionPlan, DifferencePlan
from mlff_distiller.teachers.contract import TeacherContract
from mlff_distiller.teachers.xtb import XTBPlan


class Semiempirical(TeacherContract):
    """Self-consistent: numbers that ought to be equal differ by what the iterations leave."""

    energy_noise = 2e-6
    force_noise = 2e-5
    gradient_tolerance = 5e-4
    n_many = 60  # a thousand atoms take minutes; the time limit is tested elsewhere


class TestXTB(Semiempirical):
    plan = XTBPlan(accuracy=0.01)


class TestASEFactory(Semiempirical):
    plan = ASEFactoryPlan(
        factory="tblite.ase:TBLite", arguments={"method": "GFN1-xTB", "verbosity": 0, "accuracy": 0.01}
    )


class TestCommittee(Semiempirical):
    plan = CommitteePlan(members=(XTBPlan(accuracy=0.01), XTBPlan(method="GFN1-xTB", accuracy=0.01)))


class TestCorrection(Semiempirical):
    plan = CorrectionPlan(
        base=XTBPlan(accuracy=0.01),
        correction=DifferencePlan(
            better=XTBPlan(accuracy=0.01), base=XTBPlan(method="GFN1-xTB", accuracy=0.01, max_iterations=300)
        ),
    )


class TestStudent(TeacherContract):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _plan(cls, tmp_path_factory):
        path = tmp_path_factory.mktemp("student") / "student.safetensors"
        energies = {1: -13.6, 6: -1029.0, 8: -2042.0}
        checkpoint.save(Student(PaiNNPlan(preset="ultra-tiny"), energies), path)
        cls.plan = StudentTeacherPlan(model=str(path))
