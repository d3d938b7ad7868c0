"""The work of the stages around the training: each reads what earlier ones left and returns facts about its files."""

from typing import Any

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Reporter
from mlff_distiller.data.storage.store import Store
from mlff_distiller.labeling.label import label
from mlff_distiller.recipes.stages import Context
from mlff_distiller.sampling.draw import draw
from mlff_distiller.sampling.seeds import build_seeds
from mlff_distiller.scale.local import LocalPool
from mlff_distiller.teachers.resident import resident_teacher
from mlff_distiller.validation.audit.audit import THEMES, audit, chosen, disturbed
from mlff_distiller.validation.audit.theme import Workload


def audit_teacher(context: Context[Any], reporter: Reporter) -> dict[str, Any]:
    """Measure what the teacher's numbers are worth; a hopeless one ends the run here."""
    recipe = context.recipe
    seeds = build_seeds(recipe.seeds, recipe.seed)
    structures = disturbed(seeds, recipe.audit, seed=recipe.seed)
    names = [structure.info["seed"] for structure in structures]
    result = audit(
        resident_teacher(recipe.teacher),
        [structures[row] for row in chosen(names, recipe.audit)],
        recipe.audit,
        seed=recipe.seed,
        systems=list({seed.info["seed"]: seed for seed in seeds}.values()),
        workload=_workload(context, seeds),
        advance=reporter.start("audit of the teacher", len(THEMES)),
    )
    result.write(context.directory.audit_file)
    result.demand(recipe.audit.stop_on, where=str(context.directory.audit_file))
    return {"error_floor": result.floor.value, **{theme.name: theme.outcome for theme in result.themes}}


def _workload(context: Context[Any], seeds: list[Structure]) -> Workload:
    """Return what the teacher has to do in this run."""
    recipe = context.recipe
    tasks, pool = recipe.sampling.tasks(seeds), LocalPool(context.n_workers or recipe.teacher.n_processes)
    return Workload(
        len(seeds) + sum(task.n_structures for task in tasks),
        sum(task.n_calls for task in tasks),
        pool.size,
        recipe.labeling.chunk_size,
        1 + 2 * recipe.labeling.hessian_directions,
    )


def sample_structures(context: Context[Any], reporter: Reporter) -> dict[str, Any]:
    """Draw structures around the seeds."""
    recipe = context.recipe
    store = draw(
        build_seeds(recipe.seeds, recipe.seed),
        recipe.sampling,
        recipe.teacher,
        seed=recipe.seed,
        path=context.directory.samples,
        pool=LocalPool(context.n_workers or recipe.teacher.n_processes),
        reporter=reporter,
    )
    return {"n_structures": len(store), "data": store.digest}


def label_structures(context: Context[Any], reporter: Reporter) -> dict[str, Any]:
    """Label the drawn structures with the teacher."""
    result = label(
        Store.open(context.directory.samples),
        context.recipe.labeling,
        context.recipe.teacher,
        path=context.directory.labels,
        pool=LocalPool(context.n_workers or context.recipe.teacher.n_processes),
        reporter=reporter,
        seed=context.recipe.seed,
    )
    return {"n_labeled": result.n_labeled, "refusals": result.refusals, "data": result.store.digest}
