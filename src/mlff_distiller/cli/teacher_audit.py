"""``mlffd teacher audit``: what the numbers of a recipe's teacher are worth, before a label is paid for."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from mlff_distiller.core.console import CONSOLE, print_tables, progress_bars
from mlff_distiller.core.errors import DistillerError
from mlff_distiller.validation.audit.result import AuditResult, read_audit

_STYLES = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "magenta", "REPORTED": "", "NOT_RUN": "dim"}


def audit(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML); `mlffd init` writes one.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Run directory, in which `mlffd run` goes on; a temporary one unless given."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a setting, for instance --set audit.budget_s=600; may be repeated.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", "-j", min=0, help="Worker processes; 0: one per core.")] = 0,
) -> None:
    """Measure what a recipe's teacher is worth before it draws or labels anything.

    Around the starting geometries of the recipe it compares forces with energies, turns and strains structures,
    looks for jumps, times calls and runs a short dynamics. Prints what was found and the error that no student
    can beat.
    """
    from mlff_distiller.recipes.recipe import load

    plan = load(recipe, overrides=[*(overrides or []), "audit.enabled=true"])
    from mlff_distiller.recipes.pipeline import run_pipeline  # loads torch: a mistake in the recipe is said before
    from mlff_distiller.recipes.run_directory import RunDirectory

    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlffd-audit-")))
        directory = RunDirectory(folder)
        stack.enter_context(directory.opened(plan))
        try:
            with progress_bars() as bars:
                run_pipeline(plan, directory, until="audit", n_workers=workers, reporter=bars)
        except DistillerError:
            if (
                directory.record("audit") is None and directory.audit_file.exists()
            ):  # found hopeless: the table says why
                print_tables([audit_table(read_audit(directory.audit_file))])
            raise
        result = read_audit(directory.audit_file)
        print_tables([audit_table(result), result.floor_sentence])
    if out is not None:
        CONSOLE.print(f"Audit: {directory.audit_file.resolve()}", markup=False)


def audit_table(result: AuditResult) -> Table:
    """Return the outcome and the sentence of every theme as a table."""
    table = Table(
        title=f"{result.name}: what its numbers are worth", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0)
    )
    table.add_column("theme", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("what it means")
    for theme in result.themes:
        table.add_row(theme.title, theme.outcome.replace("_", " "), theme.sentence, style=_STYLES[theme.outcome])
    return table
