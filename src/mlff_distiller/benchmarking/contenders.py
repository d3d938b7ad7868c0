"""Who is timed: students by their backends, and teachers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mlff_distiller.benchmarking.backends import ready
from mlff_distiller.core import plan as plans
from mlff_distiller.core.errors import DataError, TeacherError
from mlff_distiller.core.provenance import file_digest
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.plan import PotentialPlan
from mlff_distiller.students.backends import BACKENDS
from mlff_distiller.teachers import TEACHERS

BASE_BACKEND: Final = "eager"
RECIPE: Final = "recipe.yaml"


@dataclass(frozen=True, eq=False)
class Entrant:
    """One potential that is to be timed, not built yet.

    Parameters
    ----------
    name : str
        What it is called in tables; its own among all.
    kind : str
        ``student`` or ``teacher``.
    build : callable
        Makes the potential; raises a DistillerError where it cannot be used.
    base : str
        Name of the one it is compared with; its own if there is none.
    backend : str
        Of a student, as asked for.
    device : str
        Where it runs.
    file : Path, optional
        File of a student.
    settings : dict
        Of a teacher.

    Examples
    --------
    >>> teacher("xtb").name, teacher("xtb").kind
    ('xtb', 'teacher')
    """

    name: str
    kind: str
    build: Callable[[], Potential]
    base: str = ""
    backend: str = ""
    device: str = "cpu"
    file: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest of the student's file; empty for others."""
        return file_digest(self.file) if self.file is not None and self.file.is_file() else ""


def student_entrants(
    path: Path, *, name: str = "", backends: Sequence[str] = ("auto",), device: str = "cpu", n_threads: int
) -> list[Entrant]:
    """Return a student by each of some backends; where there are several, the eager network is what they are held to.

    The file is read and its student checked here; backends are made when they are built.

    Raises
    ------
    CheckpointError
        If the file is no student.
    UnknownNameError
        If there is no backend of a name.
    """
    from mlff_distiller.students.checkpoint import load

    name = name or path.stem
    student = load(path, device=device)
    alone = len(backends) == 1
    for backend in backends:
        if backend != "auto":
            BACKENDS.get(backend)

    def called(backend: str) -> str:
        return name if alone else f"{name}, {backend}"

    return [
        Entrant(
            called(backend),
            "student",
            lambda backend=backend: ready(student, backend, n_threads),  # type: ignore[misc]
            base="" if alone else called(BASE_BACKEND),
            backend=backend,
            device=device,
            file=path,
        )
        for backend in backends
    ]


def teacher(what: str) -> Entrant:
    """Return a teacher by its kind, with its default settings, or from a file with its settings or those of a recipe.

    Raises
    ------
    UnknownNameError
        If it is neither a kind nor a file.
    PlanError
        If the file cannot be read or a setting is wrong.
    TeacherError
        If the file holds no teacher.

    Examples
    --------
    >>> teacher("xbt")
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.UnknownNameError: unknown teacher 'xbt' (did you mean 'xtb'?); known: ...
    """
    path = Path(what)
    if not (path.is_file() or path.suffix in (".yaml", ".yml")):
        return _teacher(TEACHERS.get(what)())
    settings = plans.read(path)
    settings = settings.get("teacher", settings)
    if not isinstance(settings, dict) or "kind" not in settings:
        raise TeacherError(f"{path} names no teacher; give a file with a key 'kind', or a recipe with a key 'teacher'")
    return teacher_of(settings, where=str(path), folder=path.resolve().parent)


def teacher_of(settings: dict[str, Any], *, where: str, folder: Path = Path()) -> Entrant:
    """Return a teacher from its settings.

    Raises
    ------
    PlanError
        If a setting is wrong.
    """
    return _teacher(TEACHERS.get(str(settings["kind"])).parse(settings, where=where).located(folder))


def _teacher(plan: PotentialPlan) -> Entrant:
    kind = str(getattr(plan, "kind", type(plan).__name__))
    device = str(getattr(plan, "device", "cpu"))
    return Entrant(kind, "teacher", plan.build, device=device, settings=plan.model_dump(mode="json"))


def student_files(targets: Sequence[Path]) -> dict[str, Path]:
    """Return the files of students, a name for each: those given, and all of the run directories that are given.

    Raises
    ------
    DataError
        If there is nothing at a path, or a directory holds no students.
    """
    files = [file for target in targets for file in _files(target)]
    stems = [file.stem for file in files]
    return {file.stem if stems.count(file.stem) == 1 else str(file): file for file in files}


def _files(target: Path) -> Iterator[Path]:
    if not target.is_dir():
        yield target
        return
    found = sorted((target / "students").glob("*.safetensors"))
    if not found:
        raise DataError(
            f"{target} is a directory without students; give a run directory that is finished, or a student"
        )
    yield from found


def teacher_of_run(targets: Sequence[Path]) -> Entrant | None:
    """Return the teacher of the first run directory among some targets; None if there is none."""
    recipes = [target / RECIPE for target in targets if (target / RECIPE).is_file()]
    return teacher(str(recipes[0])) if recipes else None
