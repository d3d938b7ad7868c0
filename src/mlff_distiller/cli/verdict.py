"""``mlffd verdict``: judge a run again, by any criteria, without running anything."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mlff_distiller.core.console import CONSOLE, print_tables
from mlff_distiller.core.errors import PlanError

if TYPE_CHECKING:
    from mlff_distiller.recipes.judging import Judgement
    from mlff_distiller.recipes.recipe import Recipe
    from mlff_distiller.recipes.run_directory import RunDirectory
    from mlff_distiller.recipes.trial_recipe import TrialRecipe
    from mlff_distiller.validation.criteria import CriteriaPlan
    from mlff_distiller.validation.verdict import CheckOutcome, StudentVerdict
    from mlff_distiller.validation.waivers import Waiver

_ENOUGH: Final = {"approved": {"APPROVED"}, "screening": {"APPROVED", "SCREENING_ONLY"}}


def verdict(  # noqa: PLR0913 - each is an option
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a finished run or validation.")],
    criteria: Annotated[
        str | None,
        typer.Option(
            "--criteria",
            metavar="PRESET|FILE",
            help="production, quantitative, screening, or a YAML file. [default: those of the run]",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Make a limit stricter, for instance --set force_rmse.limit=0.05."
        ),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Write verdict.json and report.html of the run anew.")] = False,
    waive: Annotated[
        str | None,
        typer.Option("--waive", metavar="CHECK", help="Sign that a check does not matter; the verdict stays as it is."),
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why it does not matter.")] = None,
    signed: Annotated[str | None, typer.Option("--signed", metavar="NAME", help="Who answers for that.")] = None,
    student: Annotated[
        str | None, typer.Option("--student", metavar="STUDENT", help="Judge or waive for this one alone.")
    ] = None,
    require: Annotated[
        str | None,
        typer.Option(
            "--require", metavar="approved|screening", help="End with exit code 1 unless all reach this verdict."
        ),
    ] = None,
) -> None:
    """Judge what was measured of the students of a run again: seconds, nothing is run.

    Limits can be made stricter, never looser. A waiver is a signed line in the report; it leaves the verdict as it is.
    """
    from mlff_distiller.recipes.judging import held, judgement, recipe_in, sign
    from mlff_distiller.recipes.pipeline import planned_digests
    from mlff_distiller.recipes.run_directory import RunDirectory

    _demand_known(require)
    recipe, directory = recipe_in(run), RunDirectory(run)
    planned = planned_digests(recipe, directory)
    if student is not None and student not in recipe.names:
        raise PlanError(f"there is no '{student}' in {run}; known: {', '.join(recipe.names)}")
    chosen = _criteria(recipe, criteria, overrides)
    waiver = _waiver(waive, reason, signed, student)
    if waiver is not None and chosen != recipe.criteria and not write:
        raise PlanError("--waive goes with the criteria of the run; leave --criteria and --set out, or add --write")
    if waiver is None and not write:
        judged = judgement(recipe, directory, criteria=chosen, planned=planned)
    else:
        with held(directory):
            if waiver is not None:
                sign(recipe, directory, waiver)
            judged = judgement(recipe, directory, criteria=chosen, planned=planned)
            _write(recipe, directory, judged)
    shown = [student] if student is not None else recipe.names
    _print(recipe.name, judged, shown)
    if require and not {judged.verdicts[name][1].verdict for name in shown} <= _ENOUGH[require]:
        raise typer.Exit(1)


def _demand_known(require: str | None) -> None:
    if require is not None and require not in _ENOUGH:
        raise PlanError(f"--require {require}: give approved or screening")


def _criteria(recipe: "Recipe | TrialRecipe", named: str | None, overrides: list[str] | None) -> "CriteriaPlan":
    from mlff_distiller.core.plan import overridden
    from mlff_distiller.recipes.judging import criteria_named
    from mlff_distiller.validation.criteria import CriteriaPlan

    settings = recipe.criteria.own if named is None else criteria_named(named)
    settings.setdefault("waivers", [waiver.model_dump() for waiver in recipe.criteria.waivers])
    changes = [text.removeprefix("criteria.") for text in overrides or ()]
    return CriteriaPlan.parse(overridden(settings, changes), where="--set" if changes else named or "criteria")


def _waiver(check: str | None, reason: str | None, signed: str | None, student: str | None) -> "Waiver | None":
    from mlff_distiller.validation.waivers import Waiver

    if check is None:
        if reason or signed:
            raise PlanError("--reason and --signed belong to a waiver; name the check with --waive")
        return None
    if not reason or not signed:
        raise PlanError(
            f"a waiver is signed: give --reason 'why {check} does not matter here' and --signed 'your name'"
        )
    today = time.strftime("%Y-%m-%d", time.gmtime())
    return Waiver(check=check, reason=reason, signed=signed, date=today, student=student or "")


def _write(recipe: "Recipe | TrialRecipe", directory: "RunDirectory", judged: "Judgement") -> None:
    """Write verdict and report; with other criteria than the recipe's, ``mlffd run`` will judge by these again."""
    from mlff_distiller.recipes.reporting import write_run_report

    criteria = judged.grounds.criteria
    if criteria != recipe.criteria:
        directory.note_begun("report", "judged again by other criteria")
    judged.write(directory.verdict_file)
    write_run_report(recipe.model_copy(update={"criteria": criteria}), directory, judged.verdicts)
    CONSOLE.print(f"Written: {directory.verdict_file.resolve()}, {directory.report_file.name}", markup=False)


def _print(name: str, judged: "Judgement", shown: list[str]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from mlff_distiller.cli.running import verdict_table

    content = judged.content
    content["students"] = {name: content["students"][name] for name in shown}
    print_tables([verdict_table(name, content)])
    for one in shown:
        print_tables([f"{one}: {judged.verdicts[one][1].verdict.replace('_', ' ')}"])
        print_tables(Padding(Text(line), (0, 0, 0, 2)) for line in _said(judged.verdicts[one][1]))


def _said(judged: "StudentVerdict") -> Iterator[str]:
    """Yield why a student has its verdict: what did not pass, what does not apply, what was waived."""
    if not judged.reasons:
        yield "every required check passes with its whole 95 % interval"
    for check in judged.reasons:
        yield reason_of(check)
    idle = [check for check in judged.checks if check.required and check.outcome == "NOT_APPLICABLE"]
    for check in idle:
        yield f"does not apply: {_title(check.name)} ({check.reason})"
    for waiver in judged.waivers:
        yield f"{waiver.sentence}. The verdict stays as it is."


def reason_of(check: "CheckOutcome") -> str:
    """Return why a check did not pass, and what would settle it, in one or two sentences.

    Examples
    --------
    >>> from mlff_distiller.validation.verdict import CheckOutcome
    >>> reason_of(CheckOutcome("force_rmse", 0.3, "eV/A", (0.28, 0.32), 0.2, "FAIL", 0.4, "PASS", True, "≤"))
    'FAIL          Force RMSE is 0.300 eV/Å (0.280 to 0.320), limit ≤ 0.200; the screening limit ≤ 0.400 is kept.'
    """
    start = f"{check.outcome:<13} {_title(check.name)}"
    if check.value != check.value:
        why = f": {check.reason}" if check.reason else ""
        return f"{start} was not measured{why}. {check.settle}"
    limit = f"limit {check.symbol} {_number(check, check.limit)}"
    said = f"{start} is {_quantity(check)}{_interval(check)}, {limit}"
    if check.outcome == "INCONCLUSIVE":
        return f"{said}: undecided. {check.settle}"
    return f"{said}{_screening(check)}." + (f" {check.settle}" if check.settle else "")


def _screening(check: "CheckOutcome") -> str:
    said = {"FAIL": "is missed too", "PASS": "is kept", "INCONCLUSIVE": "is undecided"}
    if check.screening_outcome not in said or check.screening_limit == check.limit:
        return ""
    limit = f"{check.symbol} {_number(check, check.screening_limit)}"
    return f"; the screening limit {limit} {said[check.screening_outcome]}"


def _title(name: str) -> str:
    from html import unescape

    from mlff_distiller.validation.report.check_words import title

    return unescape(title(name))


def _number(check: "CheckOutcome", value: float | None) -> str:
    from mlff_distiller.core.html import words
    from mlff_distiller.validation.report.check_words import digits_for, displayed

    return words.number(None if value is None else displayed(value, check.unit)[0], digits_for(check.name))


def _quantity(check: "CheckOutcome") -> str:
    from html import unescape

    from mlff_distiller.core.html import words
    from mlff_distiller.validation.report.check_words import digits_for, displayed

    shown = words.quantity(*displayed(check.value, check.unit), digits_for(check.name))
    return unescape(shown).replace("\N{NO-BREAK SPACE}", " ")


def _interval(check: "CheckOutcome") -> str:
    return f" ({_number(check, check.ci95[0])} to {_number(check, check.ci95[1])})" if check.ci95 else ""
