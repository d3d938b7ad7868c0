"""The work of the stages around the training: each reads what earlier ones left and returns facts about its files."""

from typing import Any

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Reporter
from mlff_distiller.data.storage.store import Store
from mlff_distiller.labeling.label import label
from mlff_distiller.potentials.base import Potential
from mlff_distiller.recipes.held_out import LabeledData
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.reporting import judge_students, write_run_report
from mlff_distiller.recipes.stages import Context
from mlff_distiller.sampling.draw import draw
from mlff_distiller.sampling.seeds import build_seeds
from mlff_distiller.scale.local import LocalPool
from mlff_distiller.students import checkpoint
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.teachers.resident import resident_teacher
from mlff_distiller.validation.audit.audit import THEMES, audit, chosen, disturbed
from mlff_distiller.validation.audit.theme import Workload
from mlff_distiller.validation.checks.coverage import measure_coverage
from mlff_distiller.validation.records import write_arrays, write_measurements


def audit_teacher(context: Context[Recipe], reporter: Reporter) -> dict[str, Any]:
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


def _workload(context: Context[Recipe], seeds: list[Structure]) -> Workload:
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


def sample_structures(context: Context[Recipe], reporter: Reporter) -> dict[str, Any]:
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


def label_structures(context: Context[Recipe], reporter: Reporter) -> dict[str, Any]:
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


def validate_student(context: Context[Recipe], reporter: Reporter) -> dict[str, Any]:
    """Measure one student on held-out frames and in dynamics."""
    plan, seed, name = context.recipe.validation, context.recipe.seed, context.student
    data, folder, student = (
        LabeledData.of(context.directory, context.recipe),
        context.directory.measurements(name),
        _student(context),
    )
    errors, parity = plan.errors.measure(student, data.held_out(), seed=seed)
    write_arrays(folder / "parity.npz", parity)
    names, starts = data.starts(plan.nve.temperature_K, n=plan.nve.n_replicas)
    advance = reporter.start(f"dynamics {name}", plan.nve.n_steps)
    drift, trace = plan.nve.measure(student, starts, names=names, seed=seed, advance=advance)
    write_arrays(folder / "nve.npz", trace)
    trained = [s.info["seed"] for s in data.part("train").structures() if len(s) > 1]
    measured = [*errors, *drift, measure_coverage(trained, data.held_out().systems)]
    write_measurements(folder / "measurements.json", measured)
    return {m.name: m.value for m in measured if m.value == m.value}


def time_student(context: Context[Recipe], reporter: Reporter) -> dict[str, Any]:
    """Time a dynamics step of one student and of the teacher, in turns, in a process of its own."""
    names, starts = LabeledData.of(context.directory, context.recipe).starts(context.recipe.timing.temperature_K)
    advance = reporter.start(f"timing {context.student}", len(starts))
    measured = context.recipe.timing.measure(
        _student(context),
        starts,
        names=names,
        teacher=context.recipe.teacher.build(),
        seed=context.recipe.seed,
        advance=advance,
    )
    write_measurements(context.directory.timing(context.student), measured)
    return {m.name: m.value for m in measured}


def report(context: Context[Recipe], reporter: Reporter) -> dict[str, Any]:
    """Judge the measurements and write verdict and report."""
    verdicts = judge_students(context.recipe, context.directory)
    write_run_report(context.recipe, context.directory, verdicts)
    return {name: verdict.verdict for name, (_, verdict) in verdicts.items()}


def _student(context: Context[Recipe]) -> Potential:
    return StudentPotential(checkpoint.load(context.directory.student_file(context.student)))
