"""Sampling: runs at constant temperature, of all systems and replicas in one batch."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Advance
from mlff_distiller.dynamics.failures import DynamicsFailure
from mlff_distiller.dynamics.langevin import Snapshot, run_langevin
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.observables.plan import ObservationPlan

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Run:
    """What one system did during a run.

    Attributes
    ----------
    start : Structure
        Where it began.
    positions, velocities : (T, N, 3)
        Angstrom, not wrapped into the cell, and Angstrom per ASE time unit.
    interval_fs : float
        Time between them.
    failure : str
        Why it ended early; empty where it did not.
    """

    start: Structure
    positions: Floats
    velocities: Floats
    interval_fs: float
    failure: str = ""

    def frames(self, every: int) -> list[Structure]:
        """Return every so many geometries."""
        return [self.start.moved(positions) for positions in self.positions[::every]]


def sample(
    potential: Potential,
    starts: Sequence[Structure],
    plan: ObservationPlan,
    make_rng: Callable[[int], np.random.Generator],
    *,
    advance: Advance | None = None,
) -> list[Run]:
    """Run Langevin dynamics from every start, in one batch, and return what was seen after the equilibration.

    A run that fails ends with its reason; the others go on unchanged.

    Parameters
    ----------
    potential : Potential
        What gives the forces.
    starts : sequence of Structure
        Starting points.
    plan : ObservationPlan
        How long, how hot.
    make_rng : callable
        Index of a run to its random numbers.
    advance : Advance, optional
        Called with the number of steps done.

    Raises
    ------
    UnsupportedStructureError
        If the potential does not cover a structure.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import harmonic
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
    >>> plan = ObservationPlan(duration_ps=0.02, equilibration_ps=0.01)
    >>> runs = sample(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), [h2], plan, np.random.default_rng)
    >>> runs[0].positions.shape, runs[0].failure
    ((5, 2, 3), '')
    """
    rngs = [make_rng(index) for index in range(len(starts))]
    velocities = [maxwell_boltzmann(s, plan.temperature_K, rng) for s, rng in zip(starts, rngs, strict=True)]
    records = [_Record(s, v, rng) for s, v, rng in zip(starts, velocities, rngs, strict=True)]
    while True:
        going = [record for record in records if not record.failure and record.step < plan.n_steps]
        if not going:
            return [record.run(plan) for record in records]
        try:
            for snapshot in _going_on(potential, going, plan):
                for record, structure, own in zip(going, snapshot.structures, snapshot.velocities, strict=True):
                    record.note(structure, own, plan)
                if advance is not None:
                    advance(plan.record_every)
        except DynamicsFailure as failure:
            going[failure.index].failure = failure.reason
            for record in going:
                record.rewind()
        else:
            for record in going:
                record.step = plan.n_steps


def _going_on(potential: Potential, going: Sequence["_Record"], plan: ObservationPlan) -> Iterator[Snapshot]:
    return run_langevin(
        potential,
        [record.structure for record in going],
        [record.velocities for record in going],
        temperatures_K=[plan.temperature_K] * len(going),
        friction_per_ps=plan.friction_per_ps,
        timestep_fs=plan.timestep_fs,
        n_steps=plan.n_steps - going[0].step,
        rngs=[record.rng for record in going],
        record_every=plan.record_every,
    )


@dataclass(eq=False)
class _Record:
    """The state of a run at its last recorded step, from which it goes on where another has failed."""

    structure: Structure
    velocities: Floats
    rng: np.random.Generator
    step: int = 0
    failure: str = ""
    positions_seen: list[Floats] = field(default_factory=list)
    velocities_seen: list[Floats] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._start, self._state = self.structure, self.rng.bit_generator.state

    def note(self, structure: Structure, velocities: Floats, plan: ObservationPlan) -> None:
        self.structure, self.velocities = structure, velocities.copy()
        self.step += plan.record_every
        self._state = deepcopy(self.rng.bit_generator.state)
        if self.step > plan.n_equilibration:
            self.positions_seen.append(structure.positions)
            self.velocities_seen.append(self.velocities)

    def rewind(self) -> None:
        """Undo the random numbers drawn since the last record."""
        self.rng.bit_generator.state = self._state

    def run(self, plan: ObservationPlan) -> Run:
        shape = (0, len(self._start), 3)
        seen = [np.array(x) if x else np.zeros(shape) for x in (self.positions_seen, self.velocities_seen)]
        return Run(self._start, seen[0], seen[1], plan.interval_fs, self.failure)
