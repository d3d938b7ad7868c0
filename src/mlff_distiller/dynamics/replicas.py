"""Replicas: systems that are moved together, as one array of positions, velocities and forces."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import MASSES
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.units import BOLTZMANN
from mlff_distiller.dynamics.failures import Limits
from mlff_distiller.potentials.base import Potential

Floats = NDArray[np.float64]


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
        self.energies = np.full(len(structures), np.nan)

    def __len__(self) -> int:
        return len(self.templates)

    def atoms(self, row: int) -> slice:
        """Return where the atoms of one system lie in the arrays."""
        return slice(self.first[row], self.first[row + 1])

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
        self.forces = _joined([label.forces for label in labels if label.forces is not None])

    def kick(self, interval: float) -> None:
        """Change velocities by the forces during an interval (ASE time units)."""
        self.velocities += self.forces * (interval / self.masses)

    def drift(self, interval: float) -> None:
        """Move positions with the velocities during an interval (ASE time units)."""
        self.positions += self.velocities * interval

    def kinetic_energies(self) -> Floats:
        """Return the kinetic energy of every system (S,), eV."""
        if not len(self):
            return np.zeros(0)
        energies = 0.5 * self.masses[:, 0] * np.einsum("ij,ij->i", self.velocities, self.velocities)
        return np.asarray(np.add.reduceat(energies, self.first[:-1]), dtype=np.float64)

    def faults(self, limits: Limits) -> dict[int, str]:
        """Return the rows whose energies, forces or velocities are out of bounds, each with the reason."""
        if not len(self):
            return {}
        squared = np.einsum("ij,ij->i", self.forces, self.forces)
        kelvin = self.kinetic_energies() / (1.5 * BOLTZMANN * self.sizes)
        healthy = squared.max() <= limits.max_force**2 and kelvin.max() <= limits.max_temperature_K
        if healthy and np.isfinite(self.energies).all():  # comparisons with NaN are false, so NaN is not healthy
            return {}
        reasons = {row: self._fault(row, squared[self.atoms(row)], kelvin[row], limits) for row in range(len(self))}
        return {row: reason for row, reason in reasons.items() if reason}

    def _fault(self, row: int, squared: Floats, kelvin: float, limits: Limits) -> str:
        if not (np.isfinite(self.energies[row]) and np.isfinite(squared).all()):
            return "energy or forces are not finite"
        if squared.max() > limits.max_force**2:
            atom = int(squared.argmax())
            return f"force of {np.sqrt(squared[atom]):.3g} eV/Angstrom on atom {atom}"
        if not kelvin <= limits.max_temperature_K:
            return f"temperature of {kelvin:.3g} K"
        return ""

    def without(self, rows: Iterable[int]) -> "Replicas":
        """Return the other systems, in the same state."""
        dropped = set(rows)
        kept = [row for row in range(len(self)) if row not in dropped]
        rest = Replicas(
            [self.structure(row) for row in kept],
            [self.velocities[self.atoms(row)] for row in kept],
            indices=[self.indices[row] for row in kept],
        )
        rest.forces = _joined([self.forces[self.atoms(row)] for row in kept])
        rest.energies = self.energies[kept]
        return rest


def _joined(arrays: Sequence[Floats], *, width: int = 3) -> Floats:
    return np.concatenate([np.zeros((0, width)), *arrays])
