"""Replicas: systems that are moved together, as one array of positions, velocities and forces."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import MASSES
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.core.units import BOLTZMANN
from mlff_distiller.dynamics.failures import Fault, Limits
from mlff_distiller.potentials.base import Potential

Floats = NDArray[np.float64]

_OF_ATOMS: Final = ("positions", "velocities", "forces", "previous_forces", "noted_velocities")


class Replicas:
    """The moving state of S systems with N atoms in all.

    Parameters
    ----------
    structures : sequence of Structure
        Starting points.
    velocities : sequence of (n, 3)
        Angstrom per ASE time unit, one array for each structure.
    indices : sequence of int, optional
        What the systems are called outside; 0 to S - 1 unless said.

    Attributes
    ----------
    positions, velocities, forces, previous_forces : (N, 3)
        Now; previous forces are those of the evaluation before the last, NaN where there was none.
    noted_velocities : (N, 3)
        Velocities of an earlier moment that was recorded; NaN where there was none.
    energies : (S,)
        Potential energies, eV.

    Raises
    ------
    ValueError
        If velocities do not match the structures.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import harmonic
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.2]])
    >>> replicas = Replicas([h2], [np.zeros((2, 3))])
    >>> replicas.evaluate(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0))
    >>> replicas.energies.round(6).tolist()
    [0.2]
    """

    def __init__(
        self, structures: Sequence[Structure], velocities: Sequence[Floats], *, indices: Sequence[int] | None = None
    ) -> None:
        shapes = [np.shape(v) for v in velocities]
        if shapes != [s.positions.shape for s in structures]:
            raise ValueError(f"velocities {shapes} do not match structures of {[len(s) for s in structures]} atoms")
        self.templates = list(structures)
        self.indices = list(range(len(structures)) if indices is None else indices)
        self.sizes = np.array([len(s) for s in structures], dtype=np.int64)
        self.first = np.concatenate([[0], np.cumsum(self.sizes)])
        self.positions = _joined([s.positions for s in structures])
        self.velocities = _joined(velocities)
        self.masses = _joined([MASSES[s.numbers][:, None] for s in structures], width=1)
        self.forces = np.full_like(self.positions, np.nan)
        self.previous_forces = self.noted_velocities = self.forces
        self.energies = np.full(len(structures), np.nan)

    def __len__(self) -> int:
        return len(self.templates)

    def atoms(self, row: int) -> slice:
        """Return where the atoms of one system lie in the arrays."""
        return slice(self.first[row], self.first[row + 1])

    def split(self, values: Floats) -> list[Floats]:
        """Return a copy of values of all atoms (N, ...) as one array for each system."""
        return [values[self.atoms(row)].copy() for row in range(len(self))]

    def total(self, values: Floats) -> Floats:
        """Return values of atoms (N,) added up over each system (S,)."""
        return np.asarray(np.add.reduceat(values, self.first[:-1])) if len(self) else np.zeros(0)

    def structure(self, row: int) -> Structure:
        """Return one system at its present positions."""
        return self.templates[row].moved(self.positions[self.atoms(row)])

    def structures(self) -> list[Structure]:
        """Return all systems at their present positions."""
        return [self.structure(row) for row in range(len(self))]

    def evaluate(self, potential: Potential) -> None:
        """Set energies and forces at the present positions; errors of the potential pass through."""
        labels = potential.predict(self.structures(), ("energy", "forces"))
        self.energies = np.array([label.energy for label in labels], dtype=np.float64)
        self.previous_forces = self.forces
        self.forces = _joined([label.forces for label in labels if label.forces is not None])

    def forces_after(self, potential: Potential, interval: float) -> Floats:
        """Return the forces (N, 3) one step of velocity Verlet ahead, or before it for a negative interval.

        NaN where the potential gives no answer; the state stays what it is.
        """
        here = self.positions
        self.positions = here + interval * (self.velocities + self.forces * (interval / (2 * self.masses)))
        try:
            labels = potential.predict(self.structures(), ("energy", "forces"))
        except PredictionError:
            return np.full_like(here, np.nan)
        finally:
            self.positions = here
        return _joined([label.forces for label in labels if label.forces is not None])

    def kick(self, interval: float) -> None:
        """Change velocities by the forces during an interval (ASE time units)."""
        self.velocities += self.forces * (interval / self.masses)

    def drift(self, interval: float) -> None:
        """Move positions with the velocities during an interval (ASE time units)."""
        self.positions += self.velocities * interval

    def atomic_kinetic_energies(self) -> Floats:
        """Return the kinetic energy of every atom (N,), eV."""
        return np.asarray(0.5 * self.masses[:, 0] * np.einsum("ij,ij->i", self.velocities, self.velocities))

    def kinetic_energies(self) -> Floats:
        """Return the kinetic energy of every system (S,), eV."""
        return self.total(self.atomic_kinetic_energies())

    def faults(self, limits: Limits) -> dict[int, Fault]:
        """Return the rows whose energies, forces or velocities are out of bounds, each with what is wrong."""
        if not len(self):
            return {}
        squared = np.einsum("ij,ij->i", self.forces, self.forces)
        kelvin = self.kinetic_energies() / (1.5 * BOLTZMANN * self.sizes)
        healthy = squared.max() <= limits.max_force**2 and kelvin.max() <= limits.max_temperature_K
        if healthy and np.isfinite(self.energies).all():  # comparisons with NaN are false, so NaN is not healthy
            return {}
        found = {row: self._fault(row, squared[self.atoms(row)], kelvin[row], limits) for row in range(len(self))}
        return {row: fault for row, fault in found.items() if fault}

    def _fault(self, row: int, squared: Floats, kelvin: float, limits: Limits) -> Fault | None:
        if not (np.isfinite(self.energies[row]) and np.isfinite(squared).all()):
            return Fault("no answer", "energy or forces are not finite")
        if squared.max() > limits.max_force**2:
            atom = int(squared.argmax())
            return Fault(
                "explosion", f"explosion: force of {np.sqrt(squared[atom]):.3g} eV/Angstrom on atom {atom}", (atom,)
            )
        if not kelvin <= limits.max_temperature_K:
            return Fault("explosion", f"explosion: temperature of {kelvin:.3g} K")
        return None

    def without(self, rows: Iterable[int]) -> "Replicas":
        """Return the other systems, in the same state."""
        dropped = set(rows)
        kept = [row for row in range(len(self)) if row not in dropped]
        atoms = np.repeat(np.isin(np.arange(len(self)), kept), self.sizes)
        state = {name: getattr(self, name)[atoms] for name in _OF_ATOMS}
        return Replicas.in_state(
            [self.templates[row] for row in kept], [self.indices[row] for row in kept], self.energies[kept], state
        )

    @property
    def state(self) -> dict[str, Floats]:
        """Arrays of all atoms (N, 3) by name: what :meth:`in_state` goes on from, with the energies."""
        return {name: getattr(self, name) for name in _OF_ATOMS}

    @classmethod
    def in_state(
        cls, templates: Sequence[Structure], indices: Sequence[int], energies: Floats, state: Mapping[str, Floats]
    ) -> "Replicas":
        """Return systems in the state that :attr:`state` and ``energies`` of others said."""
        replicas = cls(templates, [np.zeros_like(s.positions) for s in templates], indices=indices)
        for name in _OF_ATOMS:
            setattr(replicas, name, np.array(state[name], dtype=np.float64))
        replicas.energies = np.array(energies, dtype=np.float64)
        return replicas


def _joined(arrays: Sequence[Floats], *, width: int = 3) -> Floats:
    return np.concatenate([np.zeros((0, width)), *arrays])
