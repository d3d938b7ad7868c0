"""Waivers: signed lines that say why a student is used all the same; they leave its verdict as it is."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from pydantic import Field

from mlff_distiller.core.errors import DataError, PlanError
from mlff_distiller.core.files import write_json
from mlff_distiller.core.plan import Plan
from mlff_distiller.core.registry import nearest

FORMAT: Final = "mlffd-waivers"
VERSION: Final = 1


class Waiver(Plan):
    """Who answers for using a student although a check did not pass, and why.

    Examples
    --------
    >>> Waiver(check="nve_drift", reason="thermostatted runs only", signed="A. Chemist").sentence
    'nve_drift is waived by A. Chemist: thermostatted runs only'
    """

    check: str = Field(min_length=1, description="Name of the check.")
    reason: str = Field(min_length=1, description="Why it does not matter for what the student is used for.")
    signed: str = Field(min_length=1, description="Name of who answers for that.")
    date: str = Field("", description="Day on which it was signed, for instance 2025-03-31.")
    student: str = Field("", description="Name of the student; all of the run if empty.")

    @property
    def sentence(self) -> str:
        """The waiver as one line."""
        of = f" of {self.student}" if self.student else ""
        on = f" on {self.date}" if self.date else ""
        return f"{self.check}{of} is waived by {self.signed}{on}: {self.reason}"

    def concerns(self, student: str) -> bool:
        """Whether it speaks of a student."""
        return self.student in ("", student)


def demand_known(waivers: Sequence[Waiver], checks: Collection[str], students: Collection[str] = ()) -> None:
    """Refuse waivers of checks or students that do not exist.

    Raises
    ------
    PlanError
        With the nearest name that does.

    Examples
    --------
    >>> demand_known([Waiver(check="nve_drit", reason="no", signed="me")], ["nve_drift"])
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.PlanError: unknown check 'nve_drit' in a waiver (did you mean 'nve_drift'?)
    """
    for waiver in waivers:
        for what, name, known in (("check", waiver.check, checks), ("student", waiver.student, students)):
            if name and known and name not in known:
                raise PlanError(f"unknown {what} '{name}' in a waiver{nearest(name, list(known))}")


def read_waivers(path: Path) -> list[Waiver]:
    """Return the waivers signed for a run; none where there is no file.

    Raises
    ------
    DataError
        If the file is damaged or was written by a newer release.
    """
    if not path.exists():
        return []
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        found, version = value["format"], value["version"]
        if found == FORMAT and version <= VERSION:
            return [Waiver.parse(plain, where=str(path)) for plain in value["waivers"]]
    except (OSError, ValueError, TypeError, KeyError, PlanError) as error:
        raise DataError(f"{path} holds no waivers or is damaged ({error}); delete it and sign again") from error
    raise DataError(f"{path} has format {found} version {version}, this release reads {FORMAT} up to {VERSION}")


def write_waivers(path: Path, waivers: Sequence[Waiver]) -> None:
    """Write the waivers of a run atomically.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "waivers.json"
    >>> write_waivers(path, [Waiver(check="nve_drift", reason="thermostatted", signed="A. Chemist")])
    >>> [waiver.signed for waiver in read_waivers(path)]
    ['A. Chemist']
    """
    plain = [waiver.model_dump() for waiver in waivers]
    write_json(path, {"format": FORMAT, "version": VERSION, "waivers": plain})
