"""Determinism and precision: what is said of a call that is repeated, and of the rounding of the energy."""

from typing import Final

from mlff_distiller.core.html.words import quantity
from mlff_distiller.validation.audit.theme import Found, Outcome, Theme
from mlff_distiller.validation.surface.determinism import measure


def _say(found: Found, outcome: Outcome) -> str:
    repeat, batch, noise = found["repeat_force_spread"], found["batch_force_spread"], found["energy_noise"]
    if repeat.detail["bitwise_equal"]:
        text = "The same structure always gets the same numbers, to the last bit"
    elif repeat.value == 0:
        text = f"Batches change forces by {quantity(batch.value, 'eV/A', 2)}; a call that is repeated changes nothing"
    else:
        text = f"A repeated call changes forces by {quantity(repeat.value, 'eV/A', 2)}"
    rounded = " because they are computed in single precision" if noise.detail["is_single_precision"] else ""
    return f"{text}; energies are sharp to {quantity(1000 * noise.value, 'meV/atom', 2)}{rounded}."


THEME: Final = Theme("determinism", "Determinism and precision", measure, _say)
