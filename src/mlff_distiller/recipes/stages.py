"""Stages: steps of a run that are done once for the same inputs."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from mlff_distiller.core.console import Reporter
from mlff_distiller.core.errors import TrainingError
from mlff_distiller.core.provenance import digest
from mlff_distiller.distillation.world import World
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.trainees import Trained
from mlff_distiller.scale.local import LocalPool

R = TypeVar("R", bound=Trained)


@dataclass(frozen=True)
class Context(Generic[R]):
    """What a stage works with; it travels to worker processes."""

    recipe: R
    directory: RunDirectory
    student: str = ""
    check: str = ""
    digest: str = ""
    n_workers: int = 0
    world: World = field(default_factory=World)


Work = Callable[[Context[Any], Reporter], dict[str, Any]]
"""The work of a stage: leaves its files and returns JSON-able facts about them."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One step of a run.

    Parameters
    ----------
    kind : str
        What is done, for instance ``train``.
    work : callable
        A module-level function, so that a worker process can run it.
    settings : object
        JSON-able settings that the result depends on.
    parents : sequence of Stage
        Stages whose results it reads.
    outputs : list[Path]
        Files or folders it leaves.
    student : str
        Which student it is about, if any.
    check : str
        Which of its checks, if any.
    runs : str
        ``beside``: in a worker process beside other stages; ``alone``: in a worker process with nobody beside it,
        because it measures time; ``here``: in this process, because it is brief or has workers of its own.
    together : bool
        Whether all processes take part that were started to train together; the first alone does the rest.
    files : list[Path]
        Files inside the outputs without which the stage is not done.
    """

    kind: str
    work: Work
    settings: Any
    parents: Sequence["Stage"]
    outputs: list[Path]
    student: str = ""
    check: str = ""
    runs: Literal["beside", "alone", "here"] = "beside"
    files: Sequence[Path] = ()
    together: bool = False

    @property
    def name(self) -> str:
        """Kind, student and check, for instance ``train-tiny`` or ``validate-tiny-nve``."""
        return "-".join(part for part in (self.kind, self.student, self.check) if part)

    @cached_property
    def digest(self) -> str:
        """Digest of everything the results depend on."""
        return digest([self.name, self.settings, [parent.digest for parent in self.parents]])

    def is_done(self, directory: RunDirectory) -> bool:
        """Whether the results of exactly these inputs are there."""
        record = directory.record(self.name)
        needed = [*self.outputs, *self.files]
        return record is not None and record["digest"] == self.digest and all(path.exists() for path in needed)


def run_stages(stages: Sequence[Stage], context: Context[Any], reporter: Reporter) -> int:
    """Run the stages that are not done yet, those of one kind side by side where they may; return how many ran.

    Examples
    --------
    >>> from mlff_distiller.core.console import Silent
    >>> recipe, directory = None, RunDirectory(Path("out"))
    >>> run_stages([], Context(recipe, directory), Silent())
    0
    """
    waiting = [stage for stage in stages if not stage.is_done(context.directory)]
    if context.world.size > 1:
        _run_in_step(waiting, context, reporter)
        return len(waiting)
    for group in _groups(waiting):
        _run_group(group, context, reporter)
    return len(waiting)


def _groups(stages: Sequence[Stage]) -> Iterator[list[Stage]]:
    """Yield stages that run side by side: neighbors of one kind that may, and none of which needs another."""
    group: list[Stage] = []
    for stage in stages:
        beside = [one.kind for one in (*group[:1], stage) if one.runs == "beside"] == [stage.kind] * 2
        if group and not (beside and not any(parent in group for parent in stage.parents)):
            yield group
            group = []
        group.append(stage)
    if group:
        yield group


def _run_group(group: list[Stage], context: Context[Any], reporter: Reporter) -> None:
    for stage in group:
        _set_stale_results_aside(stage, context.directory)
    tasks = [(stage.work, _of(stage, context)) for stage in group]
    if group[0].runs == "here":
        _note(group[0], _timed(tasks[0], reporter), context.directory)
        return
    for index, result in LocalPool(context.n_workers).run(_timed, tasks, reporter=reporter):
        _note(group[index], result, context.directory)


def _run_in_step(waiting: list[Stage], context: Context[Any], reporter: Reporter) -> None:
    """Run stages in several processes that train together, which enter each stage at the same time.

    Raises
    ------
    TrainingError
        If structures are still to be drawn or labeled, which may take longer than processes wait for each other.
    """
    first = context.world.rank == 0
    if waiting and waiting[0].kind in ("audit", "sample", "label"):
        raise TrainingError(
            "several processes can train together, not draw or label; run `mlffd label` with the same recipe and "
            "directory before, in one process"
        )
    context.world.wait()  # all have looked at what is done
    for stage in waiting:
        if first:
            _set_stale_results_aside(stage, context.directory)
        context.world.wait()
        if first or stage.together:
            result = _timed((stage.work, _of(stage, context)), reporter)
            if first:
                _note(stage, result, context.directory)
        context.world.wait()


def _of(stage: Stage, context: Context[Any]) -> Context[Any]:
    """Return what this stage works with."""
    return replace(context, student=stage.student, check=stage.check, digest=stage.digest)


def _timed(task: tuple[Work, Context[Any]], reporter: Reporter) -> tuple[dict[str, Any], float]:
    work, context = task
    began = time.monotonic()
    return work(context, reporter), time.monotonic() - began


def _note(stage: Stage, result: tuple[dict[str, Any], float], directory: RunDirectory) -> None:
    facts, seconds = result
    directory.write_record(stage.name, {"digest": stage.digest, "elapsed_s": round(seconds, 2), "facts": facts})


def _set_stale_results_aside(stage: Stage, directory: RunDirectory) -> None:
    """Keep results of other settings out of the way, and finished ones of which a part has been deleted.

    Unfinished work of these settings stays, to be continued.
    """
    begun = directory.begun(stage.name)
    was_finished = directory.record(stage.name) is not None
    if begun != stage.digest or was_finished:
        directory.set_aside(stage.outputs, begun or "unknown")
    directory.note_begun(stage.name, stage.digest)
