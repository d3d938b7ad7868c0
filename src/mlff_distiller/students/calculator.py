"""StudentCalculator: the one line that swaps the teacher for a student in an ASE script."""

from pathlib import Path

import torch

from mlff_distiller.potentials.calculator import PotentialCalculator
from mlff_distiller.students.checkpoint import load
from mlff_distiller.students.potential import StudentPotential


class StudentCalculator(PotentialCalculator):
    """An ASE calculator from a student file: energy, free_energy, energies, forces and stress.

    Parameters
    ----------
    path : str or Path
        ``students/NAME.safetensors`` of a run.
    dtype : torch.dtype, optional
        float64 for Hessians and tight relaxations; as stored (float32) unless given.
    device : optional
        ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    UnsupportedStructureError
        On evaluation, if the atoms hold an element or charge that the student was not trained on.

    Examples
    --------
    >>> import ase, tempfile
    >>> from mlff_distiller.students.checkpoint import save
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> from mlff_distiller.students.student import Student
    >>> path = Path(tempfile.mkdtemp()) / "student.safetensors"
    >>> save(Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6}), path)
    >>> atoms = ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.74]], calculator=StudentCalculator(path))
    >>> atoms.get_forces().shape
    (2, 3)
    """

    def __init__(
        self, path: str | Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(StudentPotential(load(path, dtype=dtype, device=device)))
