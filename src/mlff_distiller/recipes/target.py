"""Targets: what a command is pointed at, a recipe, data or a run directory, as a recipe."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from mlff_distiller.core import plan as plans
from mlff_distiller.core.errors import DataError, PlanError
from mlff_distiller.data.importers.detection import detect
from mlff_distiller.data.schema import MANIFEST
from mlff_distiller.recipes.data_recipe import DataRecipe, is_data_set
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.run_directory import RunDirectory

D = TypeVar("D", bound=DataRecipe)

_SHARED: Final = ("name", "seed", "data", "importing", "split", "students", "training", "assistants")
_STUDIES: Final = ("forecast", "search")


def presets(names: Sequence[str]) -> dict[str, Any]:
    """Return settings of students that are called like the presets they have.

    Examples
    --------
    >>> presets(["tiny"])
    {'tiny': {'kind': 'painn', 'preset': 'tiny'}}
    """
    return {name: {"kind": "painn", "preset": name} for name in names}


def recipe_of(
    target: Path,
    *,
    students: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
    overrides: Sequence[str] | None = None,
) -> Recipe | DataRecipe:
    """Return the recipe that a target stands for.

    Parameters
    ----------
    target : Path
        A recipe in YAML, a data set, or a foreign file of labeled structures.
    students : dict
        Settings of the students to train on data, by name; a recipe names its own.
    given : dict
        Values by dotted key, paths absolute.
    overrides : sequence of str
        Values by dotted key, as text; they win.

    Raises
    ------
    DistillerError
        If the target is none of these, or a setting is wrong.
    """
    if (target / "run.json").exists():
        raise PlanError(f"{target} is a run directory; continue it with --resume, or give its recipe or data")
    if is_data(target):
        return data_recipe_of(target, students=students, given=given, overrides=overrides)
    settings = plans.read(target)
    if students:
        raise PlanError(f"--student is for data; {target} is a recipe, which names its students itself")
    return _parsed(settings, where=str(target), folder=target.resolve().parent, given=given, overrides=overrides)


def data_recipe_of(
    target: Path,
    *,
    students: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
    overrides: Sequence[str] | None = None,
) -> DataRecipe:
    """Return the recipe of a training on data: of a data set, of a foreign file, or of the labels of a run.

    Parameters as for :func:`recipe_of`; students that are named take the place of a run's.

    Raises
    ------
    DistillerError
        If there are no labels, or a setting is wrong.
    """
    if (target / "run.json").exists():
        settings = _settings_of_run(target)
    elif is_data(target):
        settings = {"name": plain_name(target), "data": str(target.resolve()), "students": presets(["tiny"])}
    else:
        settings = plans.read(target)
        if "data" not in settings:
            raise PlanError(
                f"{target} is a recipe whose labels are still to be made; run `mlffd label {target} --out DIR` and "
                "give DIR"
            )
    if students:
        settings["students"] = dict(students)
    recipe = _parsed(settings, where=str(target), folder=target.resolve().parent, given=given, overrides=overrides)
    assert isinstance(recipe, DataRecipe)
    return recipe


def extended(recipe: DataRecipe, cls: type[D], **more: Any) -> D:
    """Return the recipe of a study: a training on data with the settings of the study added.

    Parameters
    ----------
    recipe : DataRecipe
        The training.
    cls : type
        The recipe of the study.
    more : dict
        Its settings, as plain data.
    """
    return cls.parse({**recipe.model_dump(mode="json"), **more}, where=recipe.name)


def recipe_of_run(folder: Path) -> Recipe | DataRecipe:
    """Return the recipe that a run directory was last worked on with.

    Raises
    ------
    PlanError
        If it is no run directory, or that of a study, or its recipe cannot be read.
    """
    directory = RunDirectory(folder)
    if not (folder / "run.json").exists():
        raise PlanError(f"{folder} is no run directory, so there is nothing to resume; give one that --out made")
    settings = plans.read(directory.recipe_file)
    if "potentials" in settings:
        raise PlanError(f"{folder} holds a validation; the same `mlffd validate` command continues it")
    for study in _STUDIES:
        if study in settings:
            raise PlanError(f"{folder} holds a {study}; the same `mlffd {study}` command continues it")
    return _parsed(settings, where=str(directory.recipe_file), folder=folder.resolve())


def _parsed(
    settings: dict[str, Any],
    *,
    where: str,
    folder: Path,
    given: Mapping[str, Any] | None = None,
    overrides: Sequence[str] | None = None,
) -> Recipe | DataRecipe:
    for key, value in (given or {}).items():
        plans.put(settings, key, value, where=where)
    plans.overridden(settings, overrides)
    cls: type[Recipe] | type[DataRecipe] = DataRecipe if "data" in settings else Recipe
    return cls.parse(settings, where=where).located(folder)


def _settings_of_run(folder: Path) -> dict[str, Any]:
    settings = plans.read(RunDirectory(folder).recipe_file)
    shared: dict[str, Any] = {key: settings[key] for key in _SHARED if key in settings}
    if "data" in shared:
        return shared
    labels = RunDirectory(folder).labels
    if not (labels / MANIFEST).exists():
        raise DataError(f"{folder} holds no finished labels yet; run `mlffd label` with its recipe before")
    return {**shared, "data": str(labels.resolve())}


def is_data(target: Path) -> bool:
    """Whether a target is data rather than a recipe: what has no settings to read is data, known or not."""
    if not target.exists() or target.suffix in (".yaml", ".yml"):
        return False
    return is_data_set(target) or target.is_dir() or _has_known_format(target) or not _has_settings(target)


def _has_known_format(target: Path) -> bool:
    try:
        detect(target)
    except DataError:
        return False
    return True


def _has_settings(target: Path) -> bool:
    try:
        plans.read(target)
    except PlanError:
        return False
    return True


def plain_name(target: Path) -> str:
    """Return the name of a file or folder as a recipe may have it.

    Examples
    --------
    >>> plain_name(Path("my water (2).xyz"))
    'my-water-2'
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", target.resolve().stem).strip("-._")
    return name[:64] or "data"
