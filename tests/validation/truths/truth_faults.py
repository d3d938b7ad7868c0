"""Students with one fault of known size each, right in every other respect."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from truth_world import BROMINE, PairWorld, systems

from mlff_distiller.atoms.elements import MASSES
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.units import FEMTOSECOND
from mlff_distiller.potentials.base import Potential

Floats = np.ndarray

HEALTHY = 1.01
"""How much stiffer the springs of every student are: its small, smooth, conservative error."""


class Flawed(Potential):
    """A healthy student whose answers are changed on the way out; it claims to be conservative all the same."""

    is_conservative = True

    def __init__(self) -> None:
        self.inner = PairWorld(HEALTHY)
        self.elements, self.properties, self.cutoff = self.inner.elements, self.inner.properties, self.inner.cutoff
        self.identity = replace(self.inner.identity, version=type(self).__name__)

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        labels = self.inner.predict(structures, properties)
        return [self.changed(s, x) for s, x in zip(structures, labels, strict=True)]

    def changed(self, structure: Structure, labels: Labels) -> Labels:
        raise TypeError(f"{type(self).__name__} changes nothing")


class Pushed(Flawed):
    """Forces that no energy has, in proportion to the mass: molecules are turned about z, crystals pushed along x.

    They depend on positions only, and what they do is known. Internal forces change neither the angular momentum L
    of a molecule nor the momentum of a crystal, so that a turning force s m_i (z x r_i) has the power s L_z, with
    dL_z/dt = s I_zz from L_z = 0: the energy gained in a time t is s^2 I_zz t^2 / 2, with I_zz averaged over the
    motion. A push m_i g gives M g^2 t^2 / 2 exactly. Any estimate of the slope that is odd about the middle of the
    run reports s^2 I_zz t / 2, the mean power, as the quadratic less its chord is even.

    Parameters
    ----------
    drift : float
        Mean power of each system over a run, eV/atom/ps.
    duration_ps : float
        Length of the run.
    """

    def __init__(self, drift: float, duration_ps: float = 10.0) -> None:
        super().__init__()
        self.duration_ps = duration_ps
        time, rate = 1000 * duration_ps * FEMTOSECOND, drift / (1000 * FEMTOSECOND)
        self.strength = {
            rest.formula: (2 * len(rest) * rate / (_inertia(rest) * time)) ** 0.5
            for rest in (mode.rest for mode in systems().values())
        }

    def push(self, structure: Structure) -> Floats:
        """Return what is added to the forces (N, 3)."""
        masses = MASSES[structure.numbers][:, None]
        strength = self.strength.get(structure.formula, 0.0)
        if structure.pbc.any():
            return strength * masses * np.array([1.0, 0.0, 0.0])
        arms = structure.positions - (masses * structure.positions).sum(0) / masses.sum()
        return strength * masses * np.stack([-arms[:, 1], arms[:, 0], np.zeros(len(arms))], axis=1)

    def changed(self, structure: Structure, labels: Labels) -> Labels:
        return labels if labels.forces is None else replace(labels, forces=labels.forces + self.push(structure))


def _inertia(structure: Structure) -> float:
    """Return the moment of inertia about z of a molecule, or the mass of a crystal: what resists the push."""
    masses = MASSES[structure.numbers]
    if structure.pbc.any():
        return float(masses.sum())
    arms = structure.positions - masses @ structure.positions / masses.sum()
    return float(masses @ (arms[:, :2] ** 2).sum(1))


def work_along(
    student: Pushed, starts: Sequence[Structure], velocities: Sequence[Floats], timestep_fs: float
) -> Floats:
    """Return the work of the push along trajectories at every step (T, S), eV: the truth about the drift.

    An integrator of its own, velocity Verlet in float64; the work of a step is the mean of the push at both ends
    times the way, by the trapezoidal rule.
    """
    first = np.cumsum([len(s) for s in starts])[:-1]
    masses = MASSES[np.concatenate([s.numbers for s in starts])][:, None]
    x, v, dt = np.concatenate([s.positions for s in starts]), np.concatenate(velocities), timestep_fs * FEMTOSECOND

    def at(x: Floats) -> tuple[Floats, Floats]:
        moved = [s.moved(own) for s, own in zip(starts, np.split(x, first), strict=True)]
        forces = np.concatenate([labels.forces for labels in student.predict(moved)])
        return forces, np.concatenate([student.push(s) for s in moved])

    works = [np.zeros(len(starts))]
    force, push = at(x)
    for _ in range(round(1000 * student.duration_ps / timestep_fs)):
        v = v + force * (dt / 2 / masses)
        way = v * dt
        force, next_push = at(x + way)
        v = v + force * (dt / 2 / masses)
        steps = ((push + next_push) / 2 * way).sum(1)
        works.append(works[-1] + np.add.reduceat(steps, np.concatenate([[0], first])))
        x, push = x + way, next_push
    return np.array(works)


class StepAtCutoff(PairWorld):
    """Forces that end with a step at the cutoff; the energy has the matching kink and is continuous.

    The extra energy of a pair is step * (cutoff - r), faded out within a tenth of an Angstrom further in.
    """

    def __init__(self, step: float) -> None:
        super().__init__(HEALTHY)
        self.step = step

    def pair(self, r: Floats, depth: Floats, width: Floats, distance: Floats) -> tuple[Floats, Floats]:
        energy, slope = super().pair(r, depth, width, distance)
        inside = np.maximum(self.cutoff - r, 0.0)
        fade = np.exp(-((inside / 0.1) ** 2)) * (r < self.cutoff)
        return energy + self.step * inside * fade, slope + self.step * fade * (2 * (inside / 0.1) ** 2 - 1)


class Hole(PairWorld):
    """A narrow well in the wall of every pair, at half its distance, where no trajectory and no label ever is."""

    def __init__(self, depth: float) -> None:
        super().__init__(HEALTHY)
        self.hole = depth

    def pair(self, r: Floats, depth: Floats, width: Floats, distance: Floats) -> tuple[Floats, Floats]:
        energy, slope = super().pair(r, depth, width, distance)
        x = (r / distance - 0.5) / 0.04
        well = self.hole * np.exp(-(x**2))
        return energy - well, slope + 2 * x * well / (0.04 * distance)


class Tilted(PairWorld):
    """Bonds along z are stronger than others, those across weaker: a potential, but one that knows directions."""

    def __init__(self, tilt: float) -> None:
        super().__init__(HEALTHY)
        self.tilt = tilt

    def directed(self, vectors: Floats, r: Floats, energy: Floats, slope: Floats) -> tuple[Floats, Floats]:
        unit = vectors / r[:, None]
        cosine = unit[:, 2]
        factor = 1 + self.tilt * (cosine**2 - 1 / 3)
        across = np.array([0.0, 0.0, 1.0]) - cosine[:, None] * unit
        gradient = (slope * factor)[:, None] * unit + (2 * self.tilt * energy * cosine / r)[:, None] * across
        return energy * factor, gradient


class WrongStressSign(Flawed):
    """The shear stress between x and y has the wrong sign."""

    def changed(self, structure: Structure, labels: Labels) -> Labels:
        if labels.stress is None:
            return labels
        signs = np.ones((3, 3))
        signs[0, 1] = signs[1, 0] = -1.0
        return replace(labels, stress=labels.stress * signs)


class NotExtensive(Flawed):
    """The energy holds a term that grows with the square of the number of atoms."""

    def __init__(self, coefficient: float) -> None:
        super().__init__()
        self.coefficient = coefficient

    def changed(self, structure: Structure, labels: Labels) -> Labels:
        return replace(labels, energy=labels.energy + self.coefficient * len(structure) ** 2)


class BadElement(Flawed):
    """Forces on bromine are too large by a factor; energies are right."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def changed(self, structure: Structure, labels: Labels) -> Labels:
        scale = np.where(structure.numbers == BROMINE, self.factor, 1.0)
        return labels if labels.forces is None else replace(labels, forces=labels.forces * scale[:, None])
