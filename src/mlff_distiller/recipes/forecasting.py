"""Forecast of the learning curve as a run: nested subsets are trained on, and a law is drawn through their errors."""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from mlff_distiller import __version__
from mlff_distiller.core.console import Reporter
from mlff_distiller.core.files import write_json, write_text
from mlff_distiller.core.html.markup import Numbered
from mlff_distiller.core.html.markup import table as html_table
from mlff_distiller.core.html.page import Section, page
from mlff_distiller.core.html.plotting import PALETTE, Figure, layout, log_axis, rounded, translucent
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.distillation.distill import Task, distill
from mlff_distiller.distillation.evaluation import selection
from mlff_distiller.distillation.forecast import (
    ForecastPlan,
    LearningCurve,
    nested_rows,
    sentence,
    sizes_of,
    table_rows,
)
from mlff_distiller.recipes.data_recipe import DataRecipe
from mlff_distiller.recipes.held_out import LabeledData
from mlff_distiller.recipes.pipeline import data_stages
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.stages import Context, Stage, run_stages
from mlff_distiller.recipes.training_stages import split_stage
from mlff_distiller.recipes.training_steps import errors_on
from mlff_distiller.students import checkpoint


class ForecastRecipe(DataRecipe):
    """All settings of a forecast: those of a training on data, and the sizes."""

    purpose: ClassVar[str] = "forecast"

    forecast: ForecastPlan = Field(ForecastPlan(), description="Which trainings the forecast rests on.")


def run_forecast(
    recipe: ForecastRecipe, directory: RunDirectory, *, more: int | None, n_workers: int, reporter: Reporter
) -> dict[str, Any]:
    """Train what is not trained yet, and write ``forecast.json`` and ``forecast.html``.

    Parameters
    ----------
    recipe : ForecastRecipe
        All settings.
    directory : RunDirectory
        Opened output directory.
    more : int or None
        Additional structures to forecast for; as many as there are unless given.
    n_workers : int
        Worker processes; 0: one for each core.
    reporter : Reporter
        Where progress is shown.

    Returns
    -------
    dict
        What ``forecast.json`` holds.
    """
    run_stages(forecast_stages(recipe, directory), Context(recipe, directory, n_workers=n_workers), reporter)
    curves = _curves(recipe, directory)
    facts = {name: _facts(curve, more) for name, curve in curves.items()}
    found = {"unit": "eV/Angstrom", "students": facts}
    write_json(directory.path / "forecast.json", found)
    write_text(directory.path / "forecast.html", _page(recipe.name, curves, facts))
    return found


def forecast_stages(recipe: ForecastRecipe, directory: RunDirectory) -> list[Stage]:
    """Return the split and one training for each student, size and repeat."""
    before, content = data_stages(recipe, directory)
    split = split_stage(recipe, directory, before, content=content)
    return [*before, split, *(_training(recipe, directory, split, *which) for which in _trainings(recipe))]


def _trainings(recipe: ForecastRecipe) -> list[tuple[str, float, int]]:
    plan = recipe.forecast
    repeats = range(plan.n_repeats)
    return [(name, size, repeat) for name in recipe.students for size in plan.sizes for repeat in repeats]


def _training(
    recipe: ForecastRecipe, directory: RunDirectory, split: Stage, name: str, size: float, repeat: int
) -> Stage:
    title = _title(name, size, repeat)
    plan = recipe.training.content(exclude=("reference_data", "baseline"))
    settings = [recipe.seed, recipe.students[name].model_dump(mode="json"), plan, size, repeat]
    work = partial(train_on_subset, name=name, size=size, repeat=repeat)
    files = directory.training_files(title)
    return Stage("train", work, settings, [split], [directory.training(title)], student=title, files=files)


def _title(name: str, size: float, repeat: int) -> str:
    return f"{name}-{100 * size:.4g}pc-{repeat + 1}"


def train_on_subset(
    context: Context[ForecastRecipe], reporter: Reporter, *, name: str, size: float, repeat: int
) -> dict[str, Any]:
    """Train a student on a part of the training set and measure it on the test set."""
    recipe, data = context.recipe, LabeledData.of(context.directory, context.recipe)
    train, validation = data.to_train_on()
    n, seed = sizes_of(len(train), [size])[0], recipe.seed + repeat
    subset = MolecularDataset(train, rows=nested_rows(train, n, seed=seed), in_memory=True)
    task = Task(recipe.students[name], recipe.training, subset, validation, seed=seed, digest=context.digest)
    folder = context.directory.training(context.student)
    outcome = distill(task, folder, title=f"{name} on {n:,} structures ({repeat + 1})", reporter=reporter)
    errors = errors_on(checkpoint.load(folder / "best.safetensors"), data.part("test"))
    return {"n_structures": n, "error": selection(errors), "best_step": outcome.best_step}


def _curves(recipe: ForecastRecipe, directory: RunDirectory) -> dict[str, LearningCurve]:
    curves = {}
    for student in recipe.students:
        titles = [_title(*which) for which in _trainings(recipe) if which[0] == student]
        facts = [record["facts"] for title in titles if (record := directory.record(f"train-{title}"))]
        points = np.array([[fact["n_structures"], fact["error"]] for fact in facts], dtype=np.float64)
        curves[student] = LearningCurve(points[:, 0], points[:, 1], seed=recipe.seed)
    return curves


def _facts(curve: LearningCurve, more: int | None) -> dict[str, Any]:
    present = int(curve.n_structures.max())
    added = present if more is None else more
    value, uncertainty = curve.at(present + added)
    low, expected, high = curve.gain(present)
    return {
        "measured": [{"n_structures": n, "error": e, "spread": s} for n, e, s in table_rows(curve)],
        "forecast": {"more": added, "error": value, "uncertainty": uncertainty},
        "gain_by_doubling": {"low": low, "expected": expected, "high": high},
        "outlook": curve.outlook(),
        "sentence": sentence(curve, added),
    }


def _page(name: str, curves: dict[str, LearningCurve], facts: dict[str, Any]) -> str:
    numbered = Numbered()
    rows = [
        [student, f"{row['n_structures']:,}", f"{1e3 * row['error']:.1f}", f"{1e3 * row['spread']:.1f}"]
        for student, fact in facts.items()
        for row in fact["measured"]
    ]
    head = ["student", "structures", "error, meV/Å", "spread, meV/Å"]
    measured = numbered.table("Errors.", "On test structures.", html_table(head, rows, numeric=[1, 2, 3]))
    said = "".join(f"<p><b>{student}</b>: {fact['sentence']}.</p>" for student, fact in facts.items())
    sections = [Section("curve", "Learning curve", said + numbered.figure(_figure(curves)) + measured)]
    headline = "What error more training structures would bring."
    return page(name, sections, title=f"{name}: forecast", kicker="Forecast", headline=headline, version=__version__)


def _figure(curves: dict[str, LearningCurve]) -> Figure:
    traces: list[dict[str, Any]] = []
    sizes: list[float] = []
    for (student, curve), color in zip(curves.items(), PALETTE, strict=False):
        n = np.geomspace(curve.n_structures.min(), 4 * curve.n_structures.max(), 40)
        middle, widths = (1e3 * np.array(part) for part in zip(*(curve.at(size) for size in n), strict=True))
        sizes += n.tolist()
        band = {"x": rounded([*n, *n[::-1]]), "y": rounded([*(middle + widths), *(middle - widths)[::-1]])}
        quiet = {"hoverinfo": "skip", "showlegend": False}
        traces += [
            {"type": "scatter", "fill": "toself", "fillcolor": translucent(color, 0.2), "line": {"width": 0}}
            | band
            | quiet
            | {"mode": "lines"},
            {"type": "scatter", "mode": "lines", "x": rounded(n), "y": rounded(middle), "line": {"color": color}}
            | quiet,
            {
                "type": "scatter",
                "mode": "markers",
                "x": rounded(curve.n_structures),
                "y": rounded(1e3 * curve.errors),
                "marker": {"color": color, "size": 8},
                "name": student,
            },
        ]
    errors = [1e3 * error for curve in curves.values() for error in curve.errors]
    look = layout(
        showlegend=True, xaxis=log_axis("training structures", sizes), yaxis=log_axis("force RMSE, meV/Å", errors)
    )
    caption = "Each point is one training; the line is the law through them, the band its standard uncertainty."
    return Figure("Learning curve.", caption, traces, look, 420)
