"""Conservation: are the forces the gradient of the energy, and if not, how far from any gradient are they."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.html.words import number, quantity
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.units import BOHR, HARTREE
from mlff_distiller.validation.audit.differences import STENCIL, correlation, derivative, noise_of_derivative, step_for
from mlff_distiller.validation.audit.energy_noise import directions
from mlff_distiller.validation.audit.loops import loop_force
from mlff_distiller.validation.audit.rms import rms
from mlff_distiller.validation.audit.theme import Evidence, Found, Outcome, Subject, Theme

Floats = NDArray[np.float64]

_WANTED: Final = 1e-4  # eV/Angstrom: far below what matters
_SHORTEST, _LONGEST = 0.001, 0.03  # Angstrom
_ALIKE: Final = 0.98
_SCALES: Final = {
    1.0: "",
    1 / HARTREE: "energies look like Hartree",
    HARTREE: "forces look like Hartree/Å",
    HARTREE / BOHR: "forces look like Hartree/bohr",
    1 / BOHR: "forces look as if they were by bohr",
    23.06: "energies look like kcal/mol",
    1 / 23.06: "forces look like kcal/mol/Å",
    96.49: "energies look like kJ/mol",
    1 / 96.49: "forces look like kJ/mol/Å",
}
"""Gradient of the energy over the force where a unit was forgotten."""


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


def unrelated(residual: Measurement) -> str:
    """Return in words how energies and forces are related where they are not those of one potential."""
    slope = residual.detail["energy_gradient_over_force"]
    if slope is None:
        return (
            "forces and the gradient of the energy are correlated by "
            f"{number(residual.detail['correlation'], 2)} only, and differ by {quantity(residual.value, 'eV/A', 2)}"
        )
    per_atom = 1 / residual.detail["n_atoms"]
    if abs(slope / per_atom - 1) < 0.15 and per_atom < 0.75:
        return f"the energy changes only {slope:.3g} times as much as the forces say; is it an energy per atom?"
    likely = [said for factor, said in _SCALES.items() if abs(abs(slope) / factor - 1) < 0.05]
    said = [*(["their sign is reversed"] if slope < 0 else []), *filter(None, likely)]
    return f"the gradient of the energy is {slope:.3g} times the forces; {' and '.join(said) or 'is a unit wrong?'}"


def _say(found: Found, outcome: Outcome) -> str:
    residual, relative, loop = (found[n] for n in ("force_residual", "force_residual_relative", "loop_force"))
    size = f"{quantity(residual.value, 'eV/A', 2)} ({number(100 * relative.value, 2)} % of a typical force)"
    work = f"around closed loops they do work, on average {quantity(loop.value, 'eV/A', 2)}"
    gained = work if loop.ci95 and loop.ci95[0] > 0 else "around closed loops they do no work"
    if not residual.detail["declared_conservative"]:
        return (
            "The teacher says that its forces are not the gradient of an energy. They differ from the gradient of its "
            f"own by {size}, and {gained}: no conservative student can follow both its energies and its forces closer."
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
    return f"Forces are not the gradient of the energy: they differ by {size}, and {gained}."


THEME: Final = Theme("conservation", "Forces against energies", measure, _say)
