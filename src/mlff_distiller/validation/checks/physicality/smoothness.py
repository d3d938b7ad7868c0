"""Smoothness: no jump of energy or force along a stretched bond or through the cutoff, for every system."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.errors import DistillerError
from mlff_distiller.core.evidence import Evidence, Skipped, texts
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.checks.physicality.worst import first_of_each, worst
from mlff_distiller.validation.surface.energy_noise import energy_noise
from mlff_distiller.validation.surface.paths import Jump, Path, find_jumps
from mlff_distiller.validation.surface.smoothness import stretched_bond, through_cutoff
from mlff_distiller.validation.surface.subject import Subject, name_of

Floats = NDArray[np.float64]

_POINTS: Final = 120
_GAP: Final = 2.5  # Angstrom between two parts where a path through the cutoff begins
NAMES: Final = ("energy_jump", "force_jump")
_UNITS: Final = ("eV", "eV/A")


def smoothness(subject: Subject, *, longest_cutoff: float) -> Evidence:
    """Walk along both paths with one structure of each system, and keep those through the cutoff for a figure.

    Parameters
    ----------
    subject : Subject
        The potential and the structures.
    longest_cutoff : float
        Where the scan ends for a potential that names no cutoff, Angstrom.
    """
    cutoff = subject.probe.potential.cutoff or longest_cutoff
    makers: dict[str, Callable[[Any], Path | None]] = {
        "bond stretched": stretched_bond,
        "through the cutoff": lambda structure: through_cutoff(structure, cutoff),
    }
    jumps: dict[str, tuple[Jump, Jump]] = {}
    refused: list[str] = []
    curves: dict[str, tuple[Floats, Floats, Floats]] = {}
    for structure in first_of_each(subject):
        system = name_of(structure)
        for kind, make in makers.items():
            path = make(structure)
            if path is None:
                continue
            try:
                noise = energy_noise(subject.probe, path.start, rng=subject.rng("path", kind, system))
                jumps[f"{system}, {kind}"] = find_jumps(subject.probe, path, energy_noise=noise)
                if kind != "bond stretched":
                    curves[system] = _curve(subject, path)
            except DistillerError as error:
                refused.append(f"{system}, {kind}: {error}")
    if not jumps or refused:  # what gives no answer on its way may jump there as well
        return Evidence(skipped=[_missing(name, refused) for name in NAMES], arrays=_arrays(curves))
    measured = [_worst(k, jumps, refused) for k in range(2)]
    return Evidence(measured, arrays=_arrays(curves))


def _missing(name: str, refused: list[str]) -> Skipped:
    reason = f"the potential gave no answer: {refused[0]}" if refused else "there are no two atoms to move apart"
    return Skipped(name, reason, applies=bool(refused))


def _worst(kind: int, jumps: dict[str, tuple[Jump, Jump]], refused: list[str]) -> Measurement:
    found = {}
    for where, pair in jumps.items():
        jump = pair[kind]
        ci95 = (max(jump.size - jump.doubt, 0.0), jump.size + jump.doubt)
        found[where] = Measurement(NAMES[kind], jump.size, _UNITS[kind], ci95, 1, {"way_A": jump.way})
    return worst(NAMES[kind], _UNITS[kind], found, detail={"refused": refused})


def _curve(subject: Subject, path: Path) -> tuple[Floats, Floats, Floats]:
    """Return gaps, energies from the end, and the force by which the two parts repel each other, along a path."""
    ways = np.linspace(0.0, path.length, _POINTS)
    energies, forces = subject.probe.labels([path.at(way) for way in ways])
    repulsion = np.array([(force * path.tangent).sum() for force in forces])
    return _GAP + ways, energies - energies[-1], repulsion


def _arrays(curves: dict[str, tuple[Floats, Floats, Floats]]) -> dict[str, NDArray[Any]]:
    if not curves:
        return {}
    names = ("cutoff_gaps", "cutoff_energies", "cutoff_forces")
    stacked = {name: np.array([curve[k] for curve in curves.values()]) for k, name in enumerate(names)}
    return {"cutoff_labels": texts(list(curves)), **stacked}
