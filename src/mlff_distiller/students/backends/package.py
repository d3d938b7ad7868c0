"""Package: a student compiled by AOTInductor to one file for this machine; it loads in seconds, without a compiler."""

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from mlff_distiller import __version__
from mlff_distiller.core.errors import BackendError, DistillerError
from mlff_distiller.core.provenance import digest
from mlff_distiller.students import tracing
from mlff_distiller.students.backends.traced import AXES, Traced, obstacle, program
from mlff_distiller.students.student import Student

FORMAT: Final = "mlffd-package"
VERSION: Final = 1

_FACTS: Final = {
    "device": "for the device",
    "dtype": "in the precision",
    "torch": "with torch",
    "release": "with mlff-distiller",
    "processor": "for the processor",
}
"""What must be as it was when the package was built, beside the student, and how a sentence puts it."""


class Package(Traced):
    """Energies, forces and virial as machine code in a ``.pt2`` file, written by :func:`build`.

    Without a file, one in the user's cache is used (``$XDG_CACHE_HOME/mlff-distiller/packages``), which is built the
    first time. The number of threads of its loops is that of the build. A package is machine code that runs in this
    process: use only such as you have built yourself.

    Parameters
    ----------
    student : Student
        The one that it was built from, on the same kind of device and in the same precision.
    path : Path, optional
        A package.
    tell : callable
        Is told that a package is being built, or why it could not be kept.

    Raises
    ------
    BackendError
        If there is no such package, it is damaged, or was built for something else.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> Package(Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6}), Path("none.pt2"))
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.BackendError: none.pt2 does not exist; build it with `mlffd compile STUDENT ...`
    """

    name = "package"

    def __init__(
        self, student: Student, path: Path | None = None, *, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        super().__init__(student)
        if path is None:
            self._program = _kept(student, tell)
        else:
            demand_fits(path, student)
            self._program = _loaded(path, student)
        self._demand_agreement()

    @classmethod
    def obstacle(cls, student: Student) -> str:
        """Return what is missing to use the cache; see :meth:`Backend.obstacle`."""
        return obstacle(student, needs_compiler=False) or (
            "" if tracing.is_whole(_place(student)) else obstacle(student, needs_compiler=True)
        )

    def _run(self, inputs: list[Tensor]) -> Sequence[Tensor]:
        found: Sequence[Tensor] = self._program.loader.run(inputs)  # its call would take longer than a small molecule
        return found


def build(student: Student, path: Path, *, threads: int | None = None) -> None:
    """Compile a student for this machine and write it to one file, atomically; takes about a minute.

    Parameters
    ----------
    student : Student
        On the device and in the precision in which it will be used.
    path : Path
        Usually ``NAME.pt2`` beside ``NAME.safetensors``.
    threads : int, optional
        Of its loops on a CPU; as many as torch uses unless given.

    Raises
    ------
    BackendError
        If it cannot be compiled, or the result does not give the numbers of the eager network.
    """
    if reason := obstacle(student, needs_compiler=True):
        raise BackendError(f"the student cannot be compiled: {reason}")

    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):  # said before a minute is lost
        raise BackendError(f"cannot write to {folder}; give the package another place")

    def fail(error: DistillerError) -> None:
        raise error

    n_threads = threads or torch.get_num_threads()
    tracing.build_and_keep(
        path, lambda built: _write(student, built, n_threads), lambda built: Package(student, built), tell=fail
    )


def facts(student: Student, threads: int) -> dict[str, str]:
    """Return what a package of a student says about itself.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> told = facts(Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6}), threads=1)
    >>> told["device"], told["dtype"], told["threads"]
    ('cpu', 'float32', '1')
    """
    device, name = student.device, tracing.processor(student.device)
    return {
        "format": FORMAT,
        "version": str(VERSION),
        "student": _digest(student),
        "device": device.type,
        "dtype": str(student.dtype).removeprefix("torch."),
        "threads": str(threads),
        "torch": torch.__version__,
        "release": __version__,
        "processor": name if device.type == "cuda" else f"{name}, {torch.backends.cpu.get_cpu_capability()}",
    }


def read_facts(path: Path) -> dict[str, str]:
    """Return what a package says about itself, without loading it.

    Raises
    ------
    BackendError
        If it is missing, damaged, or not a package of a student.
    """
    if not path.is_file():
        raise BackendError(f"{path} does not exist; build it with `mlffd compile STUDENT --out {path}`")
    if not tracing.is_whole(path):
        raise BackendError(f"{path} is damaged or no package; build it anew with `mlffd compile STUDENT --out {path}`")
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("_metadata.json"):
                told = _parsed(archive.read(name))
                if told.get("format") == FORMAT:
                    return told
    raise BackendError(f"{path} is not a compiled student; build one with `mlffd compile STUDENT --out NAME.pt2`")


def demand_fits(path: Path, student: Student) -> None:
    """Refuse a package that was built from another student, or for something else than there is here.

    Raises
    ------
    BackendError
        The sentence names the first difference.
    """
    there, here = read_facts(path), facts(student, threads=0)
    again = f"build it anew with `mlffd compile STUDENT --out {path}`"
    if there.get("version") != here["version"]:
        raise BackendError(f"{path} has format version {there.get('version')}, this release reads {VERSION}; {again}")
    for fact, words in _FACTS.items():
        if there.get(fact) != here[fact]:
            raise BackendError(f"{path} was compiled {words} {there.get(fact)}, here it is {here[fact]}; {again}")
    if there.get("student") != here["student"]:
        raise BackendError(f"{path} was compiled from another student; {again}")


def _kept(student: Student, tell: Callable[[str], None]) -> Any:
    """Return the package in the user's cache; build it if need be."""
    place = _place(student)
    if tracing.is_whole(place):
        return _loaded(place, student)
    if reason := obstacle(student, needs_compiler=True):
        raise BackendError(f"the student cannot be compiled: {reason}")
    tell("compiling the student for this machine, once; this takes about a minute")
    return tracing.build_and_keep(
        place,
        lambda path: _write(student, path, torch.get_num_threads()),
        lambda path: _loaded(path, student),
        tell=lambda error: tell(f"the compiled student is not kept for the next time: {error}"),
    )


def _place(student: Student) -> Path:
    return tracing.cache_folder("packages") / f"{digest(facts(student, torch.get_num_threads()))[:24]}.pt2"


def _write(student: Student, path: Path, threads: int) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own parts
            graph, inputs = program(student)
            told = {FORMAT: json.dumps(facts(student, threads))}
            tracing.write_package(graph, inputs, AXES, path, threads=threads, metadata=told)
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackendError(f"AOTInductor failed to compile the student ({first[:200]}); use backend='eager'") from error


def _loaded(path: Path, student: Student) -> Any:
    try:
        return tracing.load_package(path, student.device)
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackendError(
            f"{path} cannot be loaded ({first[:200]}); build it anew with `mlffd compile STUDENT --out {path}`"
        ) from error


def _parsed(content: bytes) -> dict[str, str]:
    """Return our part of the metadata of a package; nothing if there is none."""
    try:
        told = json.loads(json.loads(content)[FORMAT])
    except (ValueError, KeyError, TypeError):
        return {}
    return told if isinstance(told, dict) else {}


def _digest(student: Student) -> str:
    """Return a digest of all that a student calculates with; the same in each precision that holds its weights."""
    tensors = [*student.named_parameters(), *student.named_buffers()]
    values = {
        name: hashlib.sha256(tensor.detach().double().cpu().numpy().tobytes()).hexdigest() for name, tensor in tensors
    }
    return digest([student.plan.model_dump(mode="json"), list(student.elements), values])
