"""What is named on the command line to be validated, as a recipe: student files, calculators, teachers, runs."""

import re
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

from mlff_distiller.core import plan as plans
from mlff_distiller.core.errors import DataError, PlanError
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.target import plain_name, recipe_of_run
from mlff_distiller.recipes.trial_recipe import TrialRecipe
from mlff_distiller.teachers import TEACHERS

_FACTORY: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_LONGEST: Final = 56  # of a name, with room for a number
_STUDENT: Final = ".safetensors"
_YAML: Final = (".yaml", ".yml")


def trial_of(
    targets: Sequence[str],
    *,
    teacher: str | None = None,
    data: Path | None = None,
    seeds: Sequence[Mapping[str, Any]] = (),
    overrides: Sequence[str] | None = None,
) -> Recipe | TrialRecipe:
    """Return the recipe of a validation.

    Parameters
    ----------
    targets : sequence of str
        What is on trial: student files, kinds of teachers, ``package.module:function`` that returns an ASE
        calculator, files with the settings of a teacher, a run directory; or one recipe.
    teacher : str, optional
        What they are held against, named in the same way.
    data : Path, optional
        Labeled structures.
    seeds : sequence of dict
        Settings of seeds, where there are no data.
    overrides : sequence of str
        Values by dotted key, as text; they win.

    Raises
    ------
    DistillerError
        If a target is none of these, or a setting is wrong.

    Examples
    --------
    >>> recipe = trial_of(["ase.calculators.emt:EMT"], teacher="xtb", seeds=[{"kind": "smiles", "smiles": "CC"}])
    >>> recipe.names, recipe.teacher.kind
    (['EMT'], 'xtb')
    """
    settings, where, folder = _settings(targets)
    given = {"teacher": None if teacher is None else named(teacher), "data": data and str(data.resolve())}
    settings |= {key: value for key, value in given.items() if value is not None}
    if seeds:
        settings["seeds"] = [dict(seed) for seed in seeds]
    plans.overridden(settings, overrides)
    if "potentials" in settings and "data" not in settings and ("seeds" not in settings or "teacher" not in settings):
        raise PlanError(
            "say what to validate on: labeled structures with --data, or structures (--structure FILE, --smiles "
            "SMILES) that a teacher (--teacher) labels"
        )
    cls: type[Recipe] | type[TrialRecipe] = Recipe if "students" in settings else TrialRecipe
    return cls.parse(settings, where=where).located(folder)


def named(text: str) -> dict[str, Any]:
    """Return the settings of a potential that is named in one word.

    Raises
    ------
    PlanError
        If nothing is called so.

    Examples
    --------
    >>> named("xtb"), named("ase.calculators.emt:EMT")
    ({'kind': 'xtb'}, {'kind': 'ase', 'factory': 'ase.calculators.emt:EMT'})
    """
    path = Path(text)
    if path.suffix == _STUDENT:
        if not path.is_file():
            raise PlanError(f"there is no student file {text}; `mlffd run` writes them to DIR/students")
        return {"kind": "student", "model": str(path.resolve()), "precision": "float32"}
    if path.suffix in _YAML:
        return _of_file(path)
    if _FACTORY.fullmatch(text):
        return {"kind": "ase", "factory": text}
    if text in TEACHERS.names():
        return {"kind": text}
    raise PlanError(
        f"'{text}' is no student file ({_STUDENT}), no kind of teacher ({', '.join(TEACHERS.names())}), no function "
        "written package.module:name that returns an ASE calculator, and no YAML file; give one of these"
    )


def _settings(targets: Sequence[str]) -> tuple[dict[str, Any], str, Path]:
    """Return settings, what errors call them, and the folder that their paths count from."""
    if len(targets) == 1:
        path = Path(targets[0])
        if (path / "run.json").exists():
            return _of_run(path), str(path), path.resolve()
        if path.suffix in _YAML:
            settings = plans.read(path)
            if "kind" not in settings:
                return settings, str(path), path.resolve().parent
    potentials: dict[str, Any] = {}
    for text in targets:
        name = plain_name(Path(text.rpartition(":")[2]))[:_LONGEST]
        again = (f"{name}-{k}" for k in count(2))
        potentials[name if name not in potentials else next(k for k in again if k not in potentials)] = named(text)
    return (
        {"name": "-".join(potentials)[:_LONGEST].strip("-._"), "potentials": potentials},
        "the command line",
        Path.cwd(),
    )


def _of_file(path: Path) -> dict[str, Any]:
    """Return the settings of a teacher in a file, paths absolute."""
    settings = plans.read(path)
    if "kind" not in settings:
        raise PlanError(f"{path} has no `kind`, so it is not the settings of a teacher; known: {TEACHERS.names()}")
    plan = TEACHERS.get(str(settings["kind"])).parse(settings, where=str(path))
    return dict(plan.located(path.resolve().parent).model_dump(mode="json"))


def _of_run(folder: Path) -> dict[str, Any]:
    """Return the students of a run as what is on trial, on what that run held out."""
    directory, recipe = RunDirectory(folder), recipe_of_run(folder)
    files = {name: directory.student_file(name) for name in recipe.students}
    missing = [name for name, file in files.items() if not file.exists()]
    if missing:
        raise DataError(f"{folder} has no finished student '{missing[0]}' yet; finish the run before")
    if recipe.training.reference_data is not None:
        raise PlanError(
            f"the split of {folder} mixes labels with reference data; validate its students, {folder}/students/*, with "
            "--data DATA"
        )
    students = {name: named(str(file)) for name, file in files.items()}
    teacher = {"teacher": recipe.teacher.model_dump(mode="json")} if isinstance(recipe, Recipe) else {}
    return {
        "name": recipe.name,
        "potentials": students,
        "data": str(recipe.labels(folder).resolve()),
        "split": str(directory.split_file.resolve()),
        **teacher,
    }
