"""The pipeline: which stages a recipe has, in which order, and what each depends on."""

from typing import Any, Final

from mlff_distiller.core.console import Reporter
from mlff_distiller.core.plan import Plan
from mlff_distiller.data.schema import MANIFEST
from mlff_distiller.distillation.world import World
from mlff_distiller.recipes import steps, training_steps
from mlff_distiller.recipes.data_recipe import DataRecipe
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.stages import Context, Stage, run_stages
from mlff_distiller.recipes.training_stages import TRAINING, training_stages

STAGES: Final = ("audit", "sample", "label", "import", *TRAINING, "validate", "time", "report")
"""Names of the stages in order; most from "train" on are there once for each student."""


def run_pipeline(
    recipe: Recipe | DataRecipe,
    directory: RunDirectory,
    *,
    until: str = "report",
    n_workers: int = 0,
    reporter: Reporter,
    world: World | None = None,
) -> int:
    """Run what is not done yet, up to and with a stage; return how many stages ran.

    Parameters
    ----------
    recipe : Recipe or DataRecipe
        All settings.
    directory : RunDirectory
        Opened output directory.
    until : str
        One of :data:`STAGES`.
    n_workers : int
        Worker processes; 0: one for each core. The results do not depend on it.
    reporter : Reporter
        Where progress is shown.
    world : World, optional
        Processes that train together.

    Raises
    ------
    DistillerError
        Whatever a stage cannot do, as one sentence; what earlier stages did is kept.
    """
    wanted = STAGES[: STAGES.index(until) + 1]
    planned = plan_stages(recipe, directory) if isinstance(recipe, Recipe) else plan_data_stages(recipe, directory)
    stages = [stage for stage in planned if stage.kind in wanted]
    return run_stages(stages, Context(recipe, directory, n_workers=n_workers, world=world or World()), reporter)


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
    ['train-tiny', 'export-tiny', 'errors']
    """
    d, seed, names = directory, recipe.seed, list(recipe.students)
    teacher = recipe.teacher.fingerprint()
    measured = [seed, _plain(recipe.validation)]
    timed = [_plain(recipe.timing), teacher]
    labeled = _labeled(recipe, d)
    audit = _audit(recipe, d)
    training = training_stages(recipe, d, labeled[-1:])
    export = [stage for stage in training if stage.kind == "export" and stage.student in names]
    validate = [
        Stage(
            "validate",
            steps.validate_student,
            measured,
            [parent],
            [d.measurements(parent.student)],
            student=parent.student,
            files=d.measurement_files(parent.student),
        )
        for parent in export
    ]
    time = [
        Stage(
            "time",
            steps.time_student,
            timed,
            [parent],
            [d.timing(parent.student)],
            student=parent.student,
            runs="alone",
        )
        for parent in export
    ]
    results = [d.verdict_file, d.report_file]
    report = Stage("report", steps.report, _plain(recipe.criteria), [*audit, *validate, *time], results, runs="here")
    return [*audit, *labeled, *training, *validate, *time, report]


def _labeled(recipe: Recipe, directory: RunDirectory) -> list[Stage]:
    """Return the stages that draw structures and label them."""
    d, seeds = directory, [plan.fingerprint() for plan in recipe.seeds]
    drawn = [recipe.seed, recipe.teacher.fingerprint(), seeds, _plain(recipe.sampling)]
    hessian = [k for k in [recipe.labeling.hessian_directions] if k]  # older runs know nothing of it
    labeled = [recipe.labeling.properties, _plain(recipe.labeling.gates), *hessian]
    sample = Stage("sample", steps.sample_structures, drawn, [], [d.samples], runs="here", files=[d.samples / MANIFEST])
    label = Stage(
        "label", steps.label_structures, labeled, [sample], [d.labels], runs="here", files=[d.labels / MANIFEST]
    )
    return [sample, label]


def plan_data_stages(recipe: DataRecipe, directory: RunDirectory) -> list[Stage]:
    """Return all stages of a training on data that are there: there is none after the students' errors.

    Raises
    ------
    DataError
        If the data are not there.
    """
    before, content = data_stages(recipe, directory)
    return [*before, *training_stages(recipe, directory, before, content=content)]


def data_stages(recipe: DataRecipe, directory: RunDirectory) -> tuple[list[Stage], str | None]:
    """Return the import of a foreign file, or, for a store, no stage and the digest of its content."""
    content = recipe.data_digest
    if not recipe.is_imported:
        return [], content
    files = [directory.labels / MANIFEST]
    done = training_steps.import_file
    return [Stage("import", done, content, [], [directory.labels], runs="here", files=files)], None


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
