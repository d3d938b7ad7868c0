"""The work of the stages from a potential to its verdict."""

from functools import partial
from pathlib import Path
from typing import Any, Final

from mlff_distiller.core.console import Reporter
from mlff_distiller.core.errors import UnsupportedStructureError
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.recipes.held_out import LabeledData
from mlff_distiller.recipes.reporting import judge_students, write_run_report
from mlff_distiller.recipes.stages import Context
from mlff_distiller.scale.local import LocalPool
from mlff_distiller.teachers.resident import resident_teacher
from mlff_distiller.validation.observables.observations import joined
from mlff_distiller.validation.observables.observe import TEACHER, SystemTask, observe_teacher_system
from mlff_distiller.validation.records import read_evidence, write_evidence
from mlff_distiller.validation.trial import Trial

_STARTS: Final = 8
"""Starting points of each system; replicas take them in turn, whatever their number."""

_SYSTEMS: Final = 24
"""Most systems that dynamics is run on, evenly chosen by name; errors are those of all frames."""


def observe_teacher(context: Context[Any], reporter: Reporter) -> dict[str, Any]:
    """Let the teacher do what students are held against, each system in a process of its own."""
    recipe, folder = context.recipe, context.directory.observations
    plan = recipe.validation.observables
    starts = LabeledData.tested(context.directory, recipe).starts(plan.temperature_K, n=_STARTS, most=_SYSTEMS)
    make_teacher = partial(resident_teacher, recipe.teacher)
    tasks = [SystemTask(make_teacher, name, own, plan, recipe.seed, folder) for name, own in starts.items()]
    pool = LocalPool(context.n_workers or recipe.teacher.n_processes)
    found = dict(pool.run(observe_teacher_system, tasks, reporter=reporter))
    return {"evidence": write_evidence(folder, joined([found[row] for row in range(len(tasks))]))}


def run_check(context: Context[Any], reporter: Reporter) -> dict[str, Any]:
    """Make one check of one potential."""
    plan, folder = context.recipe.validation.checks[context.check], _folder(context, context.check)
    done = context.recipe.validation.checks
    found = {name: read_evidence(_folder(context, name)) for name in plan.builds_on if name in done}
    if TEACHER in plan.builds_on and context.recipe.teacher is not None:
        found[TEACHER] = read_evidence(context.directory.observations)
    try:
        evidence = plan.measure(_trial(context, found, folder, reporter))
    except UnsupportedStructureError as error:
        evidence = Evidence(skipped=[Skipped(context.check, str(error))])
    return {**_values(evidence), "evidence": write_evidence(folder, evidence)}


def time_potential(context: Context[Any], reporter: Reporter) -> dict[str, Any]:
    """Time a dynamics step of one potential and of the teacher, in turns, in a process of its own."""
    recipe = context.recipe
    starts = LabeledData.tested(context.directory, recipe).starts(recipe.timing.temperature_K, most=_SYSTEMS)
    evidence = recipe.timing.measure(
        recipe.potential(context.directory.path, context.student),
        [own[0] for own in starts.values()],
        names=list(starts),
        teacher=None if recipe.teacher is None else recipe.teacher.build(),
        seed=recipe.seed,
        advance=reporter.start(f"timing {context.student}", len(starts)),
    )
    return {**_values(evidence), "evidence": write_evidence(context.directory.timing(context.student), evidence)}


def report(context: Context[Any], reporter: Reporter) -> dict[str, Any]:
    """Judge the measurements and write verdict and report."""
    verdicts = judge_students(context.recipe, context.directory)
    write_run_report(context.recipe, context.directory, verdicts)
    return {name: verdict.verdict for name, (_, verdict) in verdicts.items()}


def _values(evidence: Evidence) -> dict[str, Any]:
    return {m.name: m.value for m in evidence.measurements if m.value == m.value}


def _folder(context: Context[Any], check: str) -> Path:
    return Path(context.directory.evidence(context.student, check))


def _trial(context: Context[Any], found: dict[str, Evidence], folder: Path, reporter: Reporter) -> Trial:
    recipe = context.recipe
    data, plan = LabeledData.tested(context.directory, recipe), recipe.validation.checks[context.check]
    return Trial(
        recipe.potential(context.directory.path, context.student),
        data.starts(getattr(plan, "temperature_K", recipe.validation.nve.temperature_K), n=_STARTS, most=_SYSTEMS),
        held_out=data.held_out(),
        make_teacher=None if recipe.teacher is None else partial(resident_teacher, recipe.teacher),
        found=found,
        seed=recipe.seed,
        folder=folder,
        reporter=reporter,
        name=context.student,
    )
