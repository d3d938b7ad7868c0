"""``mlffd``: the commands, and how errors end."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mlff_distiller import __version__
from mlff_distiller.cli.bench import bench
from mlff_distiller.cli.compare import compare
from mlff_distiller.cli.compile import compile_student
from mlff_distiller.cli.forecast import forecast
from mlff_distiller.cli.lazy import Commands
from mlff_distiller.cli.profile import profile
from mlff_distiller.cli.search import search
from mlff_distiller.cli.train import Overrides, Workers, train
from mlff_distiller.cli.validate import validate
from mlff_distiller.cli.verdict import verdict
from mlff_distiller.core.console import CONSOLE, print_tables
from mlff_distiller.core.errors import DistillerError

app = typer.Typer(
    name="mlffd",
    cls=Commands,
    help="Distill a large force field into a small, fast student, and say honestly whether to trust it.",
    epilog="Start with: mlffd init, then mlffd run recipe.yaml --out my-run",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeFile = Annotated[Path, typer.Argument(help="Recipe (YAML); `mlffd init` writes one.")]
Out = Annotated[
    Path,
    typer.Option("--out", "-o", help="Output directory; made if missing, continued if it holds this recipe's run."),
]


@app.command()
def run(recipe: RecipeFile, out: Out, overrides: Overrides = None, workers: Workers = 0) -> None:
    """Run a whole recipe: draw, label, train, validate, judge, report.

    Interrupted or killed, the same command continues. Run again when finished, it does nothing. After a change of
    a setting it repeats only what depends on it.
    """
    _run(recipe, out, overrides, workers, until="report")


@app.command()
def sample(recipe: RecipeFile, out: Out, overrides: Overrides = None, workers: Workers = 0) -> None:
    """Draw structures around the seeds, and stop."""
    _run(recipe, out, overrides, workers, until="sample")


@app.command()
def label(recipe: RecipeFile, out: Out, overrides: Overrides = None, workers: Workers = 0) -> None:
    """Label the drawn structures with the teacher (drawing them first if need be), and stop."""
    _run(recipe, out, overrides, workers, until="label")


app.command()(train)
app.command()(forecast)
app.command()(search)


app.command()(validate)
app.command()(verdict)
app.command()(compare)
app.command("compile")(compile_student)
app.command()(bench)
app.command()(profile)


@app.command()
def info(path: Annotated[Path, typer.Argument(help="A run directory, a data set or a student file.")]) -> None:
    """Say what a run directory, a data set or a student file holds."""
    from mlff_distiller.cli.info import describe

    print_tables(describe(path))


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("recipe.yaml"),
    smiles: Annotated[str, typer.Option(help="Molecule to start from.")] = "CCO",
    name: Annotated[str, typer.Option(help="Name of the run.")] = "my-molecule",
) -> None:
    """Write a starter recipe in which every setting is explained."""
    from mlff_distiller.recipes.starter import write_starter

    write_starter(path, smiles=smiles, name=name)
    typer.echo(f"Wrote {path}. Edit it, then: mlffd run {path} --out {name}")


def _run(recipe: Path, out: Path, overrides: list[str] | None, workers: int, *, until: str) -> None:
    from mlff_distiller.cli.running import run_recipe

    run_recipe(recipe, out, overrides=overrides, n_workers=workers, until=until)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"mlffd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of the command itself."""


def main() -> None:
    """Run ``mlffd``: foreseen errors become one sentence and exit code 2."""
    try:
        app()
    except DistillerError as error:
        CONSOLE.print(f"mlffd: {error}", style="red", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
