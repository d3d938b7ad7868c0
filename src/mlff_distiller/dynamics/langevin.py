"""Langevin dynamics: systems in contact with a heat bath, for sampling."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.core.units import BOLTZMANN, FEMTOSECOND
from mlff_distiller.dynamics.failures import DEFAULT_LIMITS, DynamicsFailure, Limits
from mlff_distiller.dynamics.replicas import Replicas
from mlff_distiller.potentials.base import Potential

Floats = NDArray[np.float64]

# Momentary temperatures up to this many times the bath's are no failure: two atoms exceed it once in 10^10 steps.
_HOTTEST = 10.0


class Snapshot(NamedTuple):
    """All systems at one moment.

    Attributes
    ----------
    step : int
        Number of steps done.
    structures : list of Structure
        Present geometries; periodic ones are not wrapped into their cells.
    velocities : list of (n, 3)
        Angstrom per ASE time unit, at the same moment as the positions.
    """

    step: int
    structures: list[Structure]
    velocities: list[Floats]


def run_langevin(  # noqa: PLR0913 - each is a setting of the run
    potential: Potential,
    structures: Sequence[Structure],
    velocities: Sequence[Floats],
    *,
    temperatures_K: Sequence[float],
    friction_per_ps: float,
    timestep_fs: float,
    n_steps: int,
    rngs: Sequence[np.random.Generator],
    record_every: int,
) -> Iterator[Snapshot]:
    """Run BAOAB Langevin dynamics for all systems together and yield their geometries and velocities.

    Each step is half a kick, half a drift, the exact Ornstein-Uhlenbeck change of the velocities, half a drift and
    half a kick, which samples positions with very small error in the time step. Every system has its own random
    generator, so its trajectory does not depend on what else is in the batch.
    Source: Leimkuhler and Matthews 2013, doi:10.1063/1.4802990.

    Parameters
    ----------
    potential : Potential
        What gives the forces.
    structures : sequence of Structure
        Starting points, S of them.
    velocities : sequence of (n, 3)
        Angstrom per ASE time unit.
    temperatures_K : sequence of float
        Temperature of each system's bath.
    friction_per_ps : float
        Friction, 1/ps; 0 is NVE.
    timestep_fs : float
        Time step, fs.
    n_steps : int
        Number of steps.
    rngs : sequence of numpy.random.Generator
        One for each system; they are advanced.
    record_every : int
        Steps between snapshots.

    Yields
    ------
    Snapshot
        All systems at step ``record_every``, twice that, and so on; the starting point is not yielded.

    Raises
    ------
    DynamicsFailure
        If one system explodes or cannot be evaluated; it names the index and the reason.
    ValueError
        If velocities, temperatures or generators do not match the structures.

    Examples
    --------
    >>> from mlff_distiller.core.randomness import generator
    >>> from mlff_distiller.potentials.analytic import harmonic
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
    >>> spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
    >>> run = run_langevin(
    ...     spring, [h2], [np.zeros((2, 3))], temperatures_K=[300.0], friction_per_ps=10.0, timestep_fs=0.5,
    ...     n_steps=20, rngs=[generator(0, "bath")], record_every=10,
    ... )
    >>> [snapshot.step for snapshot in run]
    [10, 20]
    """
    replicas = Replicas(structures, velocities)
    if not len(temperatures_K) == len(rngs) == len(replicas):
        raise ValueError(
            f"{len(replicas)} systems need as many temperatures and generators, "
            f"got {len(temperatures_K)} and {len(rngs)}"
        )
    bath = _Bath(replicas, temperatures_K, friction_per_ps, timestep_fs, rngs)
    return _trajectory(potential, replicas, bath, n_steps, record_every)


class _Bath:
    """The exact change of velocities by friction and noise during one time step."""

    def __init__(
        self,
        replicas: Replicas,
        temperatures_K: Sequence[float],
        friction_per_ps: float,
        timestep_fs: float,
        rngs: Sequence[np.random.Generator],
    ) -> None:
        self.timestep = timestep_fs * FEMTOSECOND
        self.damping = float(np.exp(-friction_per_ps * timestep_fs / 1000))
        energies = BOLTZMANN * np.repeat(np.asarray(temperatures_K, dtype=np.float64), replicas.sizes)[:, None]
        self.width = np.sqrt((1 - self.damping**2) * energies / replicas.masses)
        self.rngs, self.sizes = list(rngs), replicas.sizes.tolist()
        # Two atoms in a bath of 4000 K are often above 10,000 K for a moment: no failure.
        hottest = max([DEFAULT_LIMITS.max_temperature_K, *(_HOTTEST * kelvin for kelvin in temperatures_K)])
        self.limits = DEFAULT_LIMITS.model_copy(update={"max_temperature_K": hottest})

    def thermalize(self, replicas: Replicas) -> None:
        noise = [rng.standard_normal((n, 3)) for rng, n in zip(self.rngs, self.sizes, strict=True)]
        replicas.velocities *= self.damping
        replicas.velocities += self.width * np.concatenate(noise)


def _trajectory(
    potential: Potential, replicas: Replicas, bath: _Bath, n_steps: int, record_every: int
) -> Iterator[Snapshot]:
    if not replicas:
        return
    half = bath.timestep / 2
    _evaluate(potential, replicas, bath.limits)
    for step in range(1, n_steps + 1):
        replicas.kick(half)
        replicas.drift(half)
        bath.thermalize(replicas)
        replicas.drift(half)
        _evaluate(potential, replicas, bath.limits)
        replicas.kick(half)
        if step % record_every == 0:
            yield Snapshot(step, replicas.structures(), replicas.split(replicas.velocities))


def _evaluate(potential: Potential, replicas: Replicas, limits: Limits) -> None:
    try:
        replicas.evaluate(potential)
    except PredictionError as error:
        raise DynamicsFailure(error.index, error.cause) from error
    for index, fault in replicas.faults(limits).items():
        raise DynamicsFailure(index, fault.reason)
