"""The pipeline: which stages a recipe has, in which order, and what each depends on."""

from typing import Any, Final

from mlff_distiller.core.console import Reporter
from mlff_distiller.core.plan import Plan
from mlff_distiller.data.schema import MANIFEST
from mlff_distiller.recipes import steps
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.stages import Context, Stage, run_stages

STAGES: Final = ("audit", "sample", "label", "split", "train", "export", "validate", "time", "report")
"""Names of the stages in order; from "train" to "time" there is one for each student."""


def run_pipeline(
    recipe: Recipe, directory: RunDirectory, *, until: str = "report", n_workers: int = 0, reporter: Reporter
) -> int:
    """Run what is not done yet, up to and with a stage; return how many stages ran.

    Parameters
    ----------
    recipe : Recipe
        All settings.
    directory : RunDirectory
        Opened output directory.
    until : str
        One of :data:`STAGES`.
    n_workers : int
        Worker processes; 0: one for each core. The results do not depend on it.
    reporter : Reporter
        Where progress is shown.

    Raises
    ------
    DistillerError
        Whatever a stage cannot do, as one sentence; what earlier stages did is kept.
    """
    wanted = STAGES[: STAGES.index(until) + 1]
    stages = [stage for stage in plan_stages(recipe, directory) if stage.kind in wanted]
    return run_stages(stages, Context(recipe, directory, n_workers=n_workers), reporter)


def plan_stages(recipe: Recipe, directory: RunDirectory) -> list[Stage]:
    """Return all stages of a recipe in the order they run.

    Examples
    --------
    >>> from pathlib import Path
    >>> recipe = Recipe.parse(
    ...     {
    ...         "name": "water",
    ...         "teacher": {"kind": "xtb"},
    ...         "seeds": [{"kind": "smiles", "smiles": "O"}],
    ...         "students": {"tiny": {"kind": "painn", "preset": "tiny"}},
    ...     },
    ...     where="recipe.yaml",
    ... )
    >>> [stage.name for stage in plan_stages(recipe, RunDirectory(Path("out")))][4:7]
    ['train-tiny', 'export-tiny', 'validate-tiny']
    """
    d, seed, names = directory, recipe.seed, list(recipe.students)
    seeds = [plan.fingerprint() for plan in recipe.seeds]
    teacher = recipe.teacher.fingerprint()
    drawn = [seed, teacher, seeds, _plain(recipe.sampling)]
    labeled = [recipe.labeling.properties, _plain(recipe.labeling.gates)]
    training = {name: [seed, _plain(recipe.students[name]), _plain(recipe.training)] for name in names}
    measured = [seed, _plain(recipe.validation)]
    timed = [_plain(recipe.timing), teacher]

    sample = Stage("sample", steps.sample_structures, drawn, [], [d.samples], runs="here", files=[d.samples / MANIFEST])
    audit = _audit(recipe, d)
    label = Stage(
        "label", steps.label_structures, labeled, [sample], [d.labels], runs="here", files=[d.labels / MANIFEST]
    )
    split = Stage("split", steps.split_data, [seed, _plain(recipe.split)], [label], [d.split_file], runs="here")
    train = [
        Stage("train", steps.train_student, training[n], [split], [d.training(n)], student=n, files=d.training_files(n))
        for n in names
    ]
    export = [
        Stage("export", steps.export_student, None, [parent], [d.student_file(n)], student=n, runs="here")
        for n, parent in zip(names, train, strict=True)
    ]
    validate = [
        Stage(
            "validate",
            steps.validate_student,
            measured,
            [parent],
            [d.measurements(n)],
            student=n,
            files=d.measurement_files(n),
        )
        for n, parent in zip(names, export, strict=True)
    ]
    time = [
        Stage("time", steps.time_student, timed, [parent], [d.timing(n)], student=n, runs="alone")
        for n, parent in zip(names, export, strict=True)
    ]
    results = [d.verdict_file, d.report_file]
    report = Stage("report", steps.report, _plain(recipe.criteria), [*audit, *validate, *time], results, runs="here")
    return [*audit, sample, label, split, *train, *export, *validate, *time, report]


def _audit(recipe: Recipe, directory: RunDirectory) -> list[Stage]:
    """Return the audit of the teacher, if there is one.

    It comes first and may stop the run, but is no parent of what follows: labels do not depend on how it was done.
    """
    if not recipe.audit.enabled:
        return []
    seeds = [plan.fingerprint() for plan in recipe.seeds]
    settings = [recipe.seed, recipe.teacher.fingerprint(), seeds, _plain(recipe.sampling), _plain(recipe.audit)]
    return [Stage("audit", steps.audit_teacher, settings, [], [directory.audit_file], runs="alone")]


def _plain(plan: Plan) -> dict[str, Any]:
    return plan.model_dump(mode="json")
