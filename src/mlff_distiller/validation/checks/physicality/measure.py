"""All parts of the check of physicality, one after the other."""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Advance
from mlff_distiller.core.errors import DistillerError, PredictionError
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.checks.physicality.domain import out_of_domain
from mlff_distiller.validation.checks.physicality.extensivity import extensivity
from mlff_distiller.validation.checks.physicality.invariance import invariance, stress
from mlff_distiller.validation.checks.physicality.short_range import Reach, short_range
from mlff_distiller.validation.checks.physicality.smoothness import smoothness
from mlff_distiller.validation.surface import conservation
from mlff_distiller.validation.surface.probe import Probe
from mlff_distiller.validation.surface.subject import Subject, Thoroughness
from mlff_distiller.validation.trial import Trial

Part = Callable[[Subject], Evidence]


class Settings(Thoroughness, Reach, Protocol):
    """Settings of the check."""

    @property
    def n_systems(self) -> int:
        """Systems that are looked at."""

    @property
    def n_per_system(self) -> int:
        """Structures of each."""

    @property
    def longest_cutoff_A(self) -> float:
        """Reach of a potential that names no cutoff, Angstrom."""


def measure(trial: Trial, plan: Settings) -> Evidence:
    """Return what every part found; a part that the potential does not answer is missing, with the reason."""
    parts: dict[tuple[str, ...], Part] = {
        ("force_residual", "loop_force"): _conservation,
        ("stress_residual",): stress,
        ("force_spread", "energy_spread"): invariance,
        ("energy_jump", "force_jump"): partial(smoothness, longest_cutoff=plan.longest_cutoff_A),
        ("extensivity_error",): extensivity,
        ("short_range_hole",): partial(short_range, reach=plan),
        ("out_of_domain",): out_of_domain,
    }
    structures = specimens(trial, n_systems=plan.n_systems, n_per_system=plan.n_per_system)
    if not structures:
        reason = "there are no structures to look at"
        return Evidence(skipped=[Skipped(name, reason) for names in parts for name in names])
    subject = Subject(Probe(trial.potential, budget_s=inf), structures, plan, trial.seed)
    advance = trial.reporter.start(f"physicality {trial.name}", len(parts))
    return _all([_done(names, part, subject, advance) for names, part in parts.items()])


def specimens(trial: Trial, *, n_systems: int, n_per_system: int) -> list[Structure]:
    """Return a few structures of each system: held-out frames where there are such, else starting points.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import harmonic
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
    >>> trial = Trial(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), {"H2": [h2] * 5})
    >>> [s.info["seed"] for s in specimens(trial, n_systems=2, n_per_system=3)]
    ['H2', 'H2', 'H2']
    """
    found: dict[str, list[Structure]] = {}
    if trial.held_out is not None:
        for system, structure in zip(trial.held_out.systems, trial.held_out.structures, strict=True):
            found.setdefault(str(system), []).append(structure)
    else:
        found = {name: list(own) for name, own in trial.starts.items()}
    molecules = {name: own for name, own in found.items() if len(own[0]) > 1 or own[0].pbc.any()}
    found = molecules or found  # an isolated atom has no forces to be wrong
    names = sorted(found)
    return [
        found[name][k].tagged(seed=name)
        for name in (names[k] for k in _even(len(names), n_systems))
        for k in _even(len(found[name]), n_per_system)
    ]


def _even(n: int, most: int) -> list[int]:
    """Return at most ``most`` of n rows, evenly spread."""
    chosen: list[int] = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)).tolist()
    return chosen


def _done(names: tuple[str, ...], part: Part, subject: Subject, advance: Advance) -> Evidence:
    try:
        return part(subject)
    except DistillerError as error:
        reason = error.reason if isinstance(error, PredictionError) else str(error)
        return Evidence(skipped=[Skipped(name, f"the potential gave no answer: {reason}") for name in names])
    finally:
        advance(1, note=names[0].replace("_", " "))


def _conservation(subject: Subject) -> Evidence:
    """Return how far forces are from the gradient of the energy, and what they do on closed loops."""
    found = {m.name: m for m in conservation.measure(subject).measurements}
    residual, relative = found["force_residual"], found["force_residual_relative"]
    detail = {**residual.detail, "relative_to_typical_force": relative.value, "n_structures": len(subject.structures)}
    return Evidence(
        [
            Measurement(residual.name, residual.value, residual.unit, residual.ci95, residual.n_samples, detail),
            found["loop_force"],
        ]
    )


def _all(found: Sequence[Evidence]) -> Evidence:
    arrays: dict[str, NDArray[Any]] = {}
    for evidence in found:
        arrays |= evidence.arrays
    return Evidence(
        [m for evidence in found for m in evidence.measurements],
        [s for evidence in found for s in evidence.skipped],
        arrays,
    )
