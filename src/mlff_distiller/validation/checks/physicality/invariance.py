"""Invariance: nothing may depend on how a structure is turned, mirrored, placed, numbered, repeated or batched."""

from typing import Final

from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.checks.physicality.worst import worst
from mlff_distiller.validation.surface import determinism, symmetry
from mlff_distiller.validation.surface.periodicity import images, stress_residual, supercells
from mlff_distiller.validation.surface.subject import Subject

_MOST_CELLS: Final = 6


def invariance(subject: Subject) -> Evidence:
    """Return the worst scatter of forces and energies over everything that must not matter."""
    found = [*symmetry.measure(subject).measurements, *determinism.measure(subject).measurements]
    cells = _cells(subject, three=False)
    if cells:
        found += [*images(subject, cells), *supercells(subject, cells)]
    return Evidence([_worst("force_spread", "eV/A", found), _worst("energy_spread", "eV/atom", found)])


def _worst(name: str, unit: str, found: list[Measurement]) -> Measurement:
    suffix = f"_{name}"
    return worst(name, unit, {m.name.removesuffix(suffix): m for m in found if m.name.endswith(suffix)})


def stress(subject: Subject) -> Evidence:
    """Return how far the stress of crystals is from the derivative of the energy by the strain."""
    cells = _cells(subject, three=True)
    if not cells:
        reason = "no structure is periodic in three directions"
        return Evidence(skipped=[Skipped("stress_residual", reason, applies=False)])
    gives = "stress" in subject.probe.potential.properties
    measured = stress_residual(subject, cells) if gives else None
    if measured is None:
        return Evidence(skipped=[Skipped("stress_residual", "the potential gives no stress")])
    return Evidence([measured])


def _cells(subject: Subject, *, three: bool) -> list[int]:
    """Return the smallest periodic structures."""
    cells = [k for k, s in enumerate(subject.structures) if (s.pbc.all() if three else s.pbc.any())]
    return sorted(cells, key=lambda k: len(subject.structures[k]))[:_MOST_CELLS]
