"""Compiled: a student through torch.compile, for whoever has a compiler; nothing is kept in a file."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from mlff_distiller.core.errors import BackendError
from mlff_distiller.students.backends.traced import Traced, obstacle, program
from mlff_distiller.students.student import Student


class Compiled(Traced):
    """Energies, forces and virial compiled by ``torch.compile`` when the object is made, which takes about a minute.

    Sizes stay open: nothing is compiled again for another number of structures, atoms or edges. What torch keeps in a
    cache of its own makes it some seconds the next time.

    Parameters
    ----------
    student : Student
        In float32 or float64, on a CPU or a CUDA device.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> Compiled.obstacle(Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6}).bfloat16())
    'the student is in bfloat16; load it in float32 or float64'
    """

    name = "compile"

    def __init__(self, student: Student) -> None:
        super().__init__(student)
        if reason := self.obstacle(student):
            raise BackendError(f"the student cannot be compiled: {reason}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch about its own parts
                graph, inputs = program(student)
                self._program = torch.compile(graph, dynamic=True, fullgraph=True)
                self._run(inputs)
        except Exception as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BackendError(f"torch.compile failed ({first[:200]}); use backend='eager'") from error
        self._demand_agreement()

    @classmethod
    def obstacle(cls, student: Student) -> str:
        """Return what is missing; see :meth:`Backend.obstacle`."""
        return obstacle(student, needs_compiler=student.device.type == "cpu")

    def _run(self, inputs: list[Tensor]) -> Sequence[Tensor]:
        with torch.no_grad():
            found: Sequence[Tensor] = self._program(*inputs)
        return found
