"""``mlffd teacher``: the commands about teachers; each reads its arguments, calls one function and prints tables."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from mlff_distiller.cli.teacher_audit import audit
from mlff_distiller.core.console import CONSOLE, print_tables, progress_bars
from mlff_distiller.teachers import TEACHERS

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command()(audit)


@app.command("list")
def list_() -> None:
    """List all kinds of teachers, and say which of them can run here."""
    from mlff_distiller.cli.teacher_tables import kinds_table

    print_tables([kinds_table()])


@app.command()
def info(
    what: Annotated[str, typer.Argument(metavar="KIND|RECIPE", help="Kind of a teacher, or a recipe's file.")],
) -> None:
    """Say what a kind of teacher needs and which settings it has; of a recipe, what its teacher can do.

    For a recipe the teacher is built, which loads its weights.
    """
    from mlff_distiller.cli.teacher_tables import kind_tables, potential_table

    path = Path(what)
    if what in TEACHERS.names() or not (path.is_file() or path.suffix in (".yaml", ".yml")):
        print_tables(kind_tables(TEACHERS.get(what)))
        return
    from mlff_distiller.recipes.recipe import load

    plan = load(path).teacher.located(path.resolve().parent)
    print_tables([potential_table(str(path), plan.build())])


@app.command()
def install(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Kind of the teacher; `mlffd teacher list` names all.")],
    environment: Annotated[
        Path | None,
        typer.Option(
            "--environment",
            help="Folder of the new environment; unless given, the one that recipes call `environment: installed`.",
        ),
    ] = None,
    python: Annotated[
        str,
        typer.Option("--python", metavar="EXE", help="Python, 3.11 or newer, to make it of; this one unless given."),
    ] = sys.executable,
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="REQUIREMENT",
            help='Install this too, or in this version, for instance --with "jax[cuda12]"; may be repeated.',
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Make it anew if it is there.")] = False,
) -> None:
    """Make a Python environment for a teacher, and prove that the teacher's library loads in it.

    Interrupted or killed, the same command begins it anew; what was downloaded is kept by pip.
    """
    from mlff_distiller.potentials.worker.environment import INSTALLED, place_of
    from mlff_distiller.teachers.installed import installed
    from mlff_distiller.teachers.installing import install as make

    plan = TEACHERS.get(kind)
    if not plan.requirements and not more:
        CONSOLE.print(f"teacher '{kind}' needs no environment of its own; there is nothing to install.", markup=False)
        return
    folder = place_of(INSTALLED if environment is None else str(environment), kind)
    before = None if again else installed(folder)
    with progress_bars() as bars:
        done = make(plan, folder, python=python, more=more or (), again=again, reporter=bars)
    state = "is installed" if before is None else "was there already; --again makes it anew"
    content = ", ".join([f"Python {done.python}", *done.versions(done.requirements)])
    CONSOLE.print(f"teacher '{kind}' {state}: {content}", markup=False)
    if done.requirements != (*plan.requirements, *(more or ())):
        CONSOLE.print(
            f"It was made for other requirements: {' '.join(map(shlex.quote, done.requirements))}", markup=False
        )
    CONSOLE.print(f"In a recipe's teacher: environment: {INSTALLED if environment is None else folder}", markup=False)
