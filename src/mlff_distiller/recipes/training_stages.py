"""The stages from labeled data to students with their errors; what comes before and after is the recipe's affair."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mlff_distiller.data.storage.store import Store
from mlff_distiller.recipes import training_steps as steps
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.stages import Stage
from mlff_distiller.recipes.trainees import Trained, Trainee, trainees

TRAINING: Final = ("split", "train", "assist", "export", "errors")
"""Names of the stages; from "train" to "export" there is one for each student."""


def training_stages(
    recipe: Trained, directory: RunDirectory, data: Sequence[Stage], *, content: Any = None
) -> list[Stage]:
    """Return the stages from labeled data to the errors of the students.

    Parameters
    ----------
    recipe : Trained
        Settings.
    directory : RunDirectory
        Where results go.
    data : sequence of Stage
        What makes the labels, if a stage does.
    content : object
        Plain data about the labels, where no stage makes them.
    """
    split = split_stage(recipe, directory, data, content=content)
    train: dict[str, Stage] = {}
    stages = [split]
    for who in trainees(recipe):
        parents = [split]
        if who.assistant is not None:
            parents = [_assist(recipe, directory, who, [split, train[who.assistant.student]])]
            stages += parents
        train[who.name] = _train(recipe, directory, who, parents)
        stages.append(train[who.name])
    export = [
        Stage("export", steps.export_student, None, [parent], [directory.student_file(name)], student=name, runs="here")
        for name, parent in train.items()
    ]
    errors = Stage("errors", steps.measure_errors, None, export, [directory.errors_file], runs="here")
    return [*stages, *export, errors]


def split_stage(recipe: Trained, directory: RunDirectory, data: Sequence[Stage], *, content: Any = None) -> Stage:
    """Return the stage that chooses what is held out; parameters as for :func:`training_stages`."""
    settings = [recipe.seed, recipe.split.model_dump(mode="json")]
    reference = recipe.training.reference_data
    more = [] if reference is None else [Store.open(Path(reference)).digest]
    known = [] if content is None else [content]
    return Stage("split", steps.split_data, [*settings, *more, *known], data, [directory.split_file], runs="here")


def _train(recipe: Trained, directory: RunDirectory, who: Trainee, parents: Sequence[Stage]) -> Stage:
    settings = [
        recipe.seed,
        who.student.model_dump(mode="json"),
        who.training.content(exclude=("reference_data", "baseline")),
    ]
    folder, files = directory.training(who.name), directory.training_files(who.name)
    return Stage(
        "train", steps.train_student, settings, parents, [folder], student=who.name, files=files, together=True
    )


def _assist(recipe: Trained, directory: RunDirectory, who: Trainee, parents: Sequence[Stage]) -> Stage:
    assert who.assistant is not None
    settings, store = [recipe.seed, who.assistant.model_dump(mode="json")], directory.assistance(who.name)
    return Stage("assist", steps.label_with_assistant, settings, parents, [store], student=who.name)
