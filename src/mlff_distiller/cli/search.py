"""``mlffd search``: better training settings, within a time budget."""

from typing import TYPE_CHECKING, Annotated

import typer

from mlff_distiller.cli.forecast import Data, NewOut
from mlff_distiller.cli.train import Overrides, Seed
from mlff_distiller.core.console import CONSOLE, print_tables, progress_bars, titled_table

if TYPE_CHECKING:
    from rich.table import Table

    from mlff_distiller.distillation.search import Found

_N_SHOWN = 8


def search(
    data: Data,
    out: NewOut,
    minutes: Annotated[float, typer.Option("--minutes", min=0.01, help="Time of this call.")] = 10.0,
    student: Annotated[
        str | None,
        typer.Option("--student", metavar="PRESET", help="Preset to search for: tiny, original or ultra-tiny."),
    ] = None,
    trial_seconds: Annotated[float, typer.Option("--trial-seconds", help="Time of each training.")] = 45.0,
    overrides: Overrides = None,
    seed: Seed = None,
) -> None:
    """Search learning rate, batch size and energy weight with Optuna, in short trainings that all take the same time.

    The first has the present settings, and errors are given relative to it; one that falls behind is stopped. The best
    settings are printed and left in DIR/best.yaml, to be pasted into a recipe. Called again, it goes on; Ctrl-C keeps
    what is found.
    """
    from mlff_distiller.recipes.target import data_recipe_of, extended, presets

    given = {} if seed is None else {"seed": seed}
    base = data_recipe_of(data, students=presets([student] if student else []), given=given, overrides=overrides)
    from mlff_distiller.recipes.run_directory import RunDirectory
    from mlff_distiller.recipes.searching import SearchRecipe, run_search, snippet

    recipe = extended(base, SearchRecipe, search={"trial_s": trial_seconds})
    directory = RunDirectory(out)
    with directory.opened(recipe), progress_bars() as bars:
        found = run_search(recipe, directory, minutes=minutes, reporter=bars)
    print_tables([trials_table(recipe.name, found), snippet(found.plan, recipe.training)])
    CONSOLE.print(f"Best settings: {(out / 'best.yaml').resolve()}", markup=False)
    if found.was_interrupted:
        raise KeyboardInterrupt


def trials_table(name: str, found: "Found") -> "Table":
    """Return the best trials as a table."""
    columns = ["trial", "error", "learning rate", "batch", "energy weight"]
    table = titled_table(f"{name}: errors relative to the present settings", *columns, numbers=columns)
    done = sorted((t for t in found.trials if t.score is not None), key=lambda t: t.score or 0.0)
    for trial in done[:_N_SHOWN]:
        weight = trial.settings.get("energy_weight")
        cells = [f"{trial.settings['learning_rate']:.2g}", str(trial.settings["batch_size"])]
        table.add_row(str(trial.number), f"{trial.score:.3f}", *cells, "-" if weight is None else f"{weight:.2g}")
    n, n_stopped = len(found.trials), len(found.trials) - len(done)
    table.caption = f"{n} trial{'' if n == 1 else 's'}, {n_stopped} not finished; trial 0: the present settings"
    return table
