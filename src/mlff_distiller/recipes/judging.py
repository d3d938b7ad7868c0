"""From what a run has measured to its verdict, as often as one likes: nothing is run again."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, Final, get_args

from mlff_distiller.core import plan as plans
from mlff_distiller.core.errors import DataError, PlanError, RunDirectoryError
from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.lock import FileLock
from mlff_distiller.core.registry import nearest
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.trial_recipe import TrialRecipe
from mlff_distiller.validation.audit.result import read_audit
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.presets import Preset
from mlff_distiller.validation.records import evidence_digest, read_evidence
from mlff_distiller.validation.verdict import (
    Grounds,
    StudentVerdict,
    grounds_of,
    judge,
    read_verdict,
    verdict_content,
    write_verdict,
)
from mlff_distiller.validation.waivers import Waiver, demand_known, read_waivers, write_waivers

Verdicts = dict[str, tuple[int | None, StudentVerdict]]
"""Name to number of parameters, where it is known, and verdict."""

TIMING: Final = "timing"
"""What the evidence of the stage "time" is called beside that of the checks."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """The verdicts of a run, and what they follow from."""

    verdicts: Verdicts
    grounds: Grounds

    @property
    def content(self) -> dict[str, Any]:
        """The same as plain data, as it stands in ``verdict.json``."""
        return verdict_content(self.verdicts, self.grounds)

    def write(self, path: Path) -> None:
        """Write ``verdict.json``."""
        write_verdict(path, self.verdicts, self.grounds)


def recipe_in(folder: Path) -> Recipe | TrialRecipe:
    """Return the recipe of a finished run or validation.

    Raises
    ------
    PlanError
        If the directory is none, or its recipe cannot be read or has no verdict.
    """
    directory = RunDirectory(folder)
    if not (folder / "run.json").exists():
        raise PlanError(f"{folder} is no run directory; give one that `mlffd run` or `mlffd validate` made")
    settings = plans.read(directory.recipe_file)
    if "criteria" not in settings:
        raise PlanError(f"{folder} holds a training or a study, which has no verdict; validate its students first")
    cls: type[Recipe] | type[TrialRecipe] = TrialRecipe if "potentials" in settings else Recipe
    return cls.parse(settings, where=str(directory.recipe_file)).located(folder.resolve())


def judgement(
    recipe: Recipe | TrialRecipe,
    directory: RunDirectory,
    *,
    criteria: CriteriaPlan | None = None,
    planned: Mapping[str, str] | None = None,
) -> Judgement:
    """Judge everything that was measured in a run.

    Parameters
    ----------
    recipe : Recipe or TrialRecipe
        The settings of the run.
    directory : RunDirectory
        What it measured.
    criteria : CriteriaPlan, optional
        Other criteria than those of the recipe.
    planned : mapping, optional
        Digest of every stage by its name, with the recipe's settings: what was measured with others is no evidence.

    Raises
    ------
    DataError
        If something was not measured yet, or with other settings, or was changed afterwards.
    """
    for name, digest in (planned or {}).items():
        record = directory.record(name)
        if record is None or record["digest"] != digest:
            raise DataError(
                f"{directory.path} has not done '{name}' with its present settings; continue the run before"
            )
    waivers = tuple(read_waivers(waivers_file(directory)))
    grounds = Grounds(criteria or recipe.criteria, _floor(recipe, directory), waivers)
    verdicts: Verdicts = {}
    digests: dict[str, Mapping[str, str]] = {}
    for name in recipe.names:
        found = evidence(recipe, directory, name)
        digests[name] = {check: _digest(directory, name, check) for check in found}
        verdicts[name] = recipe.n_parameters(directory.path, name), judged(name, found, grounds)
    return Judgement(verdicts, replace(grounds, evidence=digests))


def judged(name: str, found: Mapping[str, Evidence], grounds: Grounds) -> StudentVerdict:
    """Return the verdict on what all checks of one student found."""
    return judge(
        [measured for one in found.values() for measured in one.measurements],
        grounds.criteria,
        skipped=[skipped for one in found.values() for skipped in one.skipped],
        floor=grounds.floor,
        waivers=[waiver for waiver in grounds.waivers if waiver.concerns(name)],
    )


def evidence(recipe: Recipe | TrialRecipe, directory: RunDirectory, name: str) -> dict[str, Evidence]:
    """Return what every check of one student found, the timing last."""
    return {check: read_evidence(_folder(directory, name, check)) for check in [*recipe.validation.checks, TIMING]}


def criteria_named(text: str) -> dict[str, Any]:
    """Return the settings of criteria: those of a preset by its name, or those in a file.

    Raises
    ------
    PlanError
        If it is neither.

    Examples
    --------
    >>> criteria_named("quantitative")
    {'preset': 'quantitative'}
    """
    if Path(text).suffix in (".yaml", ".yml"):
        settings = plans.read(Path(text))
        inner = settings.get("criteria", settings)
        return dict(inner) if isinstance(inner, dict) else settings
    if text in get_args(Preset):
        return {"preset": text}
    known = list(get_args(Preset))
    raise PlanError(
        f"'{text}' is no preset of criteria{nearest(text, known)}; known: {', '.join(known)}, or a YAML file"
    )


def sign(recipe: Recipe | TrialRecipe, directory: RunDirectory, waiver: Waiver) -> None:
    """Keep a waiver with a run; one of the same check and student takes the place of an earlier one.

    Raises
    ------
    PlanError
        If there is no such check or student.
    """
    demand_known([waiver], recipe.criteria.names(), recipe.names)
    kept = read_waivers(waivers_file(directory))
    others = [one for one in kept if (one.check, one.student) != (waiver.check, waiver.student)]
    write_waivers(waivers_file(directory), [*others, waiver])


@contextmanager
def held(directory: RunDirectory) -> Iterator[None]:
    """Keep others out of a finished run while its verdict is written.

    Raises
    ------
    RunDirectoryError
        If the directory is in use or cannot be written to.
    """
    lock = FileLock(directory.path / ".lock")
    try:
        acquired = lock.acquire()
    except OSError as error:
        raise RunDirectoryError(f"cannot write to {directory.path} ({error.strerror}); check permissions") from error
    if not acquired:
        raise RunDirectoryError(f"{directory.path} is in use by another mlffd; wait for it, or stop it")
    try:
        yield
    finally:
        lock.release()


def waivers_file(directory: RunDirectory) -> Path:
    """Return where the waivers of a run are kept that were signed after it."""
    return directory.path / "waivers.json"


def standing_verdict(directory: RunDirectory) -> dict[str, Any]:
    """Return the content of a run's ``verdict.json`` if it follows from what was measured.

    One of version 1 is returned as it is: an older release kept no digests to hold it against.

    Raises
    ------
    DataError
        If the verdict or what it follows from was changed by hand, or has been measured anew since.
    """
    value = read_verdict(directory.verdict_file)
    if value["version"] == 1:
        return value
    grounds = grounds_of(value, where=str(directory.verdict_file))
    for name, student in value["students"].items():
        digests = grounds.evidence[name]
        found = {check: read_evidence(_folder(directory, name, check)) for check in digests}
        same = all(_digest(directory, name, check) == digest for check, digest in digests.items())
        if not same or judged(name, found, grounds).verdict != student["verdict"]:
            raise DataError(
                f"{directory.verdict_file} does not follow from what was measured of '{name}'; judge again with "
                f"`mlffd verdict {directory.path} --write`"
            )
    return value


def _folder(directory: RunDirectory, name: str, check: str) -> Path:
    return directory.timing(name) if check == TIMING else directory.evidence(name, check)


def _digest(directory: RunDirectory, name: str, check: str) -> str:
    """Return the digest of evidence, which must be the one that was noted when it was measured."""
    folder = _folder(directory, name, check)
    found = evidence_digest(folder)
    record = directory.record(f"time-{name}" if check == TIMING else f"validate-{name}-{check}")
    noted = record["facts"].get("evidence") if record else None
    if noted not in (None, found):
        raise DataError(f"{folder} was changed after it was measured; delete it and validate again")
    return found


def _floor(recipe: Recipe | TrialRecipe, directory: RunDirectory) -> float | None:
    """Return the error floor of the teacher, if it was audited."""
    if not (recipe.audit.enabled and directory.audit_file.exists()):
        return None
    floor = read_audit(directory.audit_file).floor.value
    record = directory.record("audit")
    noted = record["facts"].get("error_floor", floor) if record else floor
    if isfinite(floor) and noted != floor:
        raise DataError(f"{directory.audit_file} was changed after it was measured; delete it and run again")
    return floor if isfinite(floor) else None
