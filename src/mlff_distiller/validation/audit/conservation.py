"""Conservation: what is said of forces that are, or are not, the gradient of the energy."""

from typing import Final

from mlff_distiller.core.html.words import number, quantity
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.units import BOHR, HARTREE
from mlff_distiller.validation.audit.theme import Found, Outcome, Theme
from mlff_distiller.validation.surface.conservation import measure

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
