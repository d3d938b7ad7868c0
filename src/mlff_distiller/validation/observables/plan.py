"""Settings of what is observed of a potential, the same for a teacher and its students."""

from math import ceil
from typing import Final, Self

from pydantic import Field, model_validator

from mlff_distiller.core.plan import Plan
from mlff_distiller.core.provenance import digest

_FEWEST_RECORDS: Final = 4


class ObservationPlan(Plan):
    """What is observed of every potential, and how long.

    Examples
    --------
    >>> ObservationPlan().n_steps, ObservationPlan().n_equilibration
    (4000, 800)
    """

    duration_ps: float = Field(2.0, gt=0, le=1e5, description="Length of each run at constant temperature.")
    equilibration_ps: float = Field(0.4, ge=0, description="First part of each run, which is left out.")
    n_replicas: int = Field(
        4,
        ge=2,
        le=1000,
        description="Runs per system; an interval needs at least three, and 4 give a far narrower one.",
    )
    temperature_K: float = Field(300.0, gt=0, description="Temperature of the bath.")
    friction_per_ps: float = Field(
        4.0,
        gt=0,
        description="Friction of the bath: widens spectral lines by 5 per cm for each 1/ps, and lets a run forget "
        "sooner how it began.",
    )
    timestep_fs: float = Field(0.5, ge=1e-3, le=10, description="Time step.")
    record_every: int = Field(
        4, ge=1, description="Steps between recorded geometries; the spectrum reaches to half their inverse interval."
    )
    frame_every: int = Field(
        80, ge=1, description="Steps between frames whose stress and pair distances are evaluated, in periodic systems."
    )
    rdf_range: float = Field(6.0, gt=0.5, le=20, description="Longest distance of radial distribution functions.")
    spectrum_width_per_cm: float = Field(
        20.0, ge=0, description="Width of the Gaussian that vibrational spectra are smoothed with."
    )
    relaxed_force: float = Field(
        1e-4, gt=0, description="Largest force on an atom at which a geometry counts as relaxed, eV/Angstrom."
    )
    max_relaxation_steps: int = Field(500, ge=1, description="Most steps of a relaxation.")
    max_hessian_atoms: int = Field(
        60, ge=1, description="Systems with more atoms get no harmonic frequencies: a Hessian takes six calls per atom."
    )
    n_torsions: int = Field(2, ge=0, description="Rotatable bonds scanned per system; heavy atoms come first.")
    torsion_points: int = Field(24, ge=4, le=360, description="Angles of a torsion scan.")
    dimer_range: float = Field(5.0, gt=1, description="Longest distance of a dimer curve, Angstrom.")
    dimer_points: int = Field(30, ge=5, description="Distances of a dimer curve.")
    energy_range_eV: float = Field(
        2.0,
        gt=0,
        description="Torsion and dimer curves are compared where the teacher is at most this above its lowest.",
    )
    volume_strain: float = Field(
        0.06, gt=0, lt=0.5, description="Largest relative change of the volume in an equation of state."
    )
    volume_points: int = Field(7, ge=5, description="Volumes of an equation of state.")
    shear_strain: float = Field(0.005, gt=0, lt=0.1, description="Strain for elastic constants.")

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if self.n_records < _FEWEST_RECORDS:
            raise ValueError(
                f"a run of {self.duration_ps:g} ps records {self.n_records} geometries after its equilibration: too "
                f"few; lengthen duration_ps or shorten record_every, so that there are {_FEWEST_RECORDS} or more"
            )
        return self

    @property
    def observation_digest(self) -> str:
        """Digest of everything that the observed numbers depend on."""
        return digest(self.model_dump(mode="json", include=set(ObservationPlan.model_fields)))

    @property
    def n_steps(self) -> int:
        """Number of steps of a run, never shorter than the duration asked for."""
        return ceil(round(self.duration_ps * 1000 / self.timestep_fs, 6))

    @property
    def n_equilibration(self) -> int:
        """Number of steps at the beginning that are left out."""
        return min(round(self.equilibration_ps * 1000 / self.timestep_fs), self.n_steps // 2)

    @property
    def interval_fs(self) -> float:
        """Time between recorded geometries, fs."""
        return self.record_every * self.timestep_fs

    @property
    def n_records(self) -> int:
        """Number of recorded geometries of a run."""
        return self.n_steps // self.record_every - self.n_equilibration // self.record_every

    @property
    def n_frames(self) -> int:
        """Number of frames of a run whose stress and pair distances are evaluated."""
        return len(range(0, self.n_records, self.frame_stride))

    @property
    def frame_stride(self) -> int:
        """Recorded geometries from one frame to the next."""
        return max(self.frame_every // self.record_every, 1)
