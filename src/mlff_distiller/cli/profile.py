"""``mlffd profile``: where the time and the memory of a dynamics step go."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlff_distiller.core.console import CONSOLE, print_tables, titled_table
from mlff_distiller.core.errors import DistillerError

if TYPE_CHECKING:
    from rich.table import Table

    from mlff_distiller.atoms.structure import Structure
    from mlff_distiller.benchmarking.profile import Profile

_MOST_OPERATORS = 12


def profile(  # noqa: PLR0913 - each is an option
    student: Annotated[Path, typer.Argument(metavar="STUDENT", help="Student file, NAME.safetensors.")],
    structure: Annotated[
        Path | None,
        typer.Option(
            "--structure",
            metavar="FILE",
            help="File of a structure, of which the first frame is taken. "
            "[default: the largest that the student keeps]",
        ),
    ] = None,
    n_steps: Annotated[int, typer.Option("--steps", min=20, help="Steps that are timed one by one.")] = 1000,
    backend: Annotated[
        str, typer.Option("--backend", metavar="NAME", help="What evaluates; auto: the fastest that is here.")
    ] = "auto",
    device: Annotated[str, typer.Option("--device", help="Where it runs: cpu or cuda.")] = "cpu",
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads on a CPU. [default: OMP_NUM_THREADS, or one per core]"),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with figures to this file.")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option("--trace", metavar="FILE", help="Write a trace that chrome://tracing and Perfetto open."),
    ] = None,
) -> None:
    """Run a short trajectory and say where the time and the memory of its steps go.

    First the steps are timed with nothing watched, then the parts of further steps, then their allocations. Neighbor
    list, conversions, network and integrator are told apart, and inside the compiled kernel messages and atom-wise
    work.
    """
    for path in (html, trace):
        if path is not None and (path.is_dir() or path.resolve() == student.resolve()):
            raise DistillerError(f"{path} is a directory or the student itself; give another file to write to")
    found = _profiled(student, structure, n_steps, backend, (device, threads))
    print_tables(lines(found))
    if html is not None:
        from mlff_distiller.benchmarking.profile_page import profile_page
        from mlff_distiller.core.files import write_text

        write_text(html, profile_page(found))
        CONSOLE.print(f"Page: {html.resolve()}", markup=False)
    if trace is not None:
        from mlff_distiller.core.files import write_text

        write_text(trace, json.dumps(found.trace()))
        CONSOLE.print(f"Trace: {trace.resolve()}; open it in https://ui.perfetto.dev", markup=False)


def _profiled(
    student: Path, structure: Path | None, n_steps: int, backend: str, where: tuple[str, int | None]
) -> "Profile":
    from mlff_distiller.cli.compile import demand_device
    from mlff_distiller.students.backends import BACKENDS
    from mlff_distiller.students.checkpoint import load, read_header

    device, threads = where
    read_header(student)
    demand_device(device)
    if backend != "auto":
        BACKENDS.get(backend)
    start = _start(student, structure)
    from mlff_distiller.benchmarking.backends import ready
    from mlff_distiller.benchmarking.profile import ProfilePlan
    from mlff_distiller.benchmarking.turns import threads_of_torch, torch_threads

    n_threads = threads or threads_of_torch()
    potential = ready(load(student, device=device), backend, n_threads)
    potential.check([start], ("energy", "forces"))
    with torch_threads(n_threads):
        return ProfilePlan(n_steps=n_steps).measure(
            potential, start, tell=lambda text: CONSOLE.print(f"  {text}", markup=False)
        )


def _start(student: Path, structure: Path | None) -> "Structure":
    from mlff_distiller.atoms.conversion import read_structures
    from mlff_distiller.benchmarking.systems import kept, largest
    from mlff_distiller.students.checkpoint import read_header

    if structure is not None:
        return read_structures(structure, index="0")[0]
    systems = kept(read_header(student)["references"])
    if not systems:
        raise DistillerError(f"{student} keeps no structures of its own; give one with --structure FILE")
    return largest(systems)[1]


def lines(found: "Profile") -> "Iterator[Table | str]":
    """Yield what a profile says, as lines and tables."""
    own = found.summary
    yield (
        f"{found.potential} on {found.system}, {found.n_atoms} atoms, backend {found.backend}: "
        f"{own['median']:.3f} ms per step (mean {own['mean']:.3f}, P95 {own['p95']:.3f}, P99 {own['p99']:.3f}), "
        f"{own['ns_per_day']:.1f} ns/day at {found.settings['timestep_fs']:g} fs"
    )
    yield _parts_table(found)
    if found.kernel is not None:
        yield _kernel_table(found)
    if found.operators is not None:
        yield _operators_table(found)
    yield _outliers_table(found) if found.outliers else "No step took far longer than the others."
    grown, peak, kept = found.memory_MB[-1] - found.memory_MB[0], found.allocation.peak_kB, found.allocation.kept_kB
    yield (
        f"Memory: {found.memory_MB[0]:.1f} MB, {grown:+.2f} MB over {len(found.step_ms):,} steps. A step allocates at "
        f"most {peak.mean():.1f} kB in Python, of which {kept.mean():.2f} kB stay."
    )


def _parts_table(found: "Profile") -> "Table":
    numbers = ("typical ms", "%", "mean ms", "calls")
    table = titled_table("Parts of a step", "part", *numbers, numbers=numbers)
    whole = sum(part.typical_ms for part in found.parts)
    for part in found.parts:
        share = f"{100 * part.typical_ms / whole:.1f}"
        table.add_row(part.label, f"{part.typical_ms:.4f}", share, f"{part.mean_ms:.4f}", f"{part.calls:.2f}")
    table.caption = (
        f"Typical: mean over the quicker half of {found.n_watched:,} watched steps, each of {found.watched_ms:.3f} ms "
        "(median), watching included."
    )
    return table


def _kernel_table(found: "Profile") -> "Table":
    assert found.kernel is not None
    numbers = ("ms", "%")
    table = titled_table("Inside the compiled kernel, one thread", "part", *numbers, numbers=numbers)
    whole = sum(found.kernel.parts_ms.values())
    for label, ms in sorted(found.kernel.parts_ms.items(), key=lambda item: -item[1]):
        table.add_row(label, f"{ms:.4f}", f"{100 * ms / max(whole, 1e-12):.1f}")
    table.caption = f"The call as a whole: {found.kernel.whole_ms:.4f} ms; parts called one by one: {whole:.4f} ms."
    return table


def _operators_table(found: "Profile") -> "Table":
    assert found.operators is not None
    numbers = ("processor ms", "GPU ms", "calls", "kB")
    table = titled_table("Operators of torch, per step", "operator", *numbers, numbers=numbers)
    for row in found.operators.rows[:_MOST_OPERATORS]:
        times = f"{row.cpu_ms:.4f}", f"{row.device_ms:.4f}"
        table.add_row(row.name, *times, f"{row.n_calls:.1f}", f"{row.memory_kB + row.device_memory_kB:.1f}")
    if found.operators.peak_device_MB is not None:
        table.caption = f"Most memory on the GPU: {found.operators.peak_device_MB:.1f} MB"
    return table


def _outliers_table(found: "Profile") -> "Table":
    numbers = ("steps", "longest ms", "% of all time")
    table = titled_table("Steps that took far longer", "what happened", *numbers, numbers=numbers)
    for cause, times in sorted(found.causes.items(), key=lambda item: -sum(item[1])):
        share = 100 * sum(times) / found.step_ms.sum()
        table.add_row(cause, str(len(times)), f"{max(times):.3f}", f"{share:.1f}")
    return table
