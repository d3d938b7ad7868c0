"""The verdict on a student: measurements judged by criteria, and nothing else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal, get_args

from mlff_distiller.core.errors import DataError, PlanError
from mlff_distiller.core.evidence import Skipped
from mlff_distiller.core.files import write_json
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.provenance import digest
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.criterion import Criterion, Outcome
from mlff_distiller.validation.presets import Preset
from mlff_distiller.validation.settle import settle
from mlff_distiller.validation.waivers import Waiver

Verdict = Literal["APPROVED", "SCREENING_ONLY", "REJECTED", "INCONCLUSIVE"]
FORMAT: Final = "mlffd-verdict"
VERSION: Final = 2
SEAL: Final = "seal"
_KEYS: Final = frozenset({"name", "value", "unit", "ci95", "limit", "outcome"})

ESSENTIAL: Final = frozenset({"force_rmse", "force_mae", "nve_duration", "nve_drift_percent"})
"""Checks that always apply: without errors of forces and dynamics at constant energy nothing is known of a student."""


@dataclass(frozen=True)
class CheckOutcome:
    """One measured number, its limit and what follows.

    Parameters
    ----------
    name, unit : str
        As in the measurement.
    value : float
        NaN where the check did not run or could not be evaluated.
    ci95 : tuple or None
        95 % confidence interval.
    limit : float or None
        None for numbers that are only reported.
    outcome : str
        PASS, FAIL, INCONCLUSIVE, REPORTED or NOT_APPLICABLE.
    screening_limit, screening_outcome
        The same for screening use; None and REPORTED where it does not count for screening.
    required : bool
        Whether the verdict depends on it.
    symbol : str
        "≤" or "≥".
    reason : str
        Why it was not measured.
    settle : str
        One sentence on what would settle it; empty unless it is undecided.
    """

    name: str
    value: float
    unit: str
    ci95: tuple[float, float] | None
    limit: float | None
    outcome: Outcome
    screening_limit: float | None = None
    screening_outcome: Outcome = "REPORTED"
    required: bool = False
    symbol: str = ""
    reason: str = ""
    settle: str = ""

    @property
    def counts(self) -> bool:
        """Whether the verdict follows from it: it is required, and it applies."""
        return self.required and self.outcome != "NOT_APPLICABLE"


@dataclass(frozen=True)
class StudentVerdict:
    """The verdict and the checks that it follows from, and waivers, from which nothing follows."""

    verdict: Verdict
    checks: tuple[CheckOutcome, ...]
    waivers: tuple[Waiver, ...] = ()

    def check(self, name: str) -> CheckOutcome | None:
        """Return one check by name, or None."""
        return next((check for check in self.checks if check.name == name), None)

    @property
    def reasons(self) -> list[CheckOutcome]:
        """The required checks that did not pass: why it is not approved."""
        return [check for check in self.checks if check.counts and check.outcome != "PASS"]


def judge(
    measurements: Sequence[Measurement],
    criteria: CriteriaPlan,
    *,
    skipped: Sequence[Skipped] = (),
    floor: float | None = None,
    waivers: Sequence[Waiver] = (),
) -> StudentVerdict:
    """Judge a student by its measurements.

    Only required checks count; a check that did not run is INCONCLUSIVE, one that does not apply is left out, unless it
    is :data:`ESSENTIAL`. The first row that applies decides:

    ==============  ===================================  ===================================
    Verdict         at the screening limit               at the limit
    ==============  ===================================  ===================================
    REJECTED        any FAIL                             any
    APPROVED        all PASS                             all PASS
    SCREENING_ONLY  all PASS                             at least one FAIL
    INCONCLUSIVE    some INCONCLUSIVE, no FAIL           any
    INCONCLUSIVE    all PASS                             some INCONCLUSIVE, no FAIL
    ==============  ===================================  ===================================

    With the preset ``screening`` SCREENING_ONLY takes the place of APPROVED.

    Parameters
    ----------
    measurements : sequence of Measurement
        All that was measured, each name once.
    criteria : CriteriaPlan
        The limits.
    skipped : sequence of Skipped
        What was not measured, and why.
    floor : float, optional
        Error floor of the teacher, eV/Angstrom.
    waivers : sequence of Waiver
        Signed lines beside those of the criteria; they are kept with the verdict and change nothing.

    Raises
    ------
    DataError
        If a name was measured twice.

    Examples
    --------
    >>> judge([], CriteriaPlan()).verdict
    'INCONCLUSIVE'
    """
    known = {measurement.name: measurement for measurement in measurements}
    if len(known) < len(measurements):
        raise DataError("a check was measured twice for one student; remove the measurements and validate again")
    criteria = criteria.above(floor)
    left_out = _left_out(skipped, known)
    needed = known.keys() | left_out.keys() | set(criteria.names(required=True))
    order = [name for name in criteria.names() if name in needed]
    order += [name for name in [*known, *left_out] if name not in order]
    checks = tuple(_check(name, known.get(name), criteria, left_out.get(name)) for name in order)
    return StudentVerdict(_verdict(checks, criteria.preset), checks, (*criteria.waivers, *waivers))


def _left_out(skipped: Sequence[Skipped], known: Mapping[str, Measurement]) -> dict[str, Skipped]:
    """Return what was not measured by name; said twice, the one that should have run counts."""
    ranked = sorted(skipped, key=lambda one: one.applies)
    return {one.check: one for one in ranked if one.check not in known}


def _check(
    name: str, measurement: Measurement | None, criteria: CriteriaPlan, left_out: Skipped | None
) -> CheckOutcome:
    criterion, reason = criteria.criterion(name), left_out.reason if left_out else ""
    found = measurement or Measurement(name, float("nan"), "")
    outcome, screening = criterion.outcome(measurement), criterion.outcome(measurement, screening=True)
    if left_out is not None and not left_out.applies and name not in ESSENTIAL:
        outcome = screening = "NOT_APPLICABLE"
    undecided = "INCONCLUSIVE" in (outcome, screening)
    return CheckOutcome(
        name=name,
        value=found.value,
        unit=found.unit,
        ci95=found.ci95,
        limit=criterion.limit,
        outcome=outcome,
        screening_limit=criterion.screening,
        screening_outcome=screening,
        required=criterion.required,
        symbol=criterion.symbol if criterion.limit is not None else "",
        reason=reason,
        settle=settle(name, measurement, _deciding(criterion, outcome), reason=reason) if undecided else "",
    )


def _deciding(criterion: Criterion, outcome: Outcome) -> Criterion:
    """Return the criterion with the limit that is undecided: the screening one where the other is decided."""
    return criterion if outcome == "INCONCLUSIVE" else type(criterion)(limit=criterion.screening)


def _verdict(checks: Sequence[CheckOutcome], preset: Preset) -> Verdict:
    outcomes = {check.outcome for check in checks if check.counts}
    screening = {check.screening_outcome for check in checks if check.counts} - {"REPORTED"}
    if "FAIL" in screening:
        return "REJECTED"
    if outcomes == {"PASS"}:
        return "SCREENING_ONLY" if preset == "screening" else "APPROVED"
    if screening == {"PASS"} and "FAIL" in outcomes:
        return "SCREENING_ONLY"
    return "INCONCLUSIVE"


@dataclass(frozen=True)
class Grounds:
    """What the verdicts of a run follow from, as it is written beside them.

    Parameters
    ----------
    criteria : CriteriaPlan
        The limits.
    floor : float, optional
        Error floor of the teacher, eV/Angstrom.
    waivers : tuple of Waiver
        Signed lines beside those of the criteria.
    evidence : mapping
        Digests of what was measured: student to check to digest.
    """

    criteria: CriteriaPlan = field(default_factory=CriteriaPlan)
    floor: float | None = None
    waivers: tuple[Waiver, ...] = ()
    evidence: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def write_verdict(
    path: Path, students: Mapping[str, tuple[int | None, StudentVerdict]], grounds: Grounds | None = None
) -> None:
    """Write ``verdict.json`` atomically; a number that is not finite becomes null.

    Parameters
    ----------
    path : Path
        Where to.
    students : mapping
        Name to number of parameters, where it is known, and verdict.
    grounds : Grounds, optional
        What they follow from.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "verdict.json"
    >>> write_verdict(path, {"tiny": (77203, judge([], CriteriaPlan()))})
    >>> read_verdict(path)["students"]["tiny"]["verdict"]
    'INCONCLUSIVE'
    """
    write_json(path, verdict_content(students, grounds or Grounds()))


def verdict_content(students: Mapping[str, tuple[int | None, StudentVerdict]], grounds: Grounds) -> dict[str, Any]:
    """Return the content of ``verdict.json`` as plain data, sealed by a digest of itself.

    Examples
    --------
    >>> verdict_content({}, Grounds())["criteria"]["preset"]
    'production'
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "criteria": grounds.criteria.own | {"digest": grounds.criteria.digest()},
        "error_floor_eV_per_A": grounds.floor if grounds.floor is not None and isfinite(grounds.floor) else None,
        "waivers": [waiver.model_dump() for waiver in (*grounds.criteria.waivers, *grounds.waivers)],
        "students": {name: _student(*own, grounds.evidence.get(name, {})) for name, own in students.items()},
    }
    return {**content, SEAL: digest(content)}


def _student(n_parameters: int | None, verdict: StudentVerdict, evidence: Mapping[str, str]) -> dict[str, Any]:
    return {
        "n_parameters": n_parameters,
        "verdict": verdict.verdict,
        "evidence": dict(evidence),
        "checks": [_plain(check) for check in verdict.checks],
    }


def _plain(check: CheckOutcome) -> dict[str, Any]:
    plain, ends = asdict(check), check.ci95 or ()
    plain["value"] = check.value if isfinite(check.value) else None
    plain["ci95"] = list(ends) if ends and all(isfinite(end) for end in ends) else None
    return plain


def read_verdict(path: Path) -> dict[str, Any]:
    """Return the content of a ``verdict.json``; one of version 1 has no more than verdicts and outcomes.

    Raises
    ------
    DataError
        If the file is missing, is no verdict, is damaged, was changed by hand or was written by a newer release.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; a finished run writes it, so run `mlffd run` to its end")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable as JSON ({error}); delete it and run again") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise DataError(f"{path} is not a verdict of mlffd; give the verdict.json of a run directory")
    if not isinstance(value.get("version"), int) or value["version"] > VERSION:
        raise DataError(
            f"{path} has format version {value.get('version')}, this release reads up to {VERSION}; "
            "install a newer mlff-distiller"
        )
    students = value.get("students")
    if not isinstance(students, dict) or not all(_is_student(student) for student in students.values()):
        raise DataError(f"{path} is a verdict but damaged; delete it and run again")
    if value["version"] > 1:
        _demand_seal(path, value)
    return value


def _demand_seal(path: Path, value: dict[str, Any]) -> None:
    """Refuse a verdict that is not as it was written."""
    if value.get(SEAL) != digest({key: inner for key, inner in value.items() if key != SEAL}):
        raise DataError(
            f"{path} was changed after it was written; a verdict follows from measurements alone, so judge again "
            f"with `mlffd verdict {path.parent} --write`"
        )


def grounds_of(value: Mapping[str, Any], *, where: str) -> Grounds:
    """Return what the verdicts in the content of a ``verdict.json`` follow from.

    Raises
    ------
    DataError
        If the content is of version 1, or its criteria are none.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "verdict.json"
    >>> write_verdict(path, {}, Grounds(floor=0.01))
    >>> grounds_of(read_verdict(path), where="verdict.json").floor
    0.01
    """
    try:
        own = {key: inner for key, inner in value["criteria"].items() if key != "digest"}
        criteria = CriteriaPlan.parse(own, where=where)
        waivers = tuple(Waiver.parse(plain, where=where) for plain in value["waivers"])
        evidence = {name: student["evidence"] for name, student in value["students"].items()}
        return Grounds(criteria, value["error_floor_eV_per_A"], waivers, evidence)
    except (KeyError, AttributeError, TypeError, PlanError) as error:
        raise DataError(f"{where} does not say what it follows from; run again to judge again") from error


def _is_student(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("n_parameters"), int | None)
        and value.get("verdict") in get_args(Verdict)
        and isinstance(value.get("checks"), list)
        and all(isinstance(check, dict) and set(check) >= _KEYS for check in value["checks"])
    )
