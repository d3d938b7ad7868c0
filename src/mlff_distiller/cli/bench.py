"""``mlffd bench``: students and teachers side by side on this machine, and against what was measured before."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mlff_distiller.core.console import CONSOLE, print_tables
from mlff_distiller.core.errors import DistillerError

if TYPE_CHECKING:
    from mlff_distiller.benchmarking.baseline import Change
    from mlff_distiller.benchmarking.benchmark import Benchmark, BenchmarkPlan
    from mlff_distiller.benchmarking.contenders import Entrant
    from mlff_distiller.benchmarking.systems import Systems

_NOBODY: Final = "none"


def bench(  # noqa: PLR0913 - each is an option
    targets: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[STUDENT|RUN]...",
            help="Student files, NAME.safetensors, or run directories: all their students and their teacher.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            metavar="KIND|FILE",
            help="Time a teacher too: a kind such as xtb, or a file with its settings or a recipe; none: leave out "
            "that of a run directory.",
        ),
    ] = None,
    structures: Annotated[
        list[Path] | None,
        typer.Option(
            "--structure",
            metavar="FILE",
            help="File of a structure, of which the first frame is taken; repeatable. "
            "[default: those that the first student keeps]",
        ),
    ] = None,
    backends: Annotated[
        list[str] | None,
        typer.Option(
            "--backend",
            metavar="NAME",
            help="Time students by this backend, beside eager; repeatable. [default: all for one student alone, else "
            "the fastest of each]",
        ),
    ] = None,
    batches: Annotated[
        str | None,
        typer.Option(
            "--batches",
            metavar="N,N,...",
            help="Copies of the largest structure in one call, for the throughput. [default: 1,8,64 unless structures "
            "are given]",
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            "--sizes",
            metavar="N,N,...",
            help="Copies of the largest structure in one larger one, for the scaling: supercells of a crystal, "
            "clusters of a molecule.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads on a CPU. [default: OMP_NUM_THREADS, or one per core]"),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.0, help="Time for each potential and system; three calls at least.")
    ] = 2.0,
    longest: Annotated[
        float,
        typer.Option("--longest-call-s", min=0.001, help="Leave out who would take longer for a single call."),
    ] = 20.0,
    devices: Annotated[
        list[str] | None, typer.Option("--device", help="Where students run: cpu or cuda; repeatable. [default: cpu]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the rows to this file, as JSON lines.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with figures to this file.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option("--save-baseline", metavar="FILE", help="Keep what is measured, to compare with it later."),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            "--compare",
            metavar="FILE",
            help="Measure again what a baseline holds; ends with code 1 if anything became slower.",
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0.0, help="How much slower does not count, as a part of the time.")
    ] = 0.1,
) -> None:
    """Time energies and forces of students and teachers on this machine, side by side.

    Atoms move a little from call to call, as in dynamics, and finding the neighbors counts. All take turns, so that
    whatever else the machine does hits all of them. The first time, some backends are compiled for about a minute.
    """
    _demand_outputs([path for path in (out, html, save) if path is not None], [*(targets or ()), compare])
    plan = _plan(threads=threads, seconds=seconds, batches=batches, sizes=sizes, longest=longest)
    if compare is not None:
        if teacher or structures or backends or batches or sizes or devices:
            raise DistillerError(
                "--compare measures what the baseline holds; leave out --teacher, --structure, --backend, --batches, "
                "--sizes and --device"
            )
        changes, found, same = _compared(compare, targets or [], plan, tolerance)
    elif not targets and teacher in (None, _NOBODY):
        raise DistillerError("there is nothing to time; give a student file, a run directory or --teacher xtb")
    else:
        asked = _backends(targets or [], backends, alone=not (teacher or sizes or save))
        entrants = _entrants(targets or [], teacher, asked, devices or ["cpu"], plan)
        (found, systems), changes, same = _measured(entrants, structures, plan), [], True
        if save is not None:
            _save(save, found, systems)
    _print(found, changes, tolerance, same_machine=same)
    _write(found, changes, out=out, html=html, tolerance=tolerance)
    if slower := [change for change in changes if change.ratio.outcome(tolerance) == "slower"]:
        names = ", ".join(f"{change.name} on {change.system}" for change in slower)
        CONSOLE.print(
            f"Slower than the baseline by more than {100 * tolerance:g} % and beyond noise: {names}.", style="red"
        )
        raise typer.Exit(1)
    if compare is not None:
        CONSOLE.print(
            f"Nothing is slower than {compare} by more than {100 * tolerance:g} % beyond noise.", markup=False
        )


def _demand_outputs(outputs: Sequence[Path], inputs: Sequence[Path | None]) -> None:
    taken = {path.resolve() for path in inputs if path is not None}
    for path in outputs:
        if path.is_dir() or path.resolve() in taken:
            raise DistillerError(f"{path} is a directory or one of the inputs; give another file to write to")


def _plan(
    *, threads: int | None, seconds: float, batches: str | None, sizes: str | None, longest: float
) -> "BenchmarkPlan":
    from mlff_distiller.benchmarking.benchmark import BenchmarkPlan

    return BenchmarkPlan(
        seconds=seconds,
        threads=threads,
        batches=None if batches is None else _numbers("--batches", batches),
        sizes=() if sizes is None else _numbers("--sizes", sizes),
        longest_call_s=longest,
    )


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Return whole numbers that are given with commas."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise DistillerError(f"{option} {text}: give whole numbers from 1 on with commas, for instance 1,8,64")
    return tuple(map(int, parts))


def _backends(targets: Sequence[Path], given: list[str] | None, *, alone: bool) -> list[str]:
    """Return which backends students are timed by: those asked for with eager, all for one student alone, or any."""
    from mlff_distiller.students.backends import BACKENDS

    for name in given or ():
        BACKENDS.get(name)
    if given:
        return list(dict.fromkeys(["eager", *given]))
    if alone and len(targets) == 1 and not targets[0].is_dir():
        return list(dict.fromkeys(["eager", *BACKENDS.names()]))
    return ["auto"]


def _entrants(
    targets: Sequence[Path], teacher: str | None, backends: Sequence[str], devices: Sequence[str], plan: "BenchmarkPlan"
) -> "list[Entrant]":
    from mlff_distiller.benchmarking import contenders
    from mlff_distiller.benchmarking.turns import threads_of_torch
    from mlff_distiller.cli.compile import demand_device

    for device in devices:
        demand_device(device)
    entrants: list[Entrant] = []
    for name, path in contenders.student_files(targets).items():
        for device in devices:
            called = name if len(devices) == 1 else f"{name} on {device}"
            settings: dict[str, Any] = {"device": device, "n_threads": plan.threads or threads_of_torch()}
            entrants += contenders.student_entrants(path, name=called, backends=backends, **settings)
    rival = None if teacher == _NOBODY else contenders.teacher(teacher) if teacher else None
    if teacher is None:
        rival = contenders.teacher_of_run(targets)
    everybody = [*entrants, rival] if rival is not None else entrants
    first = rival or everybody[0]
    return [replace(one, base=one.base or first.name) for one in everybody]


def _measured(
    entrants: "list[Entrant]", files: list[Path] | None, plan: "BenchmarkPlan"
) -> "tuple[Benchmark, Systems]":
    single = _read(files) if files else _kept(entrants)
    systems = plan.systems(single, given=bool(files))
    return plan.measure(entrants, systems, tell=_tell), systems


def _tell(text: str) -> None:
    CONSOLE.print(f"  {text}", markup=False)


def _read(paths: list[Path]) -> "Systems":
    from mlff_distiller.atoms.conversion import read_structures

    systems: Systems = {}
    for path in paths:
        systems[path.stem if path.stem not in systems else str(path)] = read_structures(path, index="0")
    return systems


def _kept(entrants: "list[Entrant]") -> "Systems":
    """Return the structures that the first student keeps."""
    from mlff_distiller.benchmarking.systems import kept
    from mlff_distiller.students.checkpoint import read_header

    file = next((entrant.file for entrant in entrants if entrant.file is not None), None)
    systems = kept(read_header(file)["references"]) if file is not None else {}
    if not systems:
        raise DistillerError(f"{file or 'a teacher alone'} keeps no structures; give one with --structure FILE")
    return systems


def _save(path: Path, found: "Benchmark", systems: "Systems") -> None:
    from mlff_distiller.benchmarking.baseline import write_baseline

    write_baseline(path, found, systems)
    CONSOLE.print(f"Baseline: {path.resolve()}; later: mlffd bench --compare {path}", markup=False)


def _compared(
    path: Path, targets: Sequence[Path], plan: "BenchmarkPlan", tolerance: float
) -> "tuple[list[Change], Benchmark, bool]":
    """Return what changed since a baseline, what was measured for it, and whether it is of this machine."""
    from mlff_distiller.benchmarking.baseline import compare, matched, read_baseline

    baseline = read_baseline(path)
    if plan.threads not in (None, baseline.threads):
        raise DistillerError(f"{path} was measured with {baseline.threads} thread(s); leave out --threads")
    plan = plan.model_copy(update={"threads": baseline.threads})
    entrants = baseline.entrants() if not targets else matched(_given(targets, baseline.contenders, plan), baseline)
    if not baseline.is_of_this_machine:
        CONSOLE.print(
            f"{path} was measured on another machine ({baseline.machine.get('processor')}, "
            f"{baseline.machine.get('cores')} cores): only times over those of the reference work are compared.",
            markup=False,
        )
    rival = next((one.name for one in entrants if one.kind == "teacher"), entrants[0].name)
    entrants = [replace(one, base=one.base or rival) for one in entrants]
    changes, found = compare(baseline, entrants, plan, tolerance=tolerance, tell=_tell)
    return changes, found, baseline.is_of_this_machine


def _given(targets: Sequence[Path], known: Any, plan: "BenchmarkPlan") -> "list[Entrant]":
    """Return the students given, each on the device and by the backend that the baseline has for its name."""
    from mlff_distiller.benchmarking.contenders import student_entrants, student_files

    files, students = student_files(targets), [entry for entry in known.values() if entry.kind == "student"]
    entrants = []
    for name, path in files.items():
        own = [entry for entry in students if entry.contender.partition(", ")[0] == name]
        own = own or (students if len(files) == len(students) == 1 else [])
        for entry in own:
            settings: dict[str, Any] = {"device": entry.device, "n_threads": plan.threads}
            entrants += student_entrants(path, name=entry.contender, backends=(entry.backend,), **settings)
    return entrants


def _print(found: "Benchmark", changes: "Sequence[Change]", tolerance: float, *, same_machine: bool) -> None:
    from mlff_distiller.benchmarking.crossover import report
    from mlff_distiller.cli.bench_tables import benchmark_table, changes_table

    print_tables([benchmark_table(found), *map(str, found.refusals), *report(found)])
    if changes:
        print_tables([changes_table(changes, tolerance, same_machine=same_machine)])


def _write(
    found: "Benchmark", changes: "Sequence[Change]", *, out: Path | None, html: Path | None, tolerance: float
) -> None:
    from mlff_distiller.core.files import write_text

    if out is not None:
        rows = [
            {**row.to_json(), "times_base": found.times_faster(row), "base": row.entrant.base} for row in found.rows
        ]
        rows += [refusal.to_json() for refusal in found.refusals]
        write_text(out, "".join(json.dumps(row) + "\n" for row in rows))
        CONSOLE.print(f"Rows: {out.resolve()}", markup=False)
    if html is not None:
        from mlff_distiller.benchmarking.page import benchmark_page

        write_text(html, benchmark_page(found, changes, tolerance=tolerance))
        CONSOLE.print(f"Page: {html.resolve()}", markup=False)
