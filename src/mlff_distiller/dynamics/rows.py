"""Rows: the numbers that a constant-energy run records, from the moving state to arrays."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.units import BOLTZMANN
from mlff_distiller.dynamics.replicas import Replicas
from mlff_distiller.dynamics.velocities import degrees_of_freedom

Floats = NDArray[np.float64]

NAMES: Final = ("potential_energy", "kinetic_energy", "element_temperatures_K", "shadow_energy", "frame_positions")
"""What is recorded: a row of each for every recorded step (of the last for every kept frame)."""


class Rows:
    """What S systems with A atoms of K elements did since the last chunk was taken.

    The shadow energy of a recorded step is known one step later, because the change of the forces is taken from the
    steps on both sides; between the two, a part of it waits.

    Parameters
    ----------
    structures : sequence of Structure
        All systems at the start.
    timestep : float
        ASE time units.
    """

    def __init__(self, structures: Sequence[Structure], timestep: float) -> None:
        self._timestep = timestep
        self._sizes = np.array([len(s) for s in structures], dtype=np.int64)
        self._freedom = np.array([max(degrees_of_freedom(s), 1) for s in structures], dtype=np.float64)
        numbers = np.concatenate([np.zeros(0, dtype=np.int64), *(s.numbers for s in structures)])
        self.elements, kinds = np.unique(numbers, return_inverse=True)
        owners = np.repeat(np.arange(len(structures)), self._sizes)
        self._groups = owners * len(self.elements) + kinds
        self._n_of_group = np.bincount(self._groups, minlength=len(structures) * len(self.elements))
        self._rows: dict[str, list[Floats]] = {name: [] for name in NAMES}
        self.waiting: Floats | None = None

    def record(self, replicas: Replicas) -> None:
        """Add the energies and temperatures of the systems that still run; NaN for the others."""
        kinetic = replicas.atomic_kinetic_energies()
        squares = np.einsum("ij,ij->i", replicas.forces, replicas.forces) / replicas.masses[:, 0]
        power = np.einsum("ij,ij->i", replicas.velocities, replicas.previous_forces)
        totals = replicas.total(kinetic)
        correction = replicas.total(power - self._timestep * squares) * (self._timestep / 24)
        self.waiting = self._spread(replicas, replicas.energies + totals + correction)
        replicas.noted_velocities = replicas.velocities.copy()
        self._rows["potential_energy"].append(self._spread(replicas, replicas.energies))
        self._rows["kinetic_energy"].append(self._spread(replicas, totals))
        self._rows["element_temperatures_K"].append(self._element_temperatures(replicas, kinetic))

    def complete(self, replicas: Replicas, forces: Floats) -> None:
        """Add the shadow energy of the last recorded step from the forces one step later."""
        if self.waiting is None:
            return
        power = np.einsum("ij,ij->i", replicas.noted_velocities, forces)
        shadow = self._spread(replicas, self.waiting[replicas.indices] - replicas.total(power) * (self._timestep / 24))
        self._rows["shadow_energy"].append(shadow)
        self.waiting = None

    def frame(self, replicas: Replicas) -> None:
        """Add the geometries of the systems that still run; NaN for the others."""
        positions = np.full((len(self._groups), 3), np.nan)
        positions[self._running(replicas)] = replicas.positions
        self._rows["frame_positions"].append(positions)

    def take(self) -> dict[str, Floats]:
        """Return what came since the last time, a row for each moment, and forget it."""
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(NAMES, (len(self._sizes),))
        shapes["element_temperatures_K"] = (len(self._sizes), len(self.elements))
        shapes["frame_positions"] = (len(self._groups), 3)
        taken = {name: np.array(rows).reshape(len(rows), *shapes[name]) for name, rows in self._rows.items()}
        self._rows = {name: [] for name in NAMES}
        return taken

    def temperatures(self, kinetic_energy: Floats) -> Floats:
        """Return temperatures (T, S), K, from kinetic energies and the degrees of freedom of the start."""
        return np.asarray(2 * kinetic_energy / (BOLTZMANN * self._freedom))

    def _spread(self, replicas: Replicas, values: Floats) -> Floats:
        row = np.full(len(self._sizes), np.nan)
        row[replicas.indices] = values
        return row

    def _running(self, replicas: Replicas) -> NDArray[np.bool_]:
        running = np.zeros(len(self._sizes), dtype=bool)
        running[replicas.indices] = True
        return np.repeat(running, self._sizes)

    def _element_temperatures(self, replicas: Replicas, kinetic: Floats) -> Floats:
        """Return 2 E / (3 n k) of the n atoms of each element in each system (S, K); NaN where there are none."""
        groups = self._groups[self._running(replicas)]
        energies = np.bincount(groups, weights=kinetic, minlength=len(self._n_of_group))
        counts = np.bincount(groups, minlength=len(self._n_of_group))
        with np.errstate(invalid="ignore"):
            found = 2 * energies / (3 * BOLTZMANN * counts)
        return np.asarray(found.reshape(len(self._sizes), len(self.elements)))
