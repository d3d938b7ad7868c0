"""``mlffd validate``: any potential on trial, against any teacher, on any structures."""

from pathlib import Path
from typing import Annotated

import typer

Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="TARGET...",
        help="What is on trial: student files, kinds of teachers, package.module:function that returns an ASE "
        "calculator, YAML files with the settings of a teacher, or a run directory; or one recipe.",
    ),
]


def validate(  # noqa: PLR0913 - each is an option
    targets: Targets,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Output directory; made if missing, continued if it holds the same.")
    ],
    teacher: Annotated[
        str | None,
        typer.Option("--teacher", metavar="TEACHER", help="What it is held against, named as a target is."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="Labeled structures that it was not trained on: a data set, or a file that `mlffd data import` reads. "
            "[default: the teacher draws and labels some]",
        ),
    ] = None,
    structures: Annotated[
        list[Path] | None,
        typer.Option("--structure", metavar="FILE", help="Structures to start from without data; repeatable."),
    ] = None,
    smiles: Annotated[
        list[str] | None, typer.Option("--smiles", metavar="SMILES", help="Molecule to start from; repeatable.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a setting, for instance --set validation.nve.duration_ps=20; may be repeated.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", "-j", min=0, help="Worker processes; 0: one per core.")] = 0,
) -> None:
    """Measure potentials, judge them, and write a report.

    Errors on held-out frames, energy in constant-energy dynamics, physics, observables against the teacher, speed
    and memory. Interrupted or killed, the same command continues. With a recipe that trains students, it does what
    comes before too, as `mlffd run` does.
    """
    from mlff_distiller.core.errors import PlanError
    from mlff_distiller.recipes.trial_target import trial_of

    seeds = [{"kind": "file", "path": str(path.resolve())} for path in structures or ()]
    seeds += [{"kind": "smiles", "smiles": text} for text in smiles or ()]
    if seeds and data is not None:
        raise PlanError("--data says what is validated on; leave --structure and --smiles out")
    recipe = trial_of(targets, teacher=teacher, data=data, seeds=seeds, overrides=overrides)
    from mlff_distiller.cli.running import run_until

    run_until(recipe, out, until="report", n_workers=workers)
