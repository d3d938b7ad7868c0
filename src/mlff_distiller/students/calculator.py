"""StudentCalculator: the one line that swaps the teacher for a student in an ASE script."""

from pathlib import Path
from typing import Any

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
    backend : str
        What evaluates the student: ``"auto"``, ``"kernel"``, ``"triton"``, ``"package"``, ``"compile"`` or ``"eager"``.
    **settings
        Of the backend, such as ``n_threads`` of ``"kernel"``. For ``"package"`` what ``mlffd compile`` has put beside
        the student is found.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    BackendError
        If the backend that is named cannot evaluate this student here.
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
        self,
        path: str | Path,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        backend: str = "auto",
        **settings: Any,
    ) -> None:
        student, package = load(path, dtype=dtype, device=device), Path(path).with_suffix(".pt2")
        if backend == "package" and package.is_file():
            settings = {"path": package, **settings}
        self._student_potential = StudentPotential(student, backend=backend, **settings)
        super().__init__(self._student_potential)

    @property
    def backend(self) -> str:
        """The backend that is used, and why."""
        return self._student_potential.choice.reason
