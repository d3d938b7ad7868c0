"""``mlffd bench``: the backends of a student side by side on this machine."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mlff_distiller.core.console import CONSOLE, print_tables, titled_table
from mlff_distiller.core.errors import DistillerError

if TYPE_CHECKING:
    from rich.table import Table

    from mlff_distiller.atoms.structure import Structure
    from mlff_distiller.benchmarking.backends import BackendTime

_N_COPIES: Final = 16
_FIELDS: Final = ("numbers", "positions", "cell", "pbc", "charge", "spin")


def bench(
    student: Annotated[Path, typer.Argument(metavar="STUDENT", help="Student file, NAME.safetensors.")],
    structures: Annotated[
        list[Path] | None,
        typer.Option(
            "--structure",
            metavar="FILE",
            help="File of a structure, of which the first frame is taken; repeatable. "
            f"[default: those that the student keeps, and {_N_COPIES} copies of the largest in one call]",
        ),
    ] = None,
    backends: Annotated[
        list[str] | None,
        typer.Option("--backend", metavar="NAME", help="Backend to time beside eager; repeatable. [default: all]"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads on a CPU. [default: OMP_NUM_THREADS, or one per core]"),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.0, help="Time for each backend and structure; three calls at least.")
    ] = 2.0,
    device: Annotated[str, typer.Option("--device", help="Where it runs: cpu or cuda.")] = "cpu",
    out: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the rows to this file, as JSON lines.")
    ] = None,
) -> None:
    """Time energies and forces of a student by every backend that can be used on this machine, side by side.

    Atoms move a little from call to call, as in dynamics, and finding the neighbors counts. Backends take turns, so
    that whatever else the machine does hits all of them. The first time, some are compiled for about a minute.
    """
    from mlff_distiller.cli.compile import demand_device
    from mlff_distiller.students.backends import BACKENDS
    from mlff_distiller.students.checkpoint import load, read_header

    if out is not None and (out.is_dir() or out.resolve() == student.resolve()):
        raise DistillerError(f"{out} is a directory or the student itself; give another file with --json")
    entries = read_header(student)["references"]
    demand_device(device)
    for name in backends or ():
        BACKENDS.get(name)
    systems = _read(structures) if structures else _kept(entries)
    if not systems:
        raise DistillerError(f"{student} keeps no structures of its own; give one with --structure FILE")
    from mlff_distiller.benchmarking.backends import compare_backends

    rows = compare_backends(
        load(student, device=device),
        systems,
        backends=backends or (),
        n_threads=threads,
        seconds=seconds,
        tell=lambda text: CONSOLE.print(f"  {text}", markup=False),
    )
    print_tables([table(rows), *refusals(rows)])
    if out is not None:
        from mlff_distiller.core.files import write_text

        lines = [json.dumps({"student": student.name, "device": device, **row.to_json()}) for row in rows]
        write_text(out, "".join(line + "\n" for line in lines))
        CONSOLE.print(f"Rows: {out.resolve()}", markup=False)


def table(rows: "Sequence[BackendTime]") -> "Table":
    """Return the times of all that was timed as a table.

    Examples
    --------
    >>> from mlff_distiller.benchmarking.backends import BackendTime
    >>> table([BackendTime("eager", 1, system="H2", n_atoms=2, n_structures=1, median_ms=0.4)]).row_count
    1
    """
    from mlff_distiller.benchmarking.backends import TIMESTEP_FS

    numbers = ("atoms", "median ms", "P95 ms", "µs/atom", "ns/day", "over eager")
    threads = ", ".join(sorted({f"{row.threads} thread{'s' if row.threads > 1 else ''}" for row in rows}))
    found = titled_table(
        f"Energies and forces of moving atoms, {threads}", "system", "backend", *numbers, numbers=numbers
    )
    last = ""
    for row in rows:
        if row.reason:
            continue
        if last and row.system != last:
            found.add_section()
        times = f"{row.median_ms:.3f}", f"{row.p95_ms:.3f}", f"{row.us_per_atom:.1f}", f"{row.ns_per_day:,.1f}"
        name = row.system if row.system != last else ""
        found.add_row(name, row.backend, f"{row.n_atoms:,}", *times, f"{row.times_eager:.2f}")
        last = row.system
    found.caption = f"ns/day: at {TIMESTEP_FS} fs, all structures of a call together, without the integrator"
    return found


def refusals(rows: "Sequence[BackendTime]") -> list[str]:
    """Return a line for each backend that cannot be used.

    Examples
    --------
    >>> from mlff_distiller.benchmarking.backends import BackendTime
    >>> refusals([BackendTime("triton", 1, "there is no GPU")])
    ['triton cannot be used: there is no GPU']
    """
    return [f"{row.backend} cannot be used: {row.reason}" for row in rows if row.reason]


def _read(paths: "list[Path]") -> "dict[str, list[Structure]]":
    from mlff_distiller.atoms.conversion import read_structures

    systems: dict[str, list[Structure]] = {}
    for path in paths:
        name = path.stem if path.stem not in systems else str(path)
        systems[name] = read_structures(path, index="0")
    return systems


def _kept(entries: list[dict[str, Any]]) -> "dict[str, list[Structure]]":
    """Return the structures that a student keeps, one of each formula, and copies of the largest as one batch.

    The first is a chain of all its elements, which serves where there is nothing else.
    """
    from mlff_distiller.atoms.structure import Structure

    kept = [Structure(**{name: entry[name] for name in _FIELDS}) for entry in entries]
    systems = {structure.formula: [structure] for structure in kept[1:] or kept}
    if systems:
        name, (largest,) = max(systems.items(), key=lambda item: len(item[1][0]))
        systems[f"{name} x {_N_COPIES}"] = [largest] * _N_COPIES
    return systems
