"""Conservation: are the forces the gradient of the energy, and if not, how far from any gradient are they."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.surface.differences import (
    STENCIL,
    correlation,
    derivative,
    noise_of_derivative,
    step_for,
)
from mlff_distiller.validation.surface.energy_noise import directions
from mlff_distiller.validation.surface.loops import loop_force
from mlff_distiller.validation.surface.rms import rms
from mlff_distiller.validation.surface.subject import Subject

Floats = NDArray[np.float64]

_WANTED: Final = 1e-4  # eV/Angstrom: far below what matters
_SHORTEST, _LONGEST = 0.001, 0.03  # Angstrom
_ALIKE: Final = 0.98


@dataclass(frozen=True)
class _Lines:
    """Forces and derivatives of the energy of one structure along M directions."""

    forces: Floats
    gradients: Floats
    truncation: Floats
    noise: float

    @property
    def residuals(self) -> Floats:
        return self.forces + self.gradients


def measure(subject: Subject) -> Evidence:
    """Compare forces with finite differences of the energy, and take them around closed loops."""
    lines = [_lines(subject, k, structure) for k, structure in enumerate(subject.structures)]
    residual = _residual(lines, subject)
    return Evidence([residual, _relative(residual), loop_force(subject)])


def _lines(subject: Subject, index: int, structure: Structure) -> _Lines:
    """Return what is found along random unit vectors in the space of all coordinates.

    The mean square of a vector's component along such a direction is its mean square over coordinates, so that a
    few directions tell the error of all force components.
    """
    noise = float(subject.energy_noise[index])
    rng = subject.rng("conservation", index)
    units = directions(len(structure), subject.plan.n_directions, rng=rng)
    step = step_for(noise, wanted=_WANTED, low=_SHORTEST, high=_LONGEST)
    moved = [structure.moved(structure.positions + step * x * unit) for unit in units for x in STENCIL]
    gradients, truncation = derivative(subject.probe.energies(moved).reshape(len(units), -1), step)
    _, (forces,) = subject.probe.labels([structure])
    along = np.einsum("mij,ij->m", units, forces)
    return _Lines(along, gradients, truncation, noise_of_derivative(noise, step))


def _residual(lines: list[_Lines], subject: Subject) -> Measurement:
    forces, gradients = np.concatenate([x.forces for x in lines]), np.concatenate([x.gradients for x in lines])
    noise = float(np.mean([x.noise**2 for x in lines]))
    truncation = float(np.mean(np.concatenate([x.truncation for x in lines]) ** 2))
    detail = {
        "declared_conservative": subject.probe.potential.is_conservative,
        "typical_force_eV_per_A": float(np.sqrt((forces**2).mean())),
        "energy_gradient_over_force": _slope(forces, -gradients),
        "correlation": correlation(forces, -gradients),
        "noise_floor_eV_per_A": noise**0.5,
        "truncation_eV_per_A": truncation**0.5,
        "n_directions": len(forces),
        "n_atoms": float(np.mean([len(structure) for structure in subject.structures])),
    }
    squares = [x.residuals**2 for x in lines]
    return rms("force_residual", "eV/A", squares, noise=noise, doubt=truncation, detail=detail)


def _slope(forces: Floats, gradients: Floats) -> float | None:
    """Return what the forces must be multiplied by to be the gradient; None where they do not go together at all."""
    if abs(correlation(forces, gradients)) < _ALIKE:
        return None
    return float(forces @ gradients) / float(forces @ forces)


def _relative(residual: Measurement) -> Measurement:
    typical = residual.detail["typical_force_eV_per_A"]
    if not typical > 0:
        return Measurement("force_residual_relative", float("nan"), "", None, residual.n_samples)
    ci95 = None if residual.ci95 is None else (residual.ci95[0] / typical, residual.ci95[1] / typical)
    return Measurement("force_residual_relative", residual.value / typical, "", ci95, residual.n_samples)
