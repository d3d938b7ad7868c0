"""The stages from a potential to its verdict: the same whether it was trained in this run or was there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mlff_distiller.benchmarking.step_time import StepTimePlan
from mlff_distiller.core.plan import Plan
from mlff_distiller.recipes import validation_steps as steps
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.stages import Stage
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.observables.observe import TEACHER
from mlff_distiller.validation.plan import ValidationPlan

VALIDATION: Final = ("observe", "validate", "time", "report")
"""Names of the stages; "validate" is there once for each check of each potential, "time" once for each potential."""


class Validated(Protocol):
    """What every recipe says about validation."""

    @property
    def seed(self) -> int:
        """Seed of everything random."""

    @property
    def names(self) -> list[str]:
        """Names of what is on trial."""

    @property
    def teacher(self) -> Any:
        """Settings of the teacher; None where there is none."""

    @property
    def validation(self) -> ValidationPlan:
        """What is measured."""

    @property
    def timing(self) -> StepTimePlan:
        """How the time of a step is measured."""

    @property
    def criteria(self) -> CriteriaPlan:
        """How the measurements are judged."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """Something on trial.

    Parameters
    ----------
    name : str
        Its name.
    stages : sequence of Stage
        What it and its held-out frames come from.
    content : sequence
        Plain data about what no stage makes.
    """

    name: str
    stages: Sequence[Stage]
    content: Sequence[Any] = ()


def validation_stages(
    recipe: Validated,
    directory: RunDirectory,
    candidates: Sequence[Candidate],
    data: Candidate,
    *,
    before: Sequence[Stage] = (),
) -> list[Stage]:
    """Return the stages from potentials to verdict and report.

    Parameters
    ----------
    recipe : Validated
        Settings.
    directory : RunDirectory
        Where results go.
    candidates : sequence of Candidate
        What is on trial.
    data : Candidate
        What the held-out frames come from, without any of these.
    before : sequence of Stage
        Further stages that the report tells of.
    """
    observe = _observe(recipe, directory, data)
    checks = [stage for one in candidates for stage in _checks(recipe, directory, one, observe)]
    validate = sorted(checks, key=lambda stage: any(parent.kind == stage.kind for parent in stage.parents))
    time = [_time(recipe, directory, one) for one in candidates]
    results, parents = [directory.verdict_file, directory.report_file], [*before, *validate, *time]
    report = Stage("report", steps.report, _plain(recipe.criteria), parents, results, runs="here")
    return [*observe, *validate, *time, report]


def _observe(recipe: Validated, directory: RunDirectory, data: Candidate) -> list[Stage]:
    """Return the stage in which the teacher does what the students are held against, if a check asks for it."""
    if recipe.teacher is None or not recipe.validation.observables.enabled:
        return []
    settings = [recipe.seed, _teacher(recipe), _plain(recipe.validation.observables), *data.content]
    folder, files = directory.observations, directory.observation_files
    return [Stage("observe", steps.observe_teacher, settings, data.stages, [folder], runs="here", files=files)]


def _checks(recipe: Validated, directory: RunDirectory, one: Candidate, observe: Sequence[Stage]) -> list[Stage]:
    """Return a stage for each check of one potential, so that each is done once, and beside others."""
    done: dict[str, Stage] = {}
    for check, plan in recipe.validation.checks.items():
        parents = [*one.stages, *(done[other] for other in plan.builds_on if other in done)]
        done[check] = Stage(
            "validate",
            steps.run_check,
            [recipe.seed, _plain(plan), *one.content, *([_teacher(recipe)] if plan.asks_teacher else [])],
            [*parents, *observe] if TEACHER in plan.builds_on else parents,
            [directory.evidence(one.name, check)],
            student=one.name,
            check=check,
            files=directory.evidence_files(one.name, check),
        )
    return list(done.values())


def _time(recipe: Validated, directory: RunDirectory, one: Candidate) -> Stage:
    settings = [recipe.seed, _plain(recipe.timing), _teacher(recipe), *one.content]
    folder, files = directory.timing(one.name), directory.timing_files(one.name)
    return Stage(
        "time", steps.time_potential, settings, one.stages, [folder], student=one.name, runs="alone", files=files
    )


def _teacher(recipe: Validated) -> str | None:
    return None if recipe.teacher is None else str(recipe.teacher.fingerprint())


def _plain(plan: Plan) -> dict[str, Any]:
    return plan.model_dump(mode="json")
