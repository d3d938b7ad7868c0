"""``mlffd forecast``: what error more training structures would bring."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlff_distiller.cli.train import Overrides, Seed, Students, Workers
from mlff_distiller.core.console import CONSOLE, print_tables, progress_bars, titled_table

if TYPE_CHECKING:
    from rich.table import Table

Data = Annotated[
    Path, typer.Argument(metavar="DATA", help="Data set, file of labeled structures, or run directory with labels.")
]
NewOut = Annotated[Path, typer.Option("--out", "-o", help="Output directory; made if missing, continued if begun.")]


def forecast(  # noqa: PLR0913 - each is an option
    data: Data,
    out: NewOut,
    students: Students = None,
    sizes: Annotated[
        str, typer.Option("--sizes", help="Parts of the training set to train on, one in the other.")
    ] = "1/8,1/4,1/2,1",
    repeats: Annotated[int, typer.Option("--repeats", help="Trainings of each size.")] = 2,
    more: Annotated[
        int | None, typer.Option("--more", min=1, help="Structures to add; as many as there are unless given.")
    ] = None,
    overrides: Overrides = None,
    seed: Seed = None,
    workers: Workers = 0,
) -> None:
    """Forecast the error that more training structures would bring, from trainings on parts of the present ones.

    Every training takes the same number of steps. Prints a forecast with its uncertainty and says when the curve is
    flat or the trainings too different to tell; leaves DIR/forecast.html and DIR/forecast.json. Interrupted or killed,
    the same command continues.
    """
    from mlff_distiller.recipes.target import data_recipe_of, extended, presets

    given = {} if seed is None else {"seed": seed}
    base = data_recipe_of(data, students=presets(students or []), given=given, overrides=overrides)
    from mlff_distiller.recipes.forecasting import ForecastRecipe, run_forecast
    from mlff_distiller.recipes.run_directory import RunDirectory

    recipe = extended(base, ForecastRecipe, forecast={"sizes": sizes, "n_repeats": repeats})
    directory = RunDirectory(out)
    with directory.opened(recipe), progress_bars() as bars:
        found = run_forecast(recipe, directory, more=more, n_workers=workers, reporter=bars)
    for name, facts in found["students"].items():
        print_tables([curve_table(name, facts), f"{name}: {facts['sentence']}"])
    CONSOLE.print(f"Plot: {(out / 'forecast.html').resolve()}", markup=False)


def curve_table(name: str, facts: dict[str, Any]) -> "Table":
    """Return measured and expected errors of a student as a table."""
    columns = ("structures", "test F", "spread")
    table = titled_table(f"{name}: learning curve (RMSE, meV/Å)", *columns, "", numbers=columns)
    for row in facts["measured"]:
        table.add_row(f"{row['n_structures']:,}", f"{1e3 * row['error']:.1f}", f"{1e3 * row['spread']:.1f}", "")
    expected = facts["forecast"]
    n = facts["measured"][-1]["n_structures"] + expected["more"]
    table.add_row(f"{n:,}", f"{1e3 * expected['error']:.1f}", f"{1e3 * expected['uncertainty']:.1f}", "expected")
    return table
