"""Conservation: are the forces the gradient of the energy, and if not, how far from any gradient are they."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.html.words import quantity
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.audit.differences import STENCIL, derivative, noise_of_derivative, step_for
from mlff_distiller.validation.audit.energy_noise import directions
from mlff_distiller.validation.audit.loops import loop_force
from mlff_distiller.validation.audit.rms import rms
from mlff_distiller.validation.audit.theme import Evidence, Found, Outcome, Subject, Theme

Floats = NDArray[np.float64]

_WANTED: Final = 1e-4  # eV/Angstrom: far below what matters
_SHORTEST, _LONGEST = 0.001, 0.03  # Angstrom
_SCALES: Final = {
    -1.0: "their sign is reversed",
    27.2114: "energies look like Hartree",
    23.06: "energies look like kcal/mol",
}


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
        "noise_floor_eV_per_A": noise**0.5,
        "truncation_eV_per_A": truncation**0.5,
        "n_directions": len(forces),
        "n_atoms": float(np.mean([len(structure) for structure in subject.structures])),
    }
    squares = [x.residuals**2 for x in lines]
    return rms("force_residual", "eV/A", squares, noise=noise, doubt=truncation, detail=detail)


def _slope(forces: Floats, gradients: Floats) -> float | None:
    """Return what the forces must be multiplied by to be the gradient; None where they do not go together at all."""
    sizes = float(forces @ forces), float(gradients @ gradients)
    if min(sizes) == 0 or abs(forces @ gradients) < 0.98 * (sizes[0] * sizes[1]) ** 0.5:
        return None
    return float(forces @ gradients) / sizes[0]


def _relative(residual: Measurement) -> Measurement:
    typical = residual.detail["typical_force_eV_per_A"]
    if not typical > 0:
        return Measurement("force_residual_relative", float("nan"), "", None, residual.n_samples)
    ci95 = None if residual.ci95 is None else (residual.ci95[0] / typical, residual.ci95[1] / typical)
    return Measurement("force_residual_relative", residual.value / typical, "", ci95, residual.n_samples)


def unrelated(residual: Measurement) -> str:
    """Return in words how energies and forces are related where they are not those of one potential."""
    slope = residual.detail["energy_gradient_over_force"]
    if slope is None:
        return "forces and energies have nothing to do with each other"
    per_atom = 1 / residual.detail["n_atoms"]
    if abs(slope / per_atom - 1) < 0.15 and per_atom < 0.75:
        return f"the energy changes only {slope:.3g} times as much as the forces say; is it an energy per atom?"
    for factor, said in _SCALES.items():
        for found, meant in ((factor, said), (1 / factor, f"{said} the other way round")):
            if abs(slope / found - 1) < 0.05:
                return f"the gradient of the energy is {slope:.3g} times the forces; {meant if factor > 0 else said}"
    return f"the gradient of the energy is {slope:.3g} times the forces; is a unit wrong?"


def _say(found: Found, outcome: Outcome) -> str:
    residual, relative, loop = (found[n] for n in ("force_residual", "force_residual_relative", "loop_force"))
    size = f"{quantity(residual.value, 'eV/A', 2)} ({100 * relative.value:.2g} % of a typical force)"
    declared = residual.detail["declared_conservative"]
    if not declared:
        return (
            "The teacher says that its forces are not the gradient of an energy; they differ from its energies by "
            f"{size}, which no conservative student can follow."
        )
    low, high = residual.ci95 or (residual.value, residual.value)
    bound = f"to better than {quantity(high, 'eV/A', 2)}" if low == 0 else f"to {size}"
    if outcome == "PASS":
        return f"Forces are the gradient of the energy {bound}, and no energy is gained on closed loops."
    if outcome == "INCONCLUSIVE" and low == 0:
        return (
            "Whether forces are the gradient of the energy cannot be told: the noise of the teacher hides anything "
            f"below {quantity(high, 'eV/A', 2)}."
        )
    circles = f"around closed loops they do work, on average {quantity(loop.value, 'eV/A', 2)}"
    gained = circles if loop.ci95 and loop.ci95[0] > 0 else "around closed loops they do no work"
    return f"Forces are not the gradient of the energy: they differ by {size}, and {gained}."


THEME: Final = Theme("conservation", "Forces against energies", measure, _say)
