"""Theme: one group of checks of the audit, what it found, and what follows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.audit.plan import AuditLimits, AuditPlan
from mlff_distiller.validation.surface import subject as surface

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "REPORTED", "NOT_APPLICABLE", "NOT_RUN"]
Found = Mapping[str, Measurement]


@dataclass(frozen=True)
class Workload:
    """The work that the teacher is to do, for the forecast.

    Parameters
    ----------
    n_structures : int
        To label.
    n_steps : int
        Of dynamics, with one structure each, that sampling takes.
    n_workers : int
        Processes at once.
    chunk_size : int
        Structures in one call of the labeling.
    n_evaluations : int
        Of each structure that is labeled; more than one where its Hessian is asked for too.
    """

    n_structures: int
    n_steps: int = 0
    n_workers: int = 1
    chunk_size: int = 32
    n_evaluations: int = 1


@dataclass(frozen=True, eq=False)
class Subject(surface.Subject):
    """What is audited.

    Parameters
    ----------
    plan : AuditPlan
        Settings.
    systems : sequence of Structure
        One of each system that is to be labeled.
    failures : sequence of dict
        Structures for which it did not answer, with "system" and "reason".
    workload : Workload, optional
        What it is to do.
    """

    plan: AuditPlan
    systems: Sequence[Structure] = ()
    failures: Sequence[Mapping[str, str]] = ()
    workload: Workload | None = None


@dataclass(frozen=True)
class Theme:
    """One group of checks.

    Parameters
    ----------
    name, title : str
        For machines, and for people.
    measure : callable
        Does the work.
    say : callable
        One sentence from measurements by name and the outcome.
    """

    name: str
    title: str
    measure: Callable[[Subject], Evidence]
    say: Callable[[Found, Outcome], str]


@dataclass(frozen=True)
class Judged:
    """A measurement, its limit and what follows."""

    measurement: Measurement
    limit: float | None
    outcome: Outcome


@dataclass(frozen=True)
class ThemeResult:
    """What came out of a theme.

    Parameters
    ----------
    name, title : str
        Of the theme.
    outcome : str
        FAIL if one check fails; INCONCLUSIVE if one is undecided or is missing though it applies; NOT_RUN if nothing
        was measured; REPORTED if nothing has a limit; else PASS.
    sentence : str
        What it means.
    checks : sequence of Judged
        What was measured.
    skipped : sequence of Skipped
        What was not.
    """

    name: str
    title: str
    outcome: Outcome
    sentence: str
    checks: Sequence[Judged] = field(default_factory=tuple)
    skipped: Sequence[Skipped] = field(default_factory=tuple)


def conclude(theme: Theme, evidence: Evidence, limits: AuditLimits) -> ThemeResult:
    """Judge what a theme measured.

    Examples
    --------
    >>> theme = Theme("t", "T", lambda subject: Evidence(), lambda found, outcome: "A sentence.")
    >>> conclude(theme, Evidence(skipped=[Skipped("stress_residual", "no cell", applies=False)]), AuditLimits()).outcome
    'NOT_RUN'
    """
    checks = []
    for measurement in evidence.measurements:
        criterion = limits.criterion(measurement.name)
        checks.append(Judged(measurement, criterion.limit, criterion.outcome(measurement)))
    outcome = _outcome([check.outcome for check in checks], evidence.skipped)
    if checks:
        sentence = theme.say({check.measurement.name: check.measurement for check in checks}, outcome)
    else:
        sentence = f"Not measured: {'; '.join(dict.fromkeys(skipped.reason for skipped in evidence.skipped))}."
    return ThemeResult(theme.name, theme.title, outcome, sentence, tuple(checks), tuple(evidence.skipped))


def _outcome(outcomes: Sequence[Outcome], skipped: Sequence[Skipped]) -> Outcome:
    if not outcomes:
        return "NOT_RUN"
    if "FAIL" in outcomes:
        return "FAIL"
    if "INCONCLUSIVE" in outcomes or any(one.applies for one in skipped):
        return "INCONCLUSIVE"
    return "PASS" if "PASS" in outcomes else "REPORTED"
