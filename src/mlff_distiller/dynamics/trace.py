"""Trace: what systems did during a constant-energy run."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.dynamics.failures import Failure

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NVETrace:
    """What S systems with A atoms of K elements did during a run, at T recorded times, with F frames kept.

    Attributes
    ----------
    times_ps : (T,)
        Recorded times, ps; the first is 0.
    potential_energy, kinetic_energy : (T, S)
        eV; NaN from the moment a system failed.
    shadow_energy : (T, S)
        Total energy with the correction that velocity Verlet conserves to the fourth power of the time step, eV;
        see :class:`~mlff_distiller.dynamics.nve.NVERun`.
    temperatures_K : (T, S)
        From the kinetic energy and the degrees of freedom of the starting point.
    elements : (K,) int64
        Atomic numbers of all systems.
    element_temperatures_K : (T, S, K)
        Twice the kinetic energy of an element's atoms over three times their number and the Boltzmann constant; NaN
        where a system lacks the element.
    n_atoms : (S,) int64
        Atoms of each system.
    failures : tuple of Failure or None
        Why and when a system failed; None where it ran to the end.
    starts : list of Structure
        Starting points.
    frame_times_ps, frame_positions : (F,), (F, A, 3)
        Kept geometries, the starting point first; not wrapped into the cell, NaN after a failure. The atoms of all
        systems follow each other.
    last_times_ps, last_positions : (L, S), (L, A, 3)
        The last recorded geometries of each system, the latest last; of a failed one the last is where it failed.
    structures : list of Structure
        Last geometry of each system; of a failed one, where it failed.
    velocities : list of (n, 3)
        Last velocities, Angstrom per ASE time unit.
    """

    times_ps: Floats
    potential_energy: Floats
    kinetic_energy: Floats
    shadow_energy: Floats
    temperatures_K: Floats
    elements: NDArray[np.int64]
    element_temperatures_K: Floats
    n_atoms: NDArray[np.int64]
    failures: tuple[Failure | None, ...]
    starts: list[Structure]
    frame_times_ps: Floats
    frame_positions: Floats
    last_times_ps: Floats
    last_positions: Floats
    structures: list[Structure]
    velocities: list[Floats]

    @property
    def total_energy(self) -> Floats:
        """Potential plus kinetic energy (T, S), eV."""
        return self.potential_energy + self.kinetic_energy

    @property
    def frames(self) -> tuple[list[Structure], ...]:
        """Kept geometries of each system before it failed, if it did."""
        ends = np.cumsum(self.n_atoms)
        return tuple(
            [
                start.moved(frame)
                for frame in self.frame_positions[:, end - len(start) : end]
                if np.isfinite(frame).all()
            ]
            for start, end in zip(self.starts, ends.tolist(), strict=True)
        )
