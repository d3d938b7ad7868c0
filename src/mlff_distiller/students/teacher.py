"""A student as the teacher of the next one: a large student as an assistant, or a correction learned before."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from mlff_distiller.core.errors import CheckpointError, TeacherError
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.plan import PotentialPlan


class StudentTeacherPlan(PotentialPlan):
    """A student of ours, from its file.

    Examples
    --------
    >>> StudentTeacherPlan(model="students/original.safetensors").precision
    'float64'
    """

    files: ClassVar = ("model",)

    kind: Literal["student"] = Field("student", description="A student of ours, from its file.")
    model: str = Field(description="File of the student (.safetensors), as `mlffd run` writes it.")
    precision: Literal["float32", "float64"] = Field("float64", description="Floating-point type of the evaluation.")
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="Where it is evaluated: cpu or cuda.")
    batch_atoms: int | None = Field(
        None, ge=1, description="Most atoms in a batch; found from the memory unless given."
    )

    def load(self) -> Potential:
        """Return the teacher; see :meth:`PotentialPlan.load`."""
        import torch

        from mlff_distiller.potentials.batching import Batching
        from mlff_distiller.potentials.memory import Memory
        from mlff_distiller.students import checkpoint
        from mlff_distiller.students.potential import StudentPotential

        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise TeacherError("device 'cuda' is asked for, but torch sees no GPU here; set `device: cpu`")
        try:
            student = checkpoint.load(
                Path(self.model).expanduser(), dtype=getattr(torch, self.precision), device=self.device
            )
        except CheckpointError as error:
            raise TeacherError(f"teacher 'student': {error}") from error
        memory = Memory(self.device, limit_GB=self.memory_limit_GB)
        return StudentPotential(student, batching=Batching(self.batch_atoms, memory=memory))
