"""Symmetry: what is said of what changes with orientation, place and order."""

from typing import Final

from mlff_distiller.core.html.words import quantity
from mlff_distiller.validation.audit.theme import Found, Outcome, Theme
from mlff_distiller.validation.surface.symmetry import measure


def _say(found: Found, outcome: Outcome) -> str:
    words = {
        "rotation": "turning a structure",
        "reflection": "mirroring it",
        "translation": "moving it",
        "permutation": "numbering its atoms otherwise",
    }
    forces = {kind: found[f"{kind}_force_spread"] for kind in words}
    if outcome == "PASS":
        worst = max(m.value for m in forces.values())
        return (
            "Turning, mirroring, moving or renumbering a structure changes forces by no more than "
            f"{quantity(worst, 'eV/A', 2)}."
        )
    worst_kind = max(forces, key=lambda kind: forces[kind].value)
    size = quantity(forces[worst_kind].value, "eV/A", 2)
    per_atom = quantity(1000 * found[f"{worst_kind}_energy_spread"].value, "meV/atom", 2)
    doubt = " may change" if outcome == "INCONCLUSIVE" else " changes"
    text = words[worst_kind]
    return (
        f"{text[:1].upper()}{text[1:]}{doubt} forces by {size} and energies by {per_atom}, which a student cannot "
        "follow."
    )


THEME: Final = Theme("symmetry", "Symmetry", measure, _say)
