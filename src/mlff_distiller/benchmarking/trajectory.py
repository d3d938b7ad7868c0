"""A trajectory that is timed step by step: what a user of ASE waits for, neighbor list and integrator included."""

import time

import ase
import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.conversion import to_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DistillerError
from mlff_distiller.core.randomness import generator
from mlff_distiller.core.units import FEMTOSECOND
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.calculator import PotentialCalculator

Floats = NDArray[np.float64]


class Trajectory:
    """ASE's velocity Verlet with a potential, continued by as many steps as are asked for.

    One that breaks down is begun again: how long it lasts is for other checks to say, and a step of it has a time all
    the same.

    Parameters
    ----------
    potential : Potential
        What gives the forces, through its ASE calculator.
    structure : Structure
        Where it starts.
    timestep_fs, temperature_K : float
        Time step, and temperature of the starting velocities.
    seed : int
        Of the starting velocities.

    Attributes
    ----------
    n_restarts : int
        How often it was begun again.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import harmonic
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
    >>> Trajectory(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), h2).run(5).shape
    (5,)
    """

    def __init__(
        self,
        potential: Potential,
        structure: Structure,
        *,
        timestep_fs: float = 0.5,
        temperature_K: float = 300.0,
        seed: int = 0,
    ) -> None:
        from ase.md.verlet import VelocityVerlet

        rng = generator(seed, "step_time", structure.formula)
        self._start, self._velocities = structure, maxwell_boltzmann(structure, temperature_K, rng)
        self.calculator = PotentialCalculator(potential)
        self.atoms: ase.Atoms = to_ase(structure)
        self.atoms.calc = self.calculator
        self.atoms.set_velocities(self._velocities)
        self.dynamics = VelocityVerlet(self.atoms, timestep=timestep_fs * FEMTOSECOND)
        self.n_restarts = 0

    def run(self, n_steps: int) -> Floats:
        """Run some steps and return the milliseconds of each (n_steps,).

        Raises
        ------
        DistillerError
            If not even the first step from the start can be made.
        """
        samples: list[float] = []
        begun_again = False
        while len(samples) < n_steps:
            before = len(samples)
            try:
                self._extend(samples, n_steps)
            except DistillerError:
                if begun_again and len(samples) == before:
                    raise
                self._begin_again()
                begun_again = True
        return np.array(samples)

    def _extend(self, samples: list[float], n_steps: int) -> None:
        steps = self.dynamics.irun(n_steps - len(samples))
        next(steps)  # where the last call ended
        last = time.perf_counter()
        for _ in steps:
            now = time.perf_counter()
            samples.append(1e3 * (now - last))
            last = now

    def _begin_again(self) -> None:
        self.n_restarts += 1
        self.atoms.set_positions(self._start.positions)
        self.atoms.set_velocities(self._velocities)
