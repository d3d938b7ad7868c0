"""Straight paths through configurations, and jumps along them found by bisection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.validation.surface.probe import Probe

Floats = NDArray[np.float64]

_CANDIDATES: Final = 3
_HALVINGS: Final = 14


@dataclass(frozen=True, eq=False)
class Path:
    """Positions that move along a straight line.

    Parameters
    ----------
    name : str
        What moves, in words.
    start : Structure
        Where it begins.
    tangent : (N, 3) array
        How the positions change with the way.
    length, step : float
        Of the whole path and between the first points, Angstrom.
    """

    name: str
    start: Structure
    tangent: Floats
    length: float
    step: float

    def at(self, way: float) -> Structure:
        """Return the structure after some way, Angstrom."""
        return self.start.moved(self.start.positions + way * self.tangent)


@dataclass(frozen=True)
class Jump:
    """The largest jump of a path.

    Attributes
    ----------
    size, doubt : float
        How large, and how sure that is, eV or eV/Angstrom.
    way : float
        Where, Angstrom from the start of the path.
    path : str
        Name of the path.
    """

    size: float
    doubt: float
    way: float
    path: str


class _Points:
    """What is known at some points of a path: ways, energies, forces and dE/d(way)."""

    def __init__(self, path: Path, ways: Floats, energies: Floats, forces: Floats) -> None:
        self.path, self.ways, self.energies, self.forces = path, ways, energies, forces
        self.slopes = -np.einsum("kij,ij->k", forces, path.tangent)

    @classmethod
    def asked(cls, probe: Probe, path: Path, ways: Floats) -> "_Points":
        """Ask the teacher at all points."""
        energies, forces = probe.labels([path.at(way) for way in ways])
        return cls(path, ways, energies, np.stack(forces))

    def halved(self, probe: Probe, k: int) -> "_Points":
        """Return the ends of an interval and its middle, for which the teacher is asked."""
        middle = self.asked(probe, self.path, self.ways[k : k + 2].mean(keepdims=True))
        names = ("ways", "energies", "forces")
        arrays = [np.insert(getattr(self, n)[k : k + 2], 1, getattr(middle, n), axis=0) for n in names]
        return _Points(self.path, *arrays)


Measure = Callable[[_Points], Floats]


def _energy_jumps(points: _Points) -> Floats:
    """Return by how much the energy changes between neighboring points beyond what the forces account for."""
    gaps = np.diff(points.ways)
    return np.asarray(np.abs(np.diff(points.energies) - gaps * (points.slopes[1:] + points.slopes[:-1]) / 2))


def _force_jumps(points: _Points) -> Floats:
    """Return the largest change of the force on an atom between neighboring points."""
    return np.asarray(np.linalg.norm(np.diff(points.forces, axis=0), axis=-1).max(-1))


def find_jumps(probe: Probe, path: Path, *, energy_noise: float) -> tuple[Jump, Jump]:
    """Return the largest jump of the energy and that of a force along a path.

    Neighboring points between which the numbers change otherwise than on both sides are looked at closer and closer:
    halving the interval again and again makes every smooth change vanish, while a jump stays what it is.
    """
    ways = np.linspace(0.0, path.length, max(6, round(path.length / path.step) + 1))
    points = _Points.asked(probe, path, ways)
    energy = [_followed(probe, points, k, _energy_jumps) for k in _suspects(_energy_jumps(points))]
    force = [_followed(probe, points, k, _force_jumps) for k in _suspects(_force_jumps(points))]
    largest, forced = max(energy, key=lambda jump: jump.size), max(force, key=lambda jump: jump.size)
    return Jump(largest.size, max(4 * energy_noise, largest.doubt), largest.way, path.name), forced


def _suspects(changes: Floats) -> Sequence[int]:
    """Return the intervals that differ most from the mean of their neighbors."""
    padded = np.pad(changes, 1, mode="reflect")
    unlike = np.abs(changes - (padded[2:] + padded[:-2]) / 2)
    chosen: list[int] = np.argsort(-unlike)[:_CANDIDATES].tolist()
    return chosen


def _followed(probe: Probe, points: _Points, k: int, measure: Measure) -> Jump:
    """Halve one interval again and again, always keeping the half with the larger change."""
    sizes = []
    for _ in range(_HALVINGS):
        points = points.halved(probe, k)
        changes = measure(points)
        k = int(changes.argmax())
        sizes.append(float(changes[k]))
    return Jump(sizes[-1], 3 * abs(sizes[-1] - sizes[-2]), float(points.ways[k]), points.path.name)
