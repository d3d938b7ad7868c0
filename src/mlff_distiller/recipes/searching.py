"""Search of training settings as a run: the split is made, then trials go on for as long as asked."""

from collections.abc import Mapping
from typing import Any, ClassVar

import yaml
from pydantic import Field

from mlff_distiller.core.console import Reporter
from mlff_distiller.core.errors import TrainingError
from mlff_distiller.core.files import write_text
from mlff_distiller.core.provenance import digest
from mlff_distiller.distillation.distill import Task
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.distillation.search import Found, SearchPlan, search
from mlff_distiller.recipes.data_recipe import DataRecipe
from mlff_distiller.recipes.held_out import LabeledData
from mlff_distiller.recipes.pipeline import data_stages
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.stages import Context, run_stages
from mlff_distiller.recipes.training_stages import split_stage


class SearchRecipe(DataRecipe):
    """All settings of a search: those of a training on data, and what is searched."""

    purpose: ClassVar[str] = "search"

    search: SearchPlan = Field(SearchPlan(), description="What is searched.")


def run_search(recipe: SearchRecipe, directory: RunDirectory, *, minutes: float, reporter: Reporter) -> Found:
    """Search settings for the one student of a recipe; the best are left in ``best.yaml``.

    Parameters
    ----------
    recipe : SearchRecipe
        All settings.
    directory : RunDirectory
        Opened output directory.
    minutes : float
        Time of this call.
    reporter : Reporter
        Where progress is shown.

    Raises
    ------
    TrainingError
        If the recipe has more than one student, or Optuna is not installed.
    """
    if len(recipe.students) != 1:
        raise TrainingError("settings are searched for one student at a time; name it with --student")
    before, content = data_stages(recipe, directory)
    split = split_stage(recipe, directory, before, content=content)
    run_stages([*before, split], Context(recipe, directory), reporter)
    (student,) = recipe.students.values()
    train, validation = LabeledData.of(directory, recipe).to_train_on()
    plan = recipe.training.content(exclude=("reference_data", "baseline"))
    key = digest([split.digest, student.model_dump(mode="json"), plan, recipe.search.model_dump(mode="json")])
    task = Task(student, recipe.training, train, validation, seed=recipe.seed, digest=key)
    found = search(task, recipe.search, directory.path / "search", minutes=minutes, reporter=reporter)
    write_text(directory.path / "best.yaml", snippet(found.plan, recipe.training))
    return found


def snippet(plan: TrainingPlan, before: TrainingPlan) -> str:
    """Return what changed in training settings as YAML to paste into a recipe.

    Examples
    --------
    >>> print(snippet(TrainingPlan(batch_size=8), TrainingPlan()), end="")
    training:
      batch_size: 8
    """
    old, new = (_with_kinds(each) for each in (before, plan))
    better = {key: value for key, value in new.items() if value != old.get(key)}
    if not better:
        return "# nothing better than the present settings was found\n"
    return yaml.safe_dump({"training": better}, sort_keys=False)


def _with_kinds(plan: TrainingPlan) -> Mapping[str, Any]:
    """Return settings as plain data, of the terms of the loss only what differs from their defaults."""
    terms = [{"kind": term.kind, **term.model_dump(mode="json", exclude_defaults=True)} for term in plan.loss]
    return {**plan.model_dump(mode="json"), "loss": terms}
