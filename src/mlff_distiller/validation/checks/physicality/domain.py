"""Outside the training domain: what a potential says of structures that it was never shown."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DistillerError, PredictionError
from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.checks.physicality.worst import first_of_each
from mlff_distiller.validation.surface.subject import Subject

Floats = NDArray[np.float64]

_SCALES: Final = {
    "compressed to 80 %": 0.8,
    "compressed to 90 %": 0.9,
    "stretched to 120 %": 1.2,
    "stretched to 150 %": 1.5,
}
_AMPLITUDES: Final = {"displaced by 0.1 Å": 0.1, "displaced by 0.2 Å": 0.2, "displaced by 0.4 Å": 0.4}
_UNUSUAL: Final = (2, 10, 36, 54, 118)  # noble gases and oganesson: seldom trained on


def out_of_domain(subject: Subject) -> Evidence:
    """Scale and displace structures far, ask for an unknown element, and report what comes back.

    A structure answers well where its forces pull it back: against a uniform scaling, or against displacements, along
    which they do negative work.
    """
    structures = first_of_each(subject)
    changes: dict[str, Callable[[Structure, int], Structure]] = {
        **{name: _scaled(factor) for name, factor in _SCALES.items()},
        **{name: _displaced(subject, name, amplitude) for name, amplitude in _AMPLITUDES.items()},
    }
    rows = {name: _row(subject, structures, change) for name, change in changes.items()}
    largest = max((row["largest_force_eV_per_A"] for row in rows.values()), default=float("nan"))
    detail = {"changes": rows, "unknown_element": _unknown_element(subject), "n_systems": len(structures)}
    return Evidence([Measurement("out_of_domain", largest, "eV/A", None, len(structures), detail)])


def _scaled(factor: float) -> Callable[[Structure, int], Structure]:
    def change(structure: Structure, index: int) -> Structure:
        center = structure.positions.mean(0)
        return structure.moved(center + factor * (structure.positions - center), cell=factor * structure.cell)

    return change


def _displaced(subject: Subject, name: str, amplitude: float) -> Callable[[Structure, int], Structure]:
    def change(structure: Structure, index: int) -> Structure:
        moves = subject.rng("domain", name, index).normal(scale=amplitude, size=structure.positions.shape)
        return structure.moved(structure.positions + moves)

    return change


def _row(
    subject: Subject, structures: list[Structure], change: Callable[[Structure, int], Structure]
) -> dict[str, Any]:
    """Return for one kind of change how many structures got an answer, how many are pulled back, and how hard."""
    answered, restoring, largest = 0, 0, 0.0
    for index, structure in enumerate(structures):
        changed = change(structure, index)
        try:
            _, (forces,) = subject.probe.labels([changed])
        except PredictionError:
            continue
        answered += 1
        restoring += _work(structure, changed, forces) < 0
        largest = max(largest, float(np.linalg.norm(forces, axis=1).max()))
    share = restoring / answered if answered else None
    return {
        "n_structures": len(structures),
        "n_answered": answered,
        "restoring_share": share,
        "largest_force_eV_per_A": largest,
    }


def _work(before: Structure, after: Structure, forces: Floats) -> float:
    """Return the work of the forces along the change."""
    return float((forces * (after.positions - before.positions)).sum())


def _unknown_element(subject: Subject) -> str:
    """Return what the potential does with an element that it does not cover: "refused", "answered" or "none"."""
    unknown = next((z for z in _UNUSUAL if z not in subject.probe.potential.elements), None)
    if unknown is None:
        return "none"
    structure = subject.structures[0]
    numbers = structure.numbers.copy()
    numbers[0] = unknown
    foreign = Structure(
        numbers,
        structure.positions,
        cell=structure.cell,
        pbc=structure.pbc,
        charge=structure.charge,
        spin=structure.spin,
    )
    try:
        subject.probe.potential.predict([foreign], ("energy",))
    except DistillerError:
        return f"{SYMBOLS[unknown]} refused"
    return f"{SYMBOLS[unknown]} answered"
