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
from mlff_distiller.recipes.trial_recipe import TrialRecipe
from mlff_distiller.recipes.validation_stages import VALIDATION, Candidate, validation_stages

STAGES: Final = ("audit", "sample", "label", "import", *TRAINING, *VALIDATION)
"""Names of the stages in order; most from "train" on are there once for each student."""


def run_pipeline(
    recipe: Recipe | DataRecipe | TrialRecipe,
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
    recipe : Recipe, DataRecipe or TrialRecipe
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
    stages = [stage for stage in _planned(recipe, directory) if stage.kind in wanted]
    return run_stages(stages, Context(recipe, directory, n_workers=n_workers, world=world or World()), reporter)


def _planned(recipe: Recipe | DataRecipe | TrialRecipe, directory: RunDirectory) -> list[Stage]:
    if isinstance(recipe, Recipe):
        return plan_stages(recipe, directory)
    return (
        plan_data_stages(recipe, directory) if isinstance(recipe, DataRecipe) else plan_trial_stages(recipe, directory)
    )


def planned_digests(recipe: Recipe | TrialRecipe, directory: RunDirectory) -> dict[str, str]:
    """Return the digests of the stages that a verdict rests on, by their names."""
    kinds = ("train", "export", "validate", "time")
    return {stage.name: stage.digest for stage in _planned(recipe, directory) if stage.kind in kinds}


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
    labeled, audit = _labeled(recipe, directory), _audit(recipe, directory)
    training = training_stages(recipe, directory, labeled[-1:])
    candidates = [
        Candidate(stage.student, [stage])
        for stage in training
        if stage.kind == "export" and stage.student in recipe.students
    ]
    data = Candidate("data", [stage for stage in training if stage.kind == "split"])
    return [*audit, *labeled, *training, *validation_stages(recipe, directory, candidates, data, before=audit)]


def plan_trial_stages(recipe: TrialRecipe, directory: RunDirectory) -> list[Stage]:
    """Return all stages of a validation of potentials that are there: none of them is trained here.

    Raises
    ------
    DataError
        If data are named that are not there.
    """
    content = [recipe.data_digest]
    if recipe.data is None:
        before, labels = _audit(recipe, directory), _labeled(recipe, directory)
    else:
        before, labels = [], _imported(directory, content) if recipe.is_imported else []
    candidates = [
        Candidate(name, labels[-1:], [*content, plan.fingerprint()]) for name, plan in recipe.potentials.items()
    ]
    data = Candidate("data", labels[-1:], content)
    return [*before, *labels, *validation_stages(recipe, directory, candidates, data, before=before)]


def _labeled(recipe: Recipe | TrialRecipe, directory: RunDirectory) -> list[Stage]:
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
    return _imported(directory, content), None


def _imported(directory: RunDirectory, content: Any) -> list[Stage]:
    files = [directory.labels / MANIFEST]
    done = training_steps.import_file
    return [Stage("import", done, content, [], [directory.labels], runs="here", files=files)]


def _audit(recipe: Recipe | TrialRecipe, directory: RunDirectory) -> list[Stage]:
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
