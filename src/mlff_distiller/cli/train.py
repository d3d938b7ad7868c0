"""``mlffd train``: students from a recipe, or from any labeled data without one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlff_distiller.core.console import CONSOLE, Silent, print_tables, progress_bars, titled_table
from mlff_distiller.core.errors import PlanError

if TYPE_CHECKING:
    from rich.table import Table

    from mlff_distiller.distillation.plan import TrainingPlan
    from mlff_distiller.distillation.world import World
    from mlff_distiller.recipes.data_recipe import DataRecipe
    from mlff_distiller.recipes.recipe import Recipe

Target = Annotated[
    Path | None,
    typer.Argument(
        metavar="TARGET",
        help="Recipe (YAML), data set, or file of labeled structures that `mlffd data import` reads.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Output directory; made if missing, continued if it holds the same run."),
]
Students = Annotated[
    list[str] | None,
    typer.Option(
        "--student",
        metavar="PRESET",
        help="Preset to train on data: tiny (default), original or ultra-tiny; repeatable.",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of everything random.")]
Validation = Annotated[
    float | None, typer.Option("--validation", help="Part of the data that watches the training. [default: 0.1]")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change a setting, for instance --set training.n_steps=8000; may be repeated.",
        metavar="KEY=VALUE",
    ),
]
Workers = Annotated[
    int, typer.Option("--workers", "-j", min=0, help="Worker processes, each with one thread; 0: one per core.")
]


def train(  # noqa: PLR0913 - each is an option
    target: Target = None,
    out: Out = None,
    students: Students = None,
    overrides: Overrides = None,
    seed: Seed = None,
    validation: Validation = None,
    start_from: Annotated[
        Path | None, typer.Option("--start-from", metavar="STUDENT", help="Go on from the weights of this student.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", metavar="STORE", help="Data set of reference labels to mix in.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Continue the run in DIR with its settings.")
    ] = None,
    workers: Workers = 0,
) -> None:
    """Train students on labeled data, or with a recipe (after what comes before, if need be), and stop.

    Leaves DIR/students/NAME.safetensors, DIR/training/NAME/ with the history, DIR/split.h5, DIR/errors.json and all
    settings in DIR/recipe.yaml, which is a recipe for this command itself. Interrupted or killed, the same command
    continues, and so does --resume DIR. After a change of a setting, what depends on it is done anew.

    Started by torchrun, as in `torchrun --no-python --nproc-per-node 4 mlffd train ...`, several processes train each
    student together.
    """
    from mlff_distiller.distillation.distributed import world

    given = _given(seed=seed, validation=validation, start_from=start_from, reference=reference)
    if resume is not None and (target is not None or out is not None or students or overrides or given):
        raise PlanError("--resume DIR takes all settings from DIR; leave the others out, or repeat them without it")
    with world() as processes:
        if resume is not None:
            recipe, out = _resumed(resume), resume
        elif target is not None and out is not None:
            recipe = _recipe(target, students or [], start_from, given, overrides)
        else:
            raise PlanError("say what to train on and where to: mlffd train TARGET --out DIR, or --resume DIR alone")
        _train_together(out, recipe, processes, workers)


def _resumed(folder: Path) -> "Recipe | DataRecipe":
    from mlff_distiller.recipes.target import recipe_of_run

    return recipe_of_run(folder)


def _recipe(
    target: Path, names: list[str], start_from: Path | None, given: dict[str, Any], overrides: list[str] | None
) -> "Recipe | DataRecipe":
    """Return the recipe of a target; on data, a student that is gone on from says its own settings."""
    from mlff_distiller.recipes.target import is_data, plain_name, presets, recipe_of
    from mlff_distiller.students.checkpoint import read_header

    students = presets(names)
    if start_from is not None and not names and is_data(target):
        students = {plain_name(start_from): read_header(start_from)["plan"]}
    return recipe_of(target, students=students, given=given, overrides=overrides)


def _train_together(out: Path, recipe: "Recipe | DataRecipe", world: "World", n_workers: int) -> None:
    from mlff_distiller.recipes.pipeline import run_pipeline
    from mlff_distiller.recipes.run_directory import RunDirectory
    from mlff_distiller.recipes.training_steps import read_errors

    _demand_files(recipe.training)
    directory = RunDirectory(out)
    if world.rank:
        run_pipeline(recipe, directory, until="errors", reporter=Silent(), world=world)
        return
    with directory.opened(recipe), progress_bars() as bars:
        n_run = run_pipeline(recipe, directory, until="errors", n_workers=n_workers, reporter=bars, world=world)
    if n_run == 0:
        CONSOLE.print(f"{out} is up to date; nothing to do.", markup=False)
    print_tables([errors_table(recipe.name, read_errors(directory.errors_file))])
    CONSOLE.print(f"Students: {directory.student_file('NAME').parent.resolve()}", markup=False)


def _demand_files(plan: "TrainingPlan") -> None:
    """Refuse files that are not there before anything is begun."""
    from mlff_distiller.data.storage.store import Store
    from mlff_distiller.students.checkpoint import read_header

    if plan.start_from is not None:
        read_header(plan.start_from)
    if plan.reference_data is not None:
        Store.open(Path(plan.reference_data))


def errors_table(name: str, errors: dict[str, Any]) -> "Table":
    """Return the errors of all students as a table."""
    sizes = errors["n_structures"]
    columns = ["student", "trained on", "validation F", "test F", "test E"]
    columns += ["reference F", "reference E"] if "reference_test" in sizes else []
    table = titled_table(f"{name}: errors (RMSE; F in meV/Å, E in meV/atom)", *columns, numbers=columns[2:])
    for student, row in errors["students"].items():
        cells = [row["validation"]["force_rmse"], row["test"]["force_rmse"], row["test"]["energy_rmse_per_atom"]]
        if "reference_test" in row:
            cells += [row["reference_test"]["force_rmse"], row["reference_test"]["energy_rmse_per_atom"]]
        table.add_row(student, row["labels"], *(_milli(cell) for cell in cells))
    held = {"segment": "whole trajectory segments", "random": "single structures, near-copies together"}
    kind = errors["split"]
    table.caption = f"test: {sizes['test']:,} structures that no training saw; held out: {held.get(kind, kind)}"
    return table


def _milli(value: float | None) -> str:
    return "-" if value is None else f"{1e3 * value:.1f}"


def _given(
    *, seed: int | None, validation: float | None, start_from: Path | None, reference: Path | None
) -> dict[str, Any]:
    values = {
        "seed": seed,
        "split.validation_fraction": validation,
        "training.start_from": start_from and str(start_from.resolve()),
        "training.reference_data": reference and str(reference.resolve()),
    }
    return {key: value for key, value in values.items() if value is not None}
