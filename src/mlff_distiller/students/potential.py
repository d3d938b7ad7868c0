"""StudentPotential: a trained student behind the Potential contract."""

import torch

from mlff_distiller.core.provenance import digest
from mlff_distiller.potentials.base import Identity
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.graph_potential import GraphPotential
from mlff_distiller.students.student import Student


class StudentPotential(GraphPotential):
    """A student as a Potential: energy, forces, stress and atomic energies for batches of structures.

    Parameters
    ----------
    student : Student
        Trained student; its elements and charges bound what may be asked.
    batching : Batching, optional
        How many atoms are evaluated at once.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> potential = StudentPotential(Student(PaiNNPlan(preset="ultra-tiny"), {1: 0.0}))
    >>> potential.predict([Structure([6], [[0, 0, 0]])])
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.UnsupportedStructureError: C holds C, which student (painn ...) does not cover; ...
    """

    def __init__(self, student: Student, *, batching: Batching | None = None) -> None:
        self.student = student.eval().requires_grad_(False)
        self.charges = frozenset(student.charges)
        super().__init__(
            student,
            cutoff=student.cutoff,
            elements=student.elements,
            identity=Identity(
                "student",
                f"{student.plan.kind} with {student.n_parameters:,} parameters",
                _digest(student),
                str(student.dtype).removeprefix("torch."),
                torch.device(student.device).type,
            ),
            dtype=student.dtype,
            device=student.device,
            batching=batching,
        )


def _digest(student: Student) -> str:
    weights = [[name, tensor.double().flatten().tolist()] for name, tensor in student.state_dict().items()]
    return digest([student.plan.model_dump(mode="json"), weights])
