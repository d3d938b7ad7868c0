"""Smoothness: does energy or force jump where a bond is stretched or atoms leave the teacher's cutoff."""

from collections.abc import Callable, Sequence
from typing import Final

from mlff_distiller.core.errors import DistillerError
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.html.words import quantity
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.audit.theme import Found, Outcome, Subject, Theme
from mlff_distiller.validation.surface.energy_noise import energy_noise
from mlff_distiller.validation.surface.paths import Jump, Path, find_jumps
from mlff_distiller.validation.surface.probe import OutOfTime
from mlff_distiller.validation.surface.smoothness import stretched_bond, through_cutoff


def measure(subject: Subject) -> Evidence:
    """Walk along a stretched bond and through the cutoff, and look for jumps."""
    structure = min(subject.structures, key=lambda one: (len(one) == 1, len(one)))
    measurements: list[Measurement] = []
    skipped: list[Skipped] = []
    makers: dict[str, Callable[[], Path | None]] = {
        "bond": lambda: stretched_bond(structure),
        "cutoff": lambda: through_cutoff(structure, subject.probe.potential.cutoff or subject.plan.largest_scan_A),
    }
    for name, make in makers.items():
        path = make()
        if path is None:
            skipped.append(Skipped(f"{name}_energy_jump", "there are no two atoms to move apart", applies=False))
            continue
        try:
            noise = energy_noise(subject.probe, path.start, rng=subject.rng("path", name))
            measurements += _jumps(name, find_jumps(subject.probe, path, energy_noise=noise))
        except OutOfTime:
            skipped.append(Skipped(f"{name}_energy_jump", "the time budget of the audit is used up"))
        except DistillerError as error:
            skipped.append(Skipped(f"{name}_energy_jump", f"the teacher gave no answer with {path.name} ({error})"))
    return Evidence(measurements, skipped)


def _jumps(name: str, jumps: tuple[Jump, Jump]) -> Sequence[Measurement]:
    found = []
    for kind, unit, jump in zip(("energy", "force"), ("eV", "eV/A"), jumps, strict=True):
        ci95 = (max(jump.size - jump.doubt, 0.0), jump.size + jump.doubt)
        detail = {"path": jump.path, "way_A": jump.way}
        found.append(Measurement(f"{name}_{kind}_jump", jump.size, unit, ci95, 1, detail))
    return found


def _say(found: Found, outcome: Outcome) -> str:
    energies = [m for name, m in found.items() if "energy" in name]
    forces = [m for name, m in found.items() if "force" in name]
    energy, force = max(energies, key=lambda m: m.value), max(forces, key=lambda m: m.value)
    where = " and ".join(m.detail["path"] for m in energies)
    sizes = f"{quantity(energy.value, 'eV', 2)} in energy or {quantity(force.value, 'eV/A', 2)} in a force"
    if outcome == "FAIL":
        jump = energy if energy.value > 5e-3 else force
        return (
            f"The teacher is not smooth: with {jump.detail['path']} there is a jump of {sizes} after "
            f"{quantity(jump.detail['way_A'], 'Å', 3)}; dynamics gains or loses energy there."
        )
    if outcome == "PASS":
        return f"Energy and forces are smooth with {where}: no jump is larger than {sizes}."
    return f"With {where} no jump was seen beyond {sizes}, but that is not certain."


THEME: Final = Theme("smoothness", "Smoothness", measure, _say)
