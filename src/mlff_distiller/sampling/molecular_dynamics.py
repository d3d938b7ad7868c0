"""Molecular dynamics with the teacher: the structures that a simulation will really meet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Reporter
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.plan import PotentialPlan
from mlff_distiller.sampling.sampler import MAX_FRAMES, SamplerPlan, SamplingTask
from mlff_distiller.teachers.resident import resident_teacher

Temperature = Annotated[float, Field(gt=0, le=20_000)]


class MDPlan(SamplerPlan):
    """Langevin dynamics with the teacher, for every seed at every temperature.

    A trajectory is cut into segments with unsampled gaps between them, so that two segments are never near copies
    and a split of the data by segments is an honest one.

    Examples
    --------
    >>> plan = MDPlan(duration_ps=3, segment_ps=0.9, gap_ps=0.1, frame_interval_fs=10)
    >>> plan.n_frames, plan.segment_of(0), plan.segment_of(95), plan.segment_of(100)
    (270, 0, None, 1)
    """

    kind: Literal["md"] = Field("md", description="Langevin dynamics with the teacher.")
    temperatures_K: tuple[Temperature, ...] = Field(
        (300.0, 600.0, 1000.0), min_length=1, description="Temperatures; hot runs reach rare, strained geometries."
    )
    n_walkers: int = Field(
        1, ge=1, description="Runs for each seed and temperature; they start from its conformers in turn."
    )
    duration_ps: float = Field(5.0, gt=0, le=1e5, description="Length of each run after equilibration.")
    equilibration_ps: float = Field(0.25, ge=0, le=1e5, description="Time before the first structure is taken.")
    timestep_fs: float = Field(0.5, ge=1e-3, le=5, description="Time step; 0.5 fs suits bonds with hydrogen.")
    friction_per_ps: float = Field(10.0, gt=0, le=1000, description="Strength of the coupling to the heat bath.")
    frame_interval_fs: float = Field(10.0, gt=0, le=1e8, description="Time between structures that are taken.")
    segment_ps: float = Field(
        0.4, gt=0, le=1e5, description="Length of a segment; a split keeps its structures together."
    )
    gap_ps: float = Field(0.1, ge=0, le=1e5, description="Time between segments in which no structures are taken.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.temperatures_K)) < len(self.temperatures_K):
            raise ValueError("temperatures_K names a temperature twice; use n_walkers for several runs")
        if self.duration_ps * 1000 < self.interval_steps * self.timestep_fs:
            raise ValueError("duration_ps is shorter than frame_interval_fs, so there would be no structures")
        if self.n_frames >= MAX_FRAMES:
            raise ValueError(f"a run would give {self.n_frames} structures; take a longer frame_interval_fs")
        return self

    @property
    def interval_steps(self) -> int:
        """Steps between recorded frames."""
        return max(1, round(self.frame_interval_fs / self.timestep_fs))

    @property
    def n_equilibration(self) -> int:
        """Recorded frames before the first one that counts."""
        return self._frames(self.equilibration_ps)

    @property
    def n_recorded(self) -> int:
        """Recorded frames after equilibration, gaps included."""
        return self._frames(self.duration_ps)

    @property
    def n_frames(self) -> int:
        """Frames that are taken from each run."""
        length, period = self._segment()
        whole, rest = divmod(self.n_recorded, period)
        return whole * length + min(rest, length)

    def segment_of(self, frame: int) -> int | None:
        """Return the segment of a recorded frame (0: the first after equilibration), or None in a gap."""
        length, period = self._segment()
        segment, place = divmod(frame, period)
        return segment if place < length else None

    def _segment(self) -> tuple[int, int]:
        length = max(1, self._frames(self.segment_ps))
        return length, length + self._frames(self.gap_ps)

    def _frames(self, duration_ps: float) -> int:
        return round(duration_ps * 1000 / (self.interval_steps * self.timestep_fs))

    def tasks(self, seeds: Sequence[Structure], name: str) -> Sequence[SamplingTask]:
        """Return one task for each seed, temperature and walker; see :meth:`SamplerPlan.tasks`."""
        conformers: dict[str, list[Structure]] = {}
        for seed in seeds:
            if len(seed) > 1:  # one atom has no geometry to explore
                conformers.setdefault(seed.info["seed"], []).append(seed)
        return [
            Walker(self, group[(row * self.n_walkers + walker) % len(group)], name, temperature, walker)
            for group in conformers.values()
            for row, temperature in enumerate(self.temperatures_K)
            for walker in range(self.n_walkers)
        ]


@dataclass(frozen=True)
class Walker:
    """One run.

    Parameters
    ----------
    plan : MDPlan
        Settings.
    start : Structure
        Where it starts.
    name : str
        Of the sampler.
    temperature_K : float
        Of the bath.
    walker : int
        Number among the runs of the same seed and temperature.
    """

    plan: MDPlan
    start: Structure
    name: str
    temperature_K: float
    walker: int

    @property
    def title(self) -> str:
        """Seed, sampler, temperature and walker."""
        return f"{self.stratum}/w{self.walker}"

    @property
    def stratum(self) -> str:
        """Seed, sampler and temperature: what all its walkers sample."""
        return f"{self.start.info['seed']}/{self.name}/{self.temperature_K:g}K"

    @property
    def n_steps(self) -> int:
        """Number of time steps, equilibration included."""
        return (self.plan.n_equilibration + self.plan.n_recorded) * self.plan.interval_steps

    @property
    def n_structures(self) -> int:
        """Number of frames."""
        return self.plan.n_frames

    @property
    def n_calls(self) -> int:
        """One for each time step."""
        return self.n_steps

    def draw(self, teacher: PotentialPlan, seed: int, reporter: Reporter) -> list[Structure]:
        """Return the frames; those before a failure where there was one; see :class:`SamplingTask`."""
        from mlff_distiller.dynamics.failures import DynamicsFailure

        advance = reporter.start(self.title, self.n_steps)
        frames: list[Structure] = []
        step = 0
        try:
            for step, structure in self._run(teacher, seed):
                advance(self.plan.interval_steps)
                frames += self._taken(step, structure)
        except DynamicsFailure as failure:
            reached = f"{step * self.plan.timestep_fs / 1000:.3g} of {self.n_steps * self.plan.timestep_fs / 1000:.3g}"
            reporter.message(f"{self.title} stopped after {reached} ps ({failure.reason}); {len(frames)} frames kept")
            advance(self.n_steps - step)
        return frames

    def _taken(self, step: int, structure: Structure) -> list[Structure]:
        frame = step // self.plan.interval_steps - 1 - self.plan.n_equilibration
        segment = self.plan.segment_of(frame) if frame >= 0 else None
        if segment is None:
            return []
        origin = {"sampler": self.name, "temperature_K": self.temperature_K, "walker": self.walker}
        return [structure.tagged(**origin, segment=f"{self.title}/s{segment:02d}", stratum=self.stratum)]

    def _run(self, teacher: PotentialPlan, seed: int) -> Iterator[tuple[int, Structure]]:
        from mlff_distiller.dynamics.failures import DEFAULT_LIMITS, DynamicsFailure
        from mlff_distiller.dynamics.langevin import run_langevin
        from mlff_distiller.dynamics.velocities import maxwell_boltzmann
        from mlff_distiller.dynamics.watch import Watch

        watch = Watch(self.start, DEFAULT_LIMITS)
        velocities = maxwell_boltzmann(
            self.start, self.temperature_K, generator(seed, "sampling", self.title, "velocities")
        )
        trajectory = run_langevin(
            resident_teacher(teacher),
            [self.start],
            [velocities],
            temperatures_K=[self.temperature_K],
            friction_per_ps=self.plan.friction_per_ps,
            timestep_fs=self.plan.timestep_fs,
            n_steps=self.n_steps,
            rngs=[generator(seed, "sampling", self.title, "bath")],
            record_every=self.plan.interval_steps,
        )
        for step, (structure,), _ in trajectory:
            fault = watch.fault(structure.positions)
            if fault:
                raise DynamicsFailure(0, fault.reason)
            yield step, structure
