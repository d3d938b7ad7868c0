"""NVE: constant-energy dynamics of many systems at once, by velocity Verlet."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Advance
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.core.units import BOLTZMANN, FEMTOSECOND
from mlff_distiller.dynamics.failures import DEFAULT_LIMITS, Failure, Limits, count_fragments, geometry_fault
from mlff_distiller.dynamics.replicas import Replicas
from mlff_distiller.dynamics.velocities import degrees_of_freedom
from mlff_distiller.potentials.base import Potential

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NVETrace:
    """What S systems did during a run, at T recorded times.

    Attributes
    ----------
    times_ps : (T,)
        Recorded times, ps; the first is 0.
    potential_energy, kinetic_energy : (T, S)
        eV; NaN from the moment a system failed.
    temperatures_K : (T, S)
        From the kinetic energy and the degrees of freedom of the starting point.
    n_atoms : (S,) int64
        Atoms of each system.
    failures : tuple of Failure or None
        Why and when a system failed; None where it ran to the end.
    frames : tuple of lists of Structure
        Geometries of each system, the starting point and every ``frame_every`` steps.
    structures : list of Structure
        Last geometry of each system; of a failed one, where it failed.
    velocities : list of (n, 3)
        Last velocities, Angstrom per ASE time unit.
    """

    times_ps: Floats
    potential_energy: Floats
    kinetic_energy: Floats
    temperatures_K: Floats
    n_atoms: NDArray[np.int64]
    failures: tuple[Failure | None, ...]
    frames: tuple[list[Structure], ...]
    structures: list[Structure]
    velocities: list[Floats]

    @property
    def total_energy(self) -> Floats:
        """Potential plus kinetic energy (T, S), eV."""
        return self.potential_energy + self.kinetic_energy


def run_nve(  # noqa: PLR0913 - each is a setting of the run
    potential: Potential,
    structures: Sequence[Structure],
    velocities: Sequence[Floats],
    *,
    timestep_fs: float,
    n_steps: int,
    record_every: int = 10,
    frame_every: int = 1000,
    limits: Limits = DEFAULT_LIMITS,
    advance: Advance | None = None,
) -> NVETrace:
    """Run velocity Verlet for all systems together, one evaluation of the batch at each step.

    A system that leaves the limits, or that the potential cannot evaluate, is frozen and dropped with its reason;
    the others go on unchanged. Forces and temperature are checked at every step, distances at recorded steps.
    Source: Swope et al. 1982, doi:10.1063/1.442716.

    Parameters
    ----------
    potential : Potential
        What gives the forces.
    structures : sequence of Structure
        Starting points, S of them.
    velocities : sequence of (n, 3)
        Angstrom per ASE time unit, for instance from
        :func:`~mlff_distiller.dynamics.velocities.maxwell_boltzmann`.
    timestep_fs : float
        Time step, fs.
    n_steps : int
        Number of steps.
    record_every, frame_every : int
        Steps between recorded energies, and between kept geometries.
    limits : Limits
        What counts as failed.
    advance : Advance, optional
        Called with the number of steps done since the last call.

    Raises
    ------
    UnsupportedStructureError
        If the potential does not cover a structure.
    ValueError
        If velocities do not match the structures.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import harmonic
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.1]])
    >>> trace = run_nve(
    ...     harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), [h2], [np.zeros((2, 3))], timestep_fs=0.2, n_steps=20
    ... )
    >>> trace.total_energy.round(3).ravel().tolist()
    [0.05, 0.05, 0.05]
    """
    run = _Run(potential, Replicas(structures, velocities), limits)
    record = _Record(structures, timestep_fs, n_steps // record_every + 1)
    run.evaluate(0)
    run.drop(run.faults(), 0)
    run.drop(run.geometry_faults(), 0)
    record.energies(0, run.replicas)
    record.frame(run.replicas)
    reported = 0
    for step in range(1, n_steps + 1):
        if not run.replicas:
            break
        run.step(timestep_fs * FEMTOSECOND, step)
        if step % record_every == 0:
            run.drop(run.geometry_faults(), step)
            record.energies(step // record_every, run.replicas)
            if advance:
                advance(step - reported)
                reported = step
        if step % frame_every == 0:
            record.frame(run.replicas)
    if advance and reported < n_steps:
        advance(n_steps - reported)
    return record.trace(run, record_every)


class _Run:
    """The systems that still run, and the last state of those that do not."""

    def __init__(self, potential: Potential, replicas: Replicas, limits: Limits) -> None:
        self.potential, self.replicas, self.limits = potential, replicas, limits
        self.fragments = [count_fragments(structure, limits) for structure in replicas.templates]
        self.failures: dict[int, tuple[str, int]] = {}
        self.last: dict[int, tuple[Structure, Floats]] = {}

    def step(self, timestep: float, step: int) -> None:
        self.replicas.kick(timestep / 2)
        self.replicas.drift(timestep)
        self.evaluate(step)
        self.replicas.kick(timestep / 2)
        self.drop(self.faults(), step)

    def evaluate(self, step: int) -> None:
        while self.replicas:
            try:
                return self.replicas.evaluate(self.potential)
            except PredictionError as error:
                self.drop({error.index: error.cause}, step)

    def faults(self) -> dict[int, str]:
        return self.replicas.faults(self.limits)

    def geometry_faults(self) -> dict[int, str]:
        found = {
            row: geometry_fault(structure, self.limits, self.fragments[self.replicas.indices[row]])
            for row, structure in enumerate(self.replicas.structures())
        }
        return {row: reason for row, reason in found.items() if reason}

    def drop(self, faults: dict[int, str], step: int) -> None:
        if not faults:
            return
        for row, reason in faults.items():
            self.failures[self.replicas.indices[row]] = (reason, step)
            self._keep(row)
        self.replicas = self.replicas.without(faults)

    def finish(self) -> None:
        for row in range(len(self.replicas)):
            self._keep(row)

    def _keep(self, row: int) -> None:
        velocities = self.replicas.velocities[self.replicas.atoms(row)].copy()
        self.last[self.replicas.indices[row]] = self.replicas.structure(row), velocities


class _Record:
    """The numbers of a run as they come."""

    def __init__(self, structures: Sequence[Structure], timestep_fs: float, n_records: int) -> None:
        self.timestep_ps = timestep_fs / 1000
        self.n_atoms = np.array([len(s) for s in structures], dtype=np.int64)
        self.freedom = np.array([max(degrees_of_freedom(s), 1) for s in structures], dtype=np.float64)
        self.potential = np.full((n_records, len(structures)), np.nan)
        self.kinetic = np.full((n_records, len(structures)), np.nan)
        self.frames: tuple[list[Structure], ...] = tuple([] for _ in structures)

    def energies(self, row: int, replicas: Replicas) -> None:
        self.potential[row, replicas.indices] = replicas.energies
        self.kinetic[row, replicas.indices] = replicas.kinetic_energies()

    def frame(self, replicas: Replicas) -> None:
        for index, structure in zip(replicas.indices, replicas.structures(), strict=True):
            self.frames[index].append(structure)

    def trace(self, run: _Run, record_every: int) -> NVETrace:
        run.finish()
        systems = range(len(self.n_atoms))
        return NVETrace(
            times_ps=record_every * self.timestep_ps * np.arange(len(self.potential), dtype=np.float64),
            potential_energy=self.potential,
            kinetic_energy=self.kinetic,
            temperatures_K=2 * self.kinetic / (BOLTZMANN * self.freedom),
            n_atoms=self.n_atoms,
            failures=tuple(self._failure(run.failures.get(index)) for index in systems),
            frames=self.frames,
            structures=[run.last[index][0] for index in systems],
            velocities=[run.last[index][1] for index in systems],
        )

    def _failure(self, found: tuple[str, int] | None) -> Failure | None:
        return Failure(found[0], found[1], found[1] * self.timestep_ps) if found else None
