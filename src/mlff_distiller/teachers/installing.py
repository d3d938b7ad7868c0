"""Installing: the Python environment of a teacher, made with venv and pip, and proven to work."""

import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import Final

from rich.markup import escape

from mlff_distiller.core.console import Reporter, Silent
from mlff_distiller.core.errors import DistillerError, TeacherError
from mlff_distiller.core.lock import FileLock
from mlff_distiller.core.provenance import stamp
from mlff_distiller.potentials.plan import PotentialPlan
from mlff_distiller.potentials.worker.environment import BEGUN, FINISHED, OLDEST_PYTHON, interpreter_in
from mlff_distiller.teachers.installed import Installed, installed, package_name
from mlff_distiller.teachers.pip import StepFailed, run_module
from mlff_distiller.teachers.probe import ProbePlan

LOG: Final = "mlffd-install.log"
"""File of an environment with all that venv and pip said."""

_PIP: Final = ("pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off")
_WORKER: Final = frozenset({"numpy", "ase", "pydantic", "pyyaml"})


def install(
    plan: type[PotentialPlan],
    folder: Path,
    *,
    python: str = sys.executable,
    more: Sequence[str] = (),
    again: bool = False,
    reporter: Reporter | None = None,
) -> Installed:
    """Make the environment of a teacher; nothing is done where a finished one is there.

    An interrupted installation begins anew, because pip takes a package that was half unpacked for a whole one; what
    was downloaded is in pip's cache by then.

    Parameters
    ----------
    plan : type of PotentialPlan
        The teacher, whose requirements are installed.
    folder : Path
        Folder of the environment: new, empty, or one that mlffd has made.
    python : str
        Interpreter that the environment is made of: Python 3.11 or newer.
    more : sequence of str
        Further requirements, as pip would be told.
    again : bool
        Make it anew where it is there.
    reporter : Reporter, optional
        Where progress is told.

    Raises
    ------
    TeacherError
        If the folder is not ours or cannot be written, a step fails, or the teacher cannot be loaded in the end.
    """
    folder = folder.expanduser().absolute()
    try:
        _refuse_foreign(folder, python)
        making = _Making(plan, folder, python=python, more=more, reporter=reporter or Silent())
        with _locked(folder):
            return (None if again else _present(plan, folder)) or making.run()
    except OSError as error:
        raise TeacherError(
            f"cannot write the environment {folder} ({error.strerror or error}); check permissions and space"
        ) from error


def kind_of(plan: type[PotentialPlan]) -> str:
    """Return the name by which recipes call a teacher.

    Examples
    --------
    >>> from mlff_distiller.teachers.xtb import XTBPlan
    >>> kind_of(XTBPlan)
    'xtb'
    """
    return str(plan.model_fields["kind"].default)


def libraries(plan: type[PotentialPlan]) -> list[str]:
    """Return the modules that a teacher's file loads with :func:`~mlff_distiller.potentials.foreign.library`.

    They are read from its source, so that a teacher need not name them twice.

    Examples
    --------
    >>> from mlff_distiller.teachers.xtb import XTBPlan
    >>> libraries(XTBPlan)
    []
    """
    source = inspect.getsource(import_module(plan.__module__))
    return list(dict.fromkeys(re.findall(r'\blibrary\(\s*"([\w.]+)"', source)))


def torch_requirement(requirement: str, python: tuple[int, ...]) -> str:
    """Return bare "torch" with the version that runs here, which surely exists for the same Python.

    Examples
    --------
    >>> torch_requirement("torch", (3, 99, 0)), torch_requirement("torch<2.9", sys.version_info[:3])
    ('torch', 'torch<2.9')
    """
    same = requirement == "torch" and python[:2] == sys.version_info[:2]
    return f"torch=={metadata.version('torch').partition('+')[0]}" if same else requirement


class _Making:
    """One installation, in a folder that is ours and locked."""

    def __init__(
        self, plan: type[PotentialPlan], folder: Path, *, python: str, more: Sequence[str], reporter: Reporter
    ) -> None:
        self.plan, self.folder, self.python, self.reporter = plan, folder, python, reporter
        self.kind, self.asked = kind_of(plan), (*plan.requirements, *more)
        self.version = _version_of(python)

    def run(self) -> Installed:
        """Empty the folder, make the environment, prove that it works, and write down what is in it."""
        _clear(self.folder)
        torch = [torch_requirement(name, self.version) for name in self.asked if package_name(name) == "torch"]
        others = [name for name in self.asked if package_name(name) != "torch"]
        self._advance = self.reporter.start(f"installing {self.kind}", 5 if torch else 4)
        self._step("making the environment", self.python, ["venv", "--without-pip", str(self.folder)])
        inner = str(interpreter_in(self.folder))
        self._step("bringing pip into it", inner, ["ensurepip", "--default-pip"])  # venv would hide why it fails
        if torch:  # first and alone: left to the resolver, another build of several gigabytes may come
            self._step(f"installing {torch[0]}", inner, [*_PIP, *torch])
        self._step(f"installing {', '.join(others) or 'what a worker needs'}", inner, [*_PIP, *_basics(), *others])
        self._prove(inner)
        done = Installed(
            self.kind, self.asked, ".".join(map(str, self.version)), _frozen(inner), str(stamp()["created"])
        )
        done.save(self.folder)
        self._advance()
        return done

    def _step(self, title: str, python: str, arguments: list[str]) -> None:
        self.reporter.message(escape(f"{self.kind}: {title}"))
        log = self.folder / LOG
        try:
            run_module(python, arguments, log=log, note=lambda text: self._advance(0, note=escape(text)))
        except StepFailed as error:
            raise TeacherError(
                f"{title} in {self.folder} failed ({error}); mend that and run the same command again; all that was "
                f"said is in {log}"
            ) from error
        self._advance()

    def _prove(self, python: str) -> None:
        """Load the teacher's file and its library in the very process that the teacher will get."""
        self.reporter.message(f"{self.kind}: loading it in its environment")
        probe = ProbePlan(environment=python, modules=(self.plan.__module__, *libraries(self.plan)))
        try:
            probe.build(own_process=True).close()
        except (DistillerError, RuntimeError) as error:
            raise TeacherError(
                f"the environment {self.folder} was made, but teacher '{self.kind}' does not run in it: {error}"
            ) from error


def _present(plan: type[PotentialPlan], folder: Path) -> Installed | None:
    """Return what is there, if it is this teacher's."""
    found = installed(folder)
    if found is not None and found.kind != kind_of(plan):
        raise TeacherError(
            f"{folder} is the environment of teacher '{found.kind}'; name another folder, or replace it with `--again`"
        )
    return found


def _refuse_foreign(folder: Path, python: str) -> None:
    """Refuse a folder that is not ours to empty."""
    if folder.exists() and not folder.is_dir():
        raise TeacherError(f"{folder} is a file; name the folder of the environment")
    names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    if names and not names & {BEGUN, FINISHED}:
        raise TeacherError(
            f"{folder} holds something that mlffd did not make; name a new folder, or, if it is an environment of "
            "your own, use it as it is: `environment` in the recipe's teacher"
        )
    for running in (sys.prefix, shutil.which(python) or python):
        if Path(running).absolute().is_relative_to(folder):
            raise TeacherError(f"{folder} holds the Python that is to make it ({running}); name another folder")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / BEGUN)
    if not lock.acquire():
        raise TeacherError(f"another process is installing into {folder}; wait for it, or name another folder")
    try:
        yield
    finally:
        lock.release()


def _clear(folder: Path) -> None:
    """Empty a folder of ours: first of what says that it is finished, never of the lock that is held."""
    (folder / FINISHED).unlink(missing_ok=True)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != BEGUN:
            entry.unlink()


def _version_of(python: str) -> tuple[int, ...]:
    """Return the version of an interpreter."""
    command = [python, "-I", "-c", "import sys; print(*sys.version_info[:3])"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        version = tuple(map(int, said.split()))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise TeacherError(f"{python} cannot be run as a Python interpreter ({error}); name another one") from error
    if version < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise TeacherError(f"{python} is Python {'.'.join(map(str, version))}; name one of {oldest} or newer")
    return version


def _basics() -> list[str]:
    """Return what a worker needs whatever the teacher, with the lower bounds of our own package."""
    own = metadata.requires("mlff-distiller") or []
    return [text for text in own if package_name(text) in _WORKER and "extra ==" not in text]


def _frozen(python: str) -> tuple[str, ...]:
    command = [python, "-I", "-m", "pip", "freeze", "--disable-pip-version-check"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(said.stdout.splitlines())
