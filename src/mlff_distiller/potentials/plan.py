"""PotentialPlan: the settings of a potential that is built where it is used, here or in an environment of its own."""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Final, Self

from pydantic import Field

from mlff_distiller.core.errors import TeacherError
from mlff_distiller.core.plan import FilePlan, absolute
from mlff_distiller.core.provenance import digest
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.worker.environment import INSTALLED
from mlff_distiller.potentials.worker.potential import Assignment, WorkerPotential

OPERATIONAL: Final = frozenset({"environment", "time_limit_s", "memory_limit_GB", "batch_atoms"})
"""Settings that say how a potential is run; the labels do not depend on them."""


class PotentialPlan(FilePlan):
    """Base of the settings of all teachers; a subclass has a field ``kind`` and loads the potential.

    Examples
    --------
    >>> from mlff_distiller.teachers.xtb import XTBPlan
    >>> isinstance(XTBPlan(), PotentialPlan)
    True
    """

    requirements: ClassVar[tuple[str, ...]] = ()
    """What ``mlffd teacher install`` puts into an environment of its own, as pip would be told."""

    uses_python_path: ClassVar[bool] = False
    """Whether it loads modules of the user's own, which in another environment too are found through PYTHONPATH."""

    environment: str | None = Field(
        None,
        description="Folder of the Python environment in which the teacher runs, in a process of its own; 'installed': "
        "where `mlffd teacher install` puts it; none: in the environment of mlffd.",
    )
    time_limit_s: float = Field(
        600.0,
        gt=0,
        description="Longest that the process of a teacher may take for one call; a structure that takes longer alone "
        "is set aside.",
    )
    memory_limit_GB: float | None = Field(
        None,
        gt=0,
        description="Memory that the teacher may take in one process; batches are made to fit, and a structure that "
        "needs more alone is set aside; none: what the machine has.",
    )

    def fingerprint(self) -> str:
        """Return a digest of everything the labels depend on that can be known without loading the teacher."""
        return self.question

    @property
    def question(self) -> str:
        """Digest of what was asked for: the settings that the labels depend on, and the content of named files."""
        return digest(self.content(exclude=OPERATIONAL))

    def located(self, folder: Path) -> Self:
        """Return the same settings with the paths of files and of the environment resolved against a folder."""
        found = super().located(folder)
        if self.environment in (None, INSTALLED):
            return found
        return found.model_copy(update={"environment": str(absolute(folder, self.environment))})

    @property
    def n_processes(self) -> int:
        """How many processes run it unless the user says: 1 where they would share a GPU; 0: one for each core."""
        return 1 if str(getattr(self, "device", "cpu")).startswith("cuda") else 0

    def build(self, *, own_process: bool = False) -> Potential:
        """Return the potential: loaded here, or in a process of its own where the plan names an environment.

        Parameters
        ----------
        own_process : bool
            Run it in a process of its own in any case, so that a structure that crashes or hangs it is set aside.

        Raises
        ------
        TeacherError
            If a library, a file or the environment is missing, or the settings do not fit together.
        """
        if self.environment is None and not own_process:
            return self.load()
        return WorkerPotential(
            Assignment(
                kind=str(getattr(self, "kind", type(self).__name__)),
                place=_place(type(self)),
                settings=self.model_dump(mode="json", exclude={"environment"}),
                environment=self.environment,
                time_limit_s=self.time_limit_s,
                memory_limit_GB=self.memory_limit_GB,
                uses_python_path=self.uses_python_path,
            )
        )

    @abstractmethod
    def load(self) -> Potential:
        """Load the heavy libraries and return the potential, in this process.

        Raises
        ------
        TeacherError
            If a library or a file is missing, or the settings do not fit together.
        """


def _place(plan: type[PotentialPlan]) -> str:
    """Return where another process imports a class from.

    Raises
    ------
    TeacherError
        If it cannot.
    """
    if plan.__module__ == "__main__" or "<locals>" in plan.__qualname__:
        raise TeacherError(
            f"{plan.__name__} is defined in the running script or in a function, where a process of its own cannot "
            "find it; move it into a module and import it from there"
        )
    return f"{plan.__module__}:{plan.__qualname__}"
