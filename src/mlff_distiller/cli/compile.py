"""``mlffd compile``: a student as machine code for this computer."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mlff_distiller.core.console import CONSOLE
from mlff_distiller.core.errors import BackendError


class Precision(StrEnum):
    """Precisions that a student can be compiled in."""

    float32 = "float32"
    float64 = "float64"


def compile_student(
    student: Annotated[Path, typer.Argument(metavar="STUDENT", help="Student file, NAME.safetensors.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Package to write. [default: NAME.pt2 beside the student]"),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Where it will run: cpu or cuda.")] = "cpu",
    dtype: Annotated[Precision | None, typer.Option("--dtype", help="Precision. [default: as stored]")] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads on a CPU. [default: OMP_NUM_THREADS, or one per core]"),
    ] = None,
) -> None:
    """Compile a student for this machine, in about a minute, to a package that is several times faster on a CPU.

    The package holds for this student, this kind of processor and this version of torch, in one precision; it is
    refused elsewhere. Before it is written it must give the numbers of the student. Needs a C++ compiler.
    """
    import torch

    from mlff_distiller.students.backends.package import build
    from mlff_distiller.students.checkpoint import load

    out, began = out or student.with_suffix(".pt2"), time.monotonic()
    if out.resolve() == student.resolve():
        raise BackendError(f"the package would overwrite the student {student}; give another file with --out")
    demand_device(device)
    loaded = load(student, dtype=None if dtype is None else getattr(torch, dtype), device=device)
    CONSOLE.print(f"Compiling {student}; this takes about a minute.", markup=False)
    build(loaded, out, threads=threads)
    CONSOLE.print(f"Package: {out.resolve()} ({time.monotonic() - began:.0f} s)", markup=False)


def demand_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises
    ------
    BackendError
        If it is neither a CPU nor a CUDA device that is there.

    Examples
    --------
    >>> demand_device("cpu")
    """
    import torch

    try:
        known = torch.empty(0, device=device).device.type in ("cpu", "cuda")
    except (RuntimeError, AssertionError):  # torch knows no such name, or is built without it
        known = False
    if not known:
        raise BackendError(f"there is no device '{device}' here; give --device cpu, or cuda where there is a GPU")
