"""What is measured of a teacher before it labels, and how much of each fault is tolerated."""

from typing import Final, Literal

from pydantic import Field

from mlff_distiller.core.plan import Plan
from mlff_distiller.validation.criterion import AtMost

EXACT: Final = (
    "uncovered_structures",
    "failed_structures",
    "missing_hydrogens",
    "odd_electrons",
    "ignored_charges",
    "nve_failed_runs",
)
"""Counts, of which none may be found."""


class AuditLimits(Plan):
    """Limits of the audit; a number that has none here is only reported.

    Examples
    --------
    >>> AuditLimits(force_residual=0.05).criterion("force_residual").limit
    0.05
    >>> AuditLimits().criterion("time_per_call").limit is None
    True
    """

    force_residual: float = Field(
        0.01, gt=0, description="Forces against the gradient of the energy, root mean square, eV/Angstrom."
    )
    loop_force: float = Field(
        0.005, gt=0, description="Mean force along closed loops, which is zero for every energy, eV/Angstrom."
    )
    force_spread: float = Field(
        0.01,
        gt=0,
        description="Spread of a force component over what must not matter: rotations, mirror images, translations, "
        "order of atoms, periodic images, supercells, batches and repeated calls, eV/Angstrom.",
    )
    energy_spread: float = Field(0.001, gt=0, description="The same for the energy, eV/atom.")
    energy_jump: float = Field(0.005, gt=0, description="Jump of the energy along a path, eV.")
    force_jump: float = Field(0.05, gt=0, description="Jump of a force along a path, eV/Angstrom.")
    stress_residual: float = Field(
        5e-4, gt=0, description="Stress against the derivative of the energy, root mean square, eV/Angstrom^3."
    )
    energy_noise: float = Field(0.001, gt=0, description="Rounding noise of the energy, eV/atom.")
    nve_drift_percent: float = Field(
        5.0, gt=0, description="Energy gained or lost in the constant-energy run in percent of the mean kinetic energy."
    )

    def criterion(self, name: str) -> AtMost:
        """Return the criterion of a measured number; one without a limit where it is only reported."""
        if name in EXACT:
            return AtMost(limit=0.0)
        kind = name if name in type(self).model_fields else _kind(name)
        return AtMost(limit=getattr(self, kind, None))


def _kind(name: str) -> str:
    """Return the limit that a spread over some change falls under."""
    return next((kind for kind in ("force_spread", "energy_spread", "force_jump", "energy_jump") if kind in name), "")


class AuditPlan(Plan):
    """The audit of the teacher: what is measured before it labels, for how long, and what stops the run.

    Examples
    --------
    >>> AuditPlan().stop_on
    'hopeless'
    """

    enabled: bool = Field(True, description="Whether a run audits its teacher before it draws or labels anything.")
    stop_on: Literal["hopeless", "failure", "never"] = Field(
        "hopeless",
        description="What stops a run before anything is drawn or labeled: a teacher that cannot be distilled at all, "
        "any failed check, or nothing.",
    )
    budget_s: float = Field(
        120.0, gt=0, description="Most time for the whole audit, s; a check that does not fit in is said to be missing."
    )
    n_systems: int = Field(6, ge=1, description="Systems whose structures are looked at closely.")
    n_per_system: int = Field(4, ge=1, description="Structures of each: starting geometries with displacements.")
    amplitude: float = Field(
        0.06, gt=0, le=1, description="Standard deviation of each coordinate's displacement, Angstrom."
    )
    n_directions: int = Field(8, ge=2, description="Random directions for finite differences, for each structure.")
    n_loops: int = Field(3, ge=1, description="Closed loops for each structure.")
    n_rotations: int = Field(
        4, ge=2, description="Random rotations, mirrored rotations, translations and orders of atoms, of each."
    )
    n_repeats: int = Field(3, ge=2, description="How often the same call is repeated.")
    largest_scan_A: float = Field(
        12.0, gt=3, le=100, description="End of the scan through the cutoff where the teacher names none, Angstrom."
    )
    duration_ps: float = Field(0.25, gt=0, le=100, description="Length of the constant-energy run of the teacher.")
    timestep_fs: float = Field(0.5, ge=1e-3, le=10, description="Its time step.")
    temperature_K: float = Field(300.0, gt=0, description="Temperature of its starting velocities.")
    limits: AuditLimits = Field(AuditLimits(), description="What counts as a failed check.")
