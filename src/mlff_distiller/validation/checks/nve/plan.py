"""The check of constant-energy dynamics: its settings and its runs."""

from math import ceil
from typing import ClassVar, Final

from pydantic import Field

from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.dynamics.failures import Limits
from mlff_distiller.dynamics.nve import NVERun, NVESettings
from mlff_distiller.dynamics.velocities import degrees_of_freedom, maxwell_boltzmann
from mlff_distiller.validation.check import CheckPlan
from mlff_distiller.validation.checks.nve.drift import conservation
from mlff_distiller.validation.checks.nve.forensics import with_labels
from mlff_distiller.validation.checks.nve.record import NVERecord
from mlff_distiller.validation.checks.nve.stability import completion, geometry
from mlff_distiller.validation.trial import Trial

JOURNAL: Final = "journal"
"""Folder of unfinished runs inside that of the check."""

_MOST_FRAMES: Final = 200


_DYNAMICS: Final = ("nve_systems", "nve_replicas", "nve_duration", "nve_stability", "nve_drift", "nve_drift_percent")
"""What asks for runs."""


class NVEPlan(CheckPlan):
    """Constant-energy dynamics with the student: how long, how hot, how often."""

    asks_teacher: ClassVar[bool] = True

    duration_ps: float = Field(10.0, gt=0, le=1e5, description="Length of each constant-energy run.")
    timestep_fs: float = Field(0.5, ge=1e-3, le=10, description="Time step of velocity Verlet.")
    temperature_K: float = Field(300.0, gt=0, description="Temperature at which the starting velocities are drawn.")
    n_replicas: int = Field(
        3, ge=1, description="Runs per system with different velocities; an interval needs at least two."
    )
    record_every: int = Field(10, ge=1, description="Steps between recorded energies.")
    limits: Limits = Field(Limits(), description="What counts as a failed run.")

    @property
    def n_steps(self) -> int:
        """Number of steps of a run, never shorter than the duration asked for."""
        return ceil(round(self.duration_ps * 1000 / self.timestep_fs, 6))

    def measure(self, trial: Trial) -> Evidence:
        """Run all systems and replicas in one batch and return what was seen.

        Starting points of a system are used by its replicas in turn; a frame sampled near the temperature asked for
        starts closer to equilibrium than a relaxed geometry, whose temperature halves. The arrays are the fields of
        an :class:`NVERecord`.

        Raises
        ------
        DataError
            If there are no systems.

        Examples
        --------
        >>> from mlff_distiller.atoms.structure import Structure
        >>> from mlff_distiller.potentials.analytic import harmonic
        >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.05]])
        >>> plan = NVEPlan(duration_ps=0.05, timestep_fs=0.25)
        >>> evidence = plan.measure(Trial(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), {"H2": [h2]}))
        >>> evidence.measurement("nve_stability").value
        1.0
        """
        moving = {name for name, structure in trial.systems.items() if degrees_of_freedom(structure)}
        if not moving:
            return Evidence(skipped=[Skipped(name, "single atoms do not move", applies=False) for name in _DYNAMICS])
        starts = {name: own for name, own in trial.starts.items() if name in moving}
        runs = [(own[r % len(own)], name, r) for name, own in starts.items() for r in range(self.n_replicas)]
        velocities = [
            maxwell_boltzmann(structure, self.temperature_K, trial.rng("nve", name, replica))
            for structure, name, replica in runs
        ]
        folder = None if trial.folder is None else trial.folder / JOURNAL
        run = NVERun(trial.potential, [start for start, _, _ in runs], velocities, self.settings, folder=folder)
        trace = run.finish(trial.reporter.start(f"dynamics {trial.name}", self.n_steps, done=run.n_done))
        record = NVERecord.from_trace(trace, [name for _, name, _ in runs], self.duration_run_ps)
        record = with_labels(record, trial.potential, trial.teacher if record.failed else None)
        trained = () if trial.held_out is None else trial.held_out.trained
        measurements = self.summarize(record, n_systems=max(len(starts), len(trained)))
        skipped = [*geometry(record).skipped]
        if not any(m.name == "nve_equipartition" for m in measurements):
            skipped.append(Skipped("nve_equipartition", "no system has two elements", applies=False))
        return Evidence(measurements, skipped, vars(record))

    @property
    def duration_run_ps(self) -> float:
        """Length of a run in whole steps, ps."""
        return round(self.n_steps * self.timestep_fs / 1000, 9)

    @property
    def _lenient(self) -> str:
        """What counts as a failed run later than by default; empty where nothing does."""
        usual, own = Limits(), self.limits
        looser = {
            "max_force": own.max_force > usual.max_force,
            "max_temperature_K": own.max_temperature_K > usual.max_temperature_K,
            "min_distance": own.min_distance < usual.min_distance,
            "escape_distance": own.escape_distance > usual.escape_distance,
        }
        found = [name for name, is_looser in looser.items() if is_looser]
        return f"with looser limits than the default: {', '.join(found)}" if found else ""

    @property
    def settings(self) -> NVESettings:
        """How the runs are made: of geometries a hundred to two hundred are kept, however long they are."""
        record_every = min(self.record_every, self.n_steps)
        frame_every = record_every * max(1, ceil(self.n_steps / record_every / _MOST_FRAMES))
        return NVESettings(self.timestep_fs, self.n_steps, record_every, frame_every, self.limits)

    def summarize(self, record: NVERecord, *, n_systems: int | None = None) -> list[Measurement]:
        """Return the measurements of runs made before, of so many systems as there are to run."""
        settings = self.model_dump(mode="json", include={"duration_ps", "timestep_fs", "temperature_K", "n_replicas"})
        about = {"settings": settings, **({"lenient": said} if (said := self._lenient) else {})}
        found = [*completion(record, n_systems), *geometry(record).measurements, *conservation(record)]
        return [Measurement(m.name, m.value, m.unit, m.ci95, m.n_samples, {**about, **m.detail}) for m in found]
