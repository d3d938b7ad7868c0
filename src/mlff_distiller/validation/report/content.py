"""What a report is made of: plain numbers, gathered before and drawn later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.audit.result import AuditResult
from mlff_distiller.validation.checks.force_errors import Parity
from mlff_distiller.validation.checks.nve_drift import NVERecord
from mlff_distiller.validation.verdict import CheckOutcome, StudentVerdict


@dataclass(frozen=True, eq=False)
class StudentReport:
    """One student: how it was trained, what was measured, what was judged.

    Parameters
    ----------
    n_parameters : int
        Trainable parameters.
    verdict : StudentVerdict
        The verdict with all checks.
    measurements : sequence of Measurement
        Everything measured, with details per element and system.
    history : sequence of dict
        Training log with any of the keys ``step``, ``epoch``, ``train_loss``, ``validation_force_rmse`` (eV/A),
        ``validation_energy_rmse_per_atom`` (eV/atom), ``learning_rate``.
    parity : Parity, optional
        Reference and prediction on held-out frames.
    nve : NVERecord, optional
        Energies of the constant-energy runs.
    """

    n_parameters: int
    verdict: StudentVerdict
    measurements: Sequence[Measurement] = ()
    history: Sequence[Mapping[str, Any]] = ()
    parity: Parity | None = None
    nve: NVERecord | None = None

    def measurement(self, name: str) -> Measurement | None:
        """Return a measurement by name, or None."""
        return next((m for m in self.measurements if m.name == name), None)

    def check(self, name: str) -> CheckOutcome | None:
        """Return a judged check by name, or None."""
        return self.verdict.check(name)


@dataclass(frozen=True, eq=False)
class ReportData:
    """All that goes into a report.

    Parameters
    ----------
    name : str
        Name of the recipe.
    teacher : str
        The teacher, as a reader would name it ("GFN2-xTB").
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
