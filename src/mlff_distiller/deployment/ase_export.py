"""Export for ASE: one safetensors file, written only if it reproduces the student it came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import ParityError
from mlff_distiller.core.files import write_atomically
from mlff_distiller.core.plan import Plan
from mlff_distiller.potentials.base import Potential
from mlff_distiller.students.checkpoint import load, save
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.record import TrainingRecord
from mlff_distiller.students.student import Student


@dataclass(frozen=True)
class Agreement:
    """How far an exported student is from the one in memory.

    Parameters
    ----------
    energy_error_per_atom : float
        Largest difference, eV/atom.
    force_error : float
        Largest difference of a force component, eV/Angstrom.
    n_structures : int
        How many structures were compared.
    """

    energy_error_per_atom: float
    force_error: float
    n_structures: int


class ASEExportPlan(Plan):
    """Export for ASE's ``StudentCalculator("student.safetensors")``.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> student = Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6})
    >>> path = Path(tempfile.mkdtemp()) / "student.safetensors"
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> ASEExportPlan().write(student, path, [h2]).force_error
    0.0
    """

    kind: Literal["ase"] = "ase"
    energy_tolerance_per_atom: float = Field(
        1e-6, ge=0, description="Largest allowed difference of energies between file and student, eV/atom."
    )
    force_tolerance: float = Field(
        1e-5, ge=0, description="Largest allowed difference of forces between file and student, eV/Angstrom."
    )

    def write(
        self,
        student: Student,
        path: Path,
        structures: Sequence[Structure],
        *,
        training: dict[str, Any] | None = None,
        record: TrainingRecord | None = None,
    ) -> Agreement:
        """Write the student, read the file back and compare both on structures before the file gets its name.

        Parameters
        ----------
        student : Student
            What is exported.
        path : Path
            Usually ``NAME.safetensors``.
        structures : sequence of Structure
            At least one that the student covers.
        training : dict, optional
            JSON-able facts to keep in the file.
        record : TrainingRecord, optional
            Teacher, data, domain and errors, to keep in the file.

        Raises
        ------
        ParityError
            If there is nothing to compare on, or the file does not reproduce the student; nothing is left at the
            path then but what was there before.
        """
        if not structures:
            raise ParityError(f"{path} was not written: the parity gate needs at least one structure to compare on")
        found: list[Agreement] = []

        def write(temporary: Path) -> None:
            save(student, temporary, training=training, record=record, references=structures)
            exported = StudentPotential(load(temporary, check=False))
            found.append(_compare(exported, StudentPotential(student), structures))
            self._gate(found[0], path)

        write_atomically(path, write)
        return found[0]

    def _gate(self, parity: Agreement, path: Path) -> None:
        energy, force = parity.energy_error_per_atom, parity.force_error
        if not (energy <= self.energy_tolerance_per_atom and force <= self.force_tolerance):  # NaN fails too
            raise ParityError(
                f"{path} was not written: the file differs from the student by {energy:.1e} eV/atom and {force:.1e} "
                f"eV/Angstrom, more than {self.energy_tolerance_per_atom:g} and {self.force_tolerance:g}; "
                "report this with the recipe"
            )


def _compare(exported: Potential, original: Potential, structures: Sequence[Structure]) -> Agreement:
    energies, forces = [], []
    for ours, theirs in zip(exported.predict(structures), original.predict(structures), strict=True):
        if ours.energy is None or theirs.energy is None or ours.forces is None or theirs.forces is None:
            raise ParityError("a student gave no energy or no forces; the parity gate cannot compare it")
        energies.append(abs(ours.energy - theirs.energy) / len(ours.forces))
        forces.append(float(np.abs(ours.forces - theirs.forces).max()))
    return Agreement(float(np.max(energies)), float(np.max(forces)), len(structures))
