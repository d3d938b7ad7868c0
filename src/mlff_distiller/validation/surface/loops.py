"""Work around closed loops: zero for the forces of any energy, whatever that energy is."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.surface.energy_noise import directions
from mlff_distiller.validation.surface.rms import rms
from mlff_distiller.validation.surface.subject import Subject

Floats = NDArray[np.float64]

_AMPLITUDE: Final = 0.03  # Angstrom for each coordinate: that of a thermal vibration
_POINTS: Final = 16
_SMOOTH: Final = 6  # higher harmonics of a smooth force are negligible: what is there is noise


def loop_force(subject: Subject) -> Measurement:
    """Return the mean force along circles of thermal size, root mean square over circles.

    The work around a loop over its length is the mean force along it. No conservative force field can be closer to
    these forces than that, root mean square along the loop: its own work is zero, and the mean of a square is at least
    the square of the mean. The trapezoidal rule is exact for the harmonics of a smooth force up to the 15th.
    """
    squares, noise = [], []
    for index, structure in enumerate(subject.structures):
        rng = subject.rng("loops", index)
        harmonics = np.concatenate([_harmonics(subject, index, rng) for _ in range(subject.plan.n_loops)])
        squares.append(np.abs(harmonics[:, 0]) ** 2)
        noise.append((np.abs(harmonics[:, _SMOOTH + 1 :]) ** 2).mean())
        radius = _radius(len(structure))
    detail = {"noise_floor_eV_per_A": float(np.mean(noise)) ** 0.5, "radius_A": radius, "amplitude_A": _AMPLITUDE}
    return rms("loop_force", "eV/A", squares, noise=float(np.mean(noise)), detail=detail)


def _harmonics(subject: Subject, index: int, rng: np.random.Generator) -> NDArray[np.complex128]:
    """Return the Fourier coefficients (1, 9) of the force along one circle; the first is its mean."""
    structure = subject.structures[index]
    one, other = directions(len(structure), 2, rng=rng)
    other = other - (one * other).sum() * one
    other = other / np.linalg.norm(other)
    angles = 2 * np.pi * np.arange(_POINTS) / _POINTS
    out = np.cos(angles)[:, None, None] * one + np.sin(angles)[:, None, None] * other
    along = np.cos(angles)[:, None, None] * other - np.sin(angles)[:, None, None] * one
    radius = _radius(len(structure))
    _, forces = subject.probe.labels([structure.moved(structure.positions + radius * x) for x in out])
    tangential = np.einsum("kij,kij->k", np.array(forces), along)
    return np.asarray(np.fft.rfft(tangential) / _POINTS)[None]


def _radius(n_atoms: int) -> float:
    return float(_AMPLITUDE * (3 * n_atoms) ** 0.5)
