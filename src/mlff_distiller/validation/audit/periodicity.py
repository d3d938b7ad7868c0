"""Periodicity: what is measured of cells, and what is said of it."""

from typing import Final

from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.html.words import number, quantity
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.audit.theme import Found, Outcome, Subject, Theme
from mlff_distiller.validation.surface.periodicity import images, stress_residual, supercells

_MOST_CELLS: Final = 3
_ALIKE: Final = 0.9  # correlation beyond which a wrong stress is a wrong factor


def measure(subject: Subject) -> Evidence:
    """Move atoms by lattice vectors, repeat the cell, and strain it."""
    cells = [k for k, structure in enumerate(subject.structures) if structure.pbc.any()]
    cells = sorted(cells, key=lambda k: len(subject.structures[k]))[:_MOST_CELLS]
    if not cells:
        return Evidence(skipped=[Skipped("periodicity", "no structure of this recipe is periodic", applies=False)])
    measured, skipped = _stress(subject, [k for k in cells if subject.structures[k].is_periodic])
    return Evidence([*images(subject, cells), *supercells(subject, cells), *measured], skipped)


def _stress(subject: Subject, cells: list[int]) -> tuple[list[Measurement], list[Skipped]]:
    """Compare the stress with the derivative of the energy by the strain, along random strains, where there is one."""
    if "stress" not in subject.probe.potential.properties or not cells:
        why = "the teacher gives no stress" if cells else "no cell is periodic in three directions"
        return [], [Skipped("stress_residual", why, applies=False)]
    measured = stress_residual(subject, cells)
    if measured is None:
        return [], [Skipped("stress_residual", "the teacher gave no stress although it says that it does")]
    return [measured], []


def _say(found: Found, outcome: Outcome) -> str:
    images, cells = found["image_force_spread"], found["supercell_force_spread"]
    stress = found.get("stress_residual")
    parts = [
        f"moving atoms by lattice vectors changes forces by {quantity(images.value, 'eV/A', 2)}",
        f"describing the crystal by a larger cell by {quantity(cells.value, 'eV/A', 2)}"
        + (
            f" and energies by {quantity(1000 * found['supercell_energy_spread'].value, 'meV/atom', 2)}"
            if cells.value > 0.01 or found["supercell_energy_spread"].value > 0.001
            else ""
        ),
    ]
    if stress is not None:
        parts.append(
            f"the stress differs from the derivative of the energy by {quantity(stress.value, 'eV/A^3', 2)}"
            f"{_fault(stress, outcome)}"
        )
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _fault(stress: Measurement, outcome: Outcome) -> str:
    """Return what the wrong stress looks like."""
    factor = stress.detail["given_over_found"]
    if outcome != "FAIL" or factor is None or stress.value < 0.1 * stress.detail["typical_stress_eV_per_A3"]:
        return ""
    if abs(stress.detail["correlation"]) < _ALIKE:
        return f" (they are correlated by {number(stress.detail['correlation'], 2)} only)"
    if factor < 0:
        return f" (its sign is reversed: it is {factor:.3g} times the derivative of the energy)"
    return f" (it is {factor:.3g} times the derivative of the energy)"


THEME: Final = Theme("periodicity", "Periodicity and stress", measure, _say)
