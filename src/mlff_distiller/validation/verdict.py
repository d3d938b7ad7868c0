"""The verdict on a student: measurements judged by criteria, and nothing else."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal, get_args

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_json
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.criteria import CriteriaPlan, Outcome

Verdict = Literal["APPROVED", "SCREENING_ONLY", "REJECTED", "INCONCLUSIVE"]
FORMAT: Final = "mlffd-verdict"
VERSION: Final = 1
_KEYS: Final = ("name", "value", "unit", "ci95", "limit", "outcome")


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
        PASS, FAIL, INCONCLUSIVE or REPORTED.
    screening_limit, screening_outcome
        The same for screening use.
    required : bool
        Whether the verdict depends on it.
    symbol : str
        "≤" or "≥".
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


@dataclass(frozen=True)
class StudentVerdict:
    """The verdict and the checks that it follows from."""

    verdict: Verdict
    checks: tuple[CheckOutcome, ...]

    def check(self, name: str) -> CheckOutcome | None:
        """Return one check by name, or None."""
        return next((check for check in self.checks if check.name == name), None)


def judge(measurements: Sequence[Measurement], criteria: CriteriaPlan) -> StudentVerdict:
    """Judge a student by its measurements.

    Only required checks count; a check that did not run is INCONCLUSIVE. The first row that applies decides:

    ==============  ===================================  ===================================
    Verdict         at the screening limit               at the production limit
    ==============  ===================================  ===================================
    REJECTED        any FAIL                             any
    APPROVED        all PASS                             all PASS
    SCREENING_ONLY  all PASS                             at least one FAIL
    INCONCLUSIVE    some INCONCLUSIVE, no FAIL           any
    INCONCLUSIVE    all PASS                             some INCONCLUSIVE, no FAIL
    INCONCLUSIVE    no check is required                 no check is required
    ==============  ===================================  ===================================

    Parameters
    ----------
    measurements : sequence of Measurement
        All that was measured, each name once.
    criteria : CriteriaPlan
        The limits.

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
    required = criteria.names(required=True)
    order = [name for name in criteria.names() if name in known or name in required]
    order += [name for name in known if name not in order]
    checks = tuple(_check(name, known.get(name), criteria) for name in order)
    return StudentVerdict(_verdict([check for check in checks if check.required]), checks)


def _check(name: str, measurement: Measurement | None, criteria: CriteriaPlan) -> CheckOutcome:
    criterion = criteria.criterion(name)
    found = measurement or Measurement(name, float("nan"), "")
    return CheckOutcome(
        name=name,
        value=found.value,
        unit=found.unit,
        ci95=found.ci95,
        limit=criterion.limit,
        outcome=criterion.outcome(measurement),
        screening_limit=criterion.screening,
        screening_outcome=criterion.outcome(measurement, screening=True),
        required=criterion.required,
        symbol=criterion.symbol if criterion.limit is not None else "",
    )


def _verdict(required: list[CheckOutcome]) -> Verdict:
    production = {check.outcome for check in required}
    screening = {check.screening_outcome for check in required}
    if "FAIL" in screening:
        return "REJECTED"
    if production == {"PASS"}:
        return "APPROVED"
    if screening == {"PASS"} and "FAIL" in production:
        return "SCREENING_ONLY"
    return "INCONCLUSIVE"


def write_verdict(path: Path, students: dict[str, tuple[int, StudentVerdict]]) -> None:
    """Write ``verdict.json`` atomically; a number that is not finite becomes null.

    Parameters
    ----------
    path : Path
        Where to.
    students : dict
        Name to number of parameters and verdict.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "verdict.json"
    >>> write_verdict(path, {"tiny": (77203, judge([], CriteriaPlan()))})
    >>> read_verdict(path)["students"]["tiny"]["verdict"]
    'INCONCLUSIVE'
    """
    found = {
        name: {
            "n_parameters": n_parameters,
            "verdict": verdict.verdict,
            "checks": [_plain(check) for check in verdict.checks],
        }
        for name, (n_parameters, verdict) in students.items()
    }
    write_json(path, {"format": FORMAT, "version": VERSION, "students": found})


def _plain(check: CheckOutcome) -> dict[str, Any]:
    plain = {key: value for key, value in asdict(check).items() if key in _KEYS}
    ends = check.ci95 or ()
    plain["value"] = check.value if isfinite(check.value) else None
    plain["ci95"] = list(ends) if ends and all(isfinite(end) for end in ends) else None
    return plain


def read_verdict(path: Path) -> dict[str, Any]:
    """Return the content of a ``verdict.json``.

    Raises
    ------
    DataError
        If the file is missing, is no verdict, is damaged or was written by a newer release.
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
    return value


def _is_student(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("n_parameters"), int)
        and value.get("verdict") in get_args(Verdict)
        and isinstance(value.get("checks"), list)
        and all(isinstance(check, dict) and set(check) == set(_KEYS) for check in value["checks"])
    )
