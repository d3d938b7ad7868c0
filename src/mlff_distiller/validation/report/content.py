"""What a report is made of: plain numbers, gathered before and drawn later."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.audit.result import AuditResult
from mlff_distiller.validation.checks.errors.parity import Parity
from mlff_distiller.validation.checks.nve.record import NVERecord
from mlff_distiller.validation.verdict import CheckOutcome, StudentVerdict

Record = TypeVar("Record", Parity, NVERecord)


@dataclass(frozen=True, eq=False)
class StudentReport:
    """One student, or any other potential: how it was trained, what was measured, what was judged.

    Parameters
    ----------
    n_parameters : int or None
        Trainable parameters; None where that is not known (an ASE calculator).
    verdict : StudentVerdict
        The verdict with all checks.
    evidence : mapping
        What each check found, by its name; ``timing`` is the time of a step.
    history : sequence of dict
        Training log with any of the keys ``step``, ``epoch``, ``train_loss``, ``validation_force_rmse`` (eV/A),
        ``validation_energy_rmse_per_atom`` (eV/atom), ``learning_rate``; empty for what was not trained here.
    """

    n_parameters: int | None
    verdict: StudentVerdict
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()

    @property
    def measurements(self) -> list[Measurement]:
        """Everything measured, with details per element and system."""
        return [m for found in self.evidence.values() for m in found.measurements]

    @property
    def parity(self) -> Parity | None:
        """Reference and prediction on held-out frames, where they were compared."""
        return self._record("errors", Parity)

    @property
    def visited(self) -> Parity | None:
        """The same on frames that its own dynamics visited."""
        return self._record("visited", Parity)

    @property
    def nve(self) -> NVERecord | None:
        """Energies of the constant-energy runs, where there were any."""
        return self._record("nve", NVERecord)

    def arrays(self, check: str) -> dict[str, Any]:
        """Return the arrays behind the numbers of a check; empty where it did not run."""
        return dict(self.evidence[check].arrays) if check in self.evidence else {}

    def _record(self, check: str, kind: type[Record]) -> Record | None:
        """Return the arrays of a check as a record, or None where some that it needs are not there."""
        arrays = self.arrays(check)
        known = {one.name: arrays[one.name] for one in fields(kind) if one.name in arrays}
        needed = (one.name for one in fields(kind) if one.default_factory is MISSING)
        return kind(**known) if all(name in known for name in needed) else None

    def measurement(self, name: str) -> Measurement | None:
        """Return a measurement by name, or None."""
        return next((m for m in self.measurements if m.name == name), None)

    def check(self, name: str) -> CheckOutcome | None:
        """Return a judged check by name, or None."""
        return self.verdict.check(name)


@dataclass(frozen=True, eq=False)
class ReportData:
    """All that goes into a report; what was validated without training has no learning, and maybe no teacher or data.

    Parameters
    ----------
    name : str
        Name of the recipe.
    teacher : str
        The teacher, as a reader would name it ("GFN2-xTB"); empty where there is none.
    recipe : dict
        The recipe as plain data, defaults included.
    recipe_yaml : str
        The same as YAML, to read.
    dataset : dict
        From :func:`~mlff_distiller.validation.report.summary.summarize_dataset`.
    refusals : dict
        Reason to number of structures that were not labeled or refused.
    students : dict
        Name to :class:`StudentReport`.
    provenance : dict
        Versions, machine, digests and commands; any nesting of plain data.
    audit : AuditResult, optional
        What the audit of the teacher found.
    """

    name: str
    teacher: str
    recipe: Mapping[str, Any]
    recipe_yaml: str
    dataset: Mapping[str, Any]
    students: Mapping[str, StudentReport]
    refusals: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    audit: AuditResult | None = None

    @property
    def is_trained(self) -> bool:
        """Whether any of the students was trained here."""
        return any(student.history for student in self.students.values())
