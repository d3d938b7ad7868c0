"""PotentialPlan: the settings of a potential that is built where it is used, here or in an environment of its own."""

import os
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Final, Self

from pydantic import Field

from mlff_distiller.core.errors import TeacherError
from mlff_distiller.core.plan import Plan
from mlff_distiller.core.provenance import content_digest, digest
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.worker.environment import INSTALLED
from mlff_distiller.potentials.worker.potential import Assignment, WorkerPotential

OPERATIONAL: Final = frozenset({"environment", "time_limit_s", "memory_limit_GB", "batch_atoms"})
"""Settings that say how a potential is run; the labels do not depend on them."""


class PotentialPlan(Plan):
    """Base of the settings of all teachers; a subclass has a field ``kind`` and loads the potential.

    Examples
    --------
    >>> from mlff_distiller.teachers.xtb import XTBPlan
    >>> isinstance(XTBPlan(), PotentialPlan)
    True
    """

    requirements: ClassVar[tuple[str, ...]] = ()
    """What ``mlffd teacher install`` puts into an environment of its own, as pip would be told."""

    files: ClassVar[tuple[str, ...]] = ()
    """Names of the settings that may be a path of a file; such a path counts from the recipe's folder."""

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
        settings = self.model_dump(mode="json", exclude=set(OPERATIONAL))
        return digest({name: _content(value) if name in self.files else value for name, value in settings.items()})

    def located(self, folder: Path) -> Self:
        """Return the same settings with the paths of files and of the environment resolved against a folder.

        A setting that may also be a name is a path where there is such a file.
        """
        named = [name for name in self.files if isinstance(getattr(self, name), str)]
        found = {name: _existing(getattr(self, name), folder) for name in named}
        if self.environment not in (None, INSTALLED):
            found["environment"] = _absolute(folder / Path(self.environment).expanduser())
        return self.model_copy(update={name: str(path) for name, path in found.items() if path is not None})

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


def _existing(value: str, folder: Path = Path()) -> Path | None:
    """Return the file that a setting names, or the folder if it is written as a path; None for any other name."""
    path = folder / Path(value).expanduser()
    is_named = path.is_file() or ("/" in value and path.is_dir())
    return _absolute(path) if is_named else None


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # links are kept: through them Python finds environments


def _content(value: object) -> object:
    """Return the digest of a file or folder that is named, or the value itself: moved weights are the same weights."""
    path = _existing(value) if isinstance(value, str) and value else None
    return value if path is None else f"sha256:{content_digest(path)}"
