"""The result of an audit, and the file it is kept in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from mlff_distiller.core import provenance
from mlff_distiller.core.errors import DataError, DistillerError
from mlff_distiller.core.evidence import Skipped
from mlff_distiller.core.files import write_json
from mlff_distiller.core.html.words import quantity
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.audit.theme import Judged, Outcome, ThemeResult
from mlff_distiller.validation.records import decoded, encoded

FORMAT: Final = "mlffd-audit"
VERSION: Final = 1

_WORTH_SAYING: Final = 1e-3  # eV/Angstrom
_SMALLEST_SAID: Final = 1e-6
_CLEARLY_LESS: Final = 0.9


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Parameters
    ----------
    teacher : dict
        Identity of the teacher.
    is_conservative : bool
        Whether it says that its forces are the gradient of its energy.
    floor : Measurement
        The error floor, eV/Angstrom.
    themes : sequence of ThemeResult
        All themes, in the order of a report.
    hopeless : sequence of str
        Why it cannot be distilled at all, a sentence each; empty where it can.
    facts : dict
        What was looked at: numbers of systems and structures, elapsed_s, settings.
    """

    teacher: Mapping[str, str]
    is_conservative: bool
    floor: Measurement
    themes: Sequence[ThemeResult]
    hopeless: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The teacher, as a reader would name it."""
        return f"{self.teacher['kind']} ({self.teacher['version']})"

    @property
    def measurements(self) -> dict[str, Measurement]:
        """All measurements by name."""
        return {check.measurement.name: check.measurement for theme in self.themes for check in theme.checks}

    @property
    def floor_sentence(self) -> str:
        """What the error floor means."""
        floor = self.floor
        if floor.value != floor.value:
            return "The error floor is unknown, because nothing that it is made of could be measured."
        size = quantity(floor.value, "eV/A", 2)
        above = (
            f" (95 % interval {quantity(floor.ci95[0], '', 2)} to {quantity(floor.ci95[1], '', 2)})"
            if floor.ci95
            else ""
        )
        if floor.ci95 and floor.ci95[1] < _WORTH_SAYING and not floor.detail["missing"]:
            most = quantity(max(floor.ci95[1], _SMALLEST_SAID), "eV/A", 1)
            return f"Nothing keeps a student from following this teacher's forces: the error floor is below {most}."
        least = f"at least {size}" if floor.detail["missing"] else size
        unknown = (
            f"; whether it is {' or '.join(floor.detail['missing'])} was not measured"
            if floor.detail["missing"]
            else ""
        )
        free = floor.detail.get("without_energies", floor.value)
        freer = (
            f"; one that gave up the energies, no closer than {quantity(free, 'eV/A', 2)}"
            if floor.value > _WORTH_SAYING and free < _CLEARLY_LESS * floor.value
            else ""
        )
        return (
            f"No student that follows this teacher's energies can come closer to its forces than {least}{above}"
            f"{freer}{unknown}."
        )

    def theme(self, name: str) -> ThemeResult:
        """Return one theme by name."""
        return next(theme for theme in self.themes if theme.name == name)

    def demand(self, stop_on: str, *, where: str = "") -> None:
        """Raise if the teacher must not label.

        Parameters
        ----------
        stop_on : str
            "hopeless": only a teacher that cannot be distilled at all; "failure": any failed check; "never".
        where : str
            The file to look into.

        Raises
        ------
        DistillerError
            With the first reason.
        """
        failed = [theme.sentence for theme in self.themes if theme.outcome == "FAIL"] if stop_on == "failure" else []
        reasons = [] if stop_on == "never" else [*self.hopeless, *failed]
        if reasons:
            look = f"; see {where}" if where else ""
            raise DistillerError(
                f"the audit stops before labeling with {self.name}: {_inner(reasons[0])}{look}, then mend the teacher "
                "or the recipe, or set audit.stop_on to never"
            )

    def write(self, path: Path) -> None:
        """Write ``audit.json`` atomically."""
        themes = [
            {
                "name": theme.name,
                "title": theme.title,
                "outcome": theme.outcome,
                "sentence": theme.sentence,
                "checks": [
                    {**check.measurement.to_json(), "limit": check.limit, "outcome": check.outcome}
                    for check in theme.checks
                ],
                "skipped": [vars(skipped) for skipped in theme.skipped],
            }
            for theme in self.themes
        ]
        found = {
            "teacher": dict(self.teacher),
            "is_conservative": self.is_conservative,
            "floor": self.floor.to_json(),
            "themes": themes,
            "hopeless": list(self.hopeless),
            "facts": dict(self.facts),
        }
        write_json(path, {"format": FORMAT, "version": VERSION, **provenance.stamp(), **encoded(found)})


def read_audit(path: Path) -> AuditResult:
    """Return the result that :meth:`AuditResult.write` wrote.

    Raises
    ------
    DataError
        If the file is missing, is something else, is damaged or was written by a newer release.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; audit the teacher first with `mlffd teacher audit`")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        found, version = value["format"], value["version"]
        if found == FORMAT and version <= VERSION:
            return _result(decoded(value))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is no audit or is damaged ({error}); delete it and audit again") from error
    if found != FORMAT:
        raise DataError(f"{path} is not an audit of mlffd; give the audit.json of a run directory")
    raise DataError(f"{path} has format version {version}, this release reads up to {VERSION}; install a newer one")


def _result(value: Mapping[str, Any]) -> AuditResult:
    teacher = {str(key): str(inner) for key, inner in value["teacher"].items()}
    missing = {"kind", "version"} - teacher.keys()
    if missing:
        raise KeyError(f"teacher.{missing.pop()}")
    floor = Measurement.from_json(value["floor"])
    themes = tuple(_theme(theme) for theme in value["themes"])
    return AuditResult(
        teacher, bool(value["is_conservative"]), floor, themes, tuple(value["hopeless"]), dict(value["facts"])
    )


def _theme(value: Mapping[str, Any]) -> ThemeResult:
    checks = []
    for plain in value["checks"]:
        own = {key: inner for key, inner in plain.items() if key not in ("limit", "outcome")}
        checks.append(Judged(Measurement.from_json(own), plain["limit"], _outcome(plain["outcome"])))
    skipped = tuple(Skipped(**plain) for plain in value["skipped"])
    names = value["name"], value["title"]
    return ThemeResult(*names, _outcome(value["outcome"]), value["sentence"], tuple(checks), skipped)


def _outcome(value: Any) -> Outcome:
    if value not in get_args(Outcome):
        raise ValueError(f"unknown outcome {value!r}")
    found: Outcome = value
    return found


def _inner(sentence: str) -> str:
    """Return a sentence as part of another."""
    return f"{sentence[:1].lower()}{sentence[1:].removesuffix('.')}"
