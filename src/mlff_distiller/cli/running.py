"""Running a recipe from the command line: headings, bars and the verdict table."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from mlff_distiller.core.console import CONSOLE, progress_bars
from mlff_distiller.recipes.recipe import load
from mlff_distiller.recipes.run_directory import RunDirectory

if TYPE_CHECKING:
    from mlff_distiller.recipes.recipe import Recipe
    from mlff_distiller.recipes.trial_recipe import TrialRecipe

_COLUMNS = (
    ("RMSE\nmeV/Å", "force_rmse", 1e3, ".0f"),
    ("force\nR²", "force_r2", 1.0, ".4f"),
    ("drift\n%", "nve_drift_percent", 1.0, ".3f"),
    ("step\nms", "step_time", 1.0, ".2f"),
    ("teacher\nms", "teacher_step_time", 1.0, ".2f"),
)
_STYLES = {"APPROVED": "green", "SCREENING_ONLY": "yellow", "REJECTED": "red", "INCONCLUSIVE": "magenta"}


def run_recipe(path: Path, out: Path, *, overrides: list[str] | None, n_workers: int, until: str) -> None:
    """Run a recipe up to a stage and print what came out."""
    run_until(load(path, overrides=overrides), out, until=until, n_workers=n_workers)


def run_until(recipe: "Recipe | TrialRecipe", out: Path, *, until: str, n_workers: int) -> None:
    """Run all stages of a recipe up to one and print what came out."""
    from mlff_distiller.recipes.pipeline import run_pipeline  # loads torch: a mistake in the recipe is said before

    directory = RunDirectory(out)
    with directory.opened(recipe), progress_bars() as bars:
        n_run = run_pipeline(recipe, directory, until=until, n_workers=n_workers, reporter=bars)
    if n_run == 0:
        CONSOLE.print(f"{out} is up to date; nothing to do.", markup=False)
    if until == "report":
        from mlff_distiller.recipes.judging import standing_verdict

        CONSOLE.print(verdict_table(recipe.name, standing_verdict(directory)))
        CONSOLE.print(f"Report: {directory.report_file.resolve()}", markup=False)
        folder = directory.student_file("NAME").parent
        if folder.exists():
            CONSOLE.print(f"Students: {folder.resolve()}", markup=False)


def verdict_table(name: str, verdict: dict[str, Any]) -> Table:
    """Return the verdicts of all students as a table."""
    table = Table(
        title=f"{name}: may the student replace the teacher?", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0)
    )
    table.add_column("student", no_wrap=True)
    table.add_column("para-\nmeters", no_wrap=True, justify="right")
    for title, *_ in _COLUMNS:
        table.add_column(title, no_wrap=True, justify="right")
    table.add_column("verdict", no_wrap=True)
    preset = verdict.get("criteria", {}).get("preset", "production")
    if preset != "production":
        table.caption = f"judged by the preset {preset}"
    for student, row in verdict["students"].items():
        values = {check["name"]: check["value"] for check in row["checks"]}
        cells = [_cell(values.get(check), factor, style) for _, check, factor, style in _COLUMNS]
        style = _STYLES[row["verdict"]]
        label = row["verdict"].replace("_", " ")
        size = "-" if row["n_parameters"] is None else f"{row['n_parameters']:,}"
        table.add_row(student, size, *cells, Text(label, style=f"bold {style}"))
    return table


def _cell(value: float | None, factor: float, style: str) -> str:
    return "-" if value is None else format(factor * value, style)
