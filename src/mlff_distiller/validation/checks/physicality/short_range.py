"""Short range: the energy of two atoms that meet must rise, or dynamics falls into a hole."""

from dataclasses import replace
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.errors import DistillerError, PredictionError, UnsupportedStructureError
from mlff_distiller.core.evidence import Evidence, Skipped, texts
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.checks.physicality.approaches import Approach, approaches, with_lowest_spin
from mlff_distiller.validation.checks.physicality.worst import worst
from mlff_distiller.validation.surface.energy_noise import energy_noise, rounding_error
from mlff_distiller.validation.surface.subject import Subject

Floats = NDArray[np.float64]

NAME: Final = "short_range_hole"
_SIGMAS: Final = 4.0


class Reach(Protocol):
    """How near atoms are pushed, and what counts."""

    @property
    def closest_fraction(self) -> float:
        """How near, as a fraction of the sum of covalent radii."""

    @property
    def closest_A(self) -> float:
        """The nearest in any case, Angstrom."""

    @property
    def reachable_eV(self) -> float:
        """Highest barrier that atoms may get over, eV."""

    @property
    def n_points(self) -> int:
        """Points of each curve."""


def short_range(subject: Subject, reach: Reach) -> Evidence:
    """Push every pair of elements together and return the deepest hole on the way in.

    An isolated pair that the potential does not cover, because of its spin for instance, is left out and named.
    """
    ends = {"fraction": reach.closest_fraction, "closest": reach.closest_A}
    ways = approaches(subject.structures, **ends, n_points=reach.n_points)
    found: dict[str, Measurement] = {}
    unanswered: dict[str, str] = {}
    uncovered: list[str] = []
    curves: list[tuple[Approach, Floats]] = []
    for way in ways:
        covered = _covered(subject, way)
        if covered is None:
            uncovered.append(way.label)
            continue
        energies, why = _energies(subject, covered)
        curves.append((covered, energies))
        if why:
            unanswered[way.label] = why
        else:
            noise = _noise(subject, covered, energies)
            found[way.label] = _measured(covered, energies, noise=noise, reachable=reach.reachable_eV)
    arrays = _arrays([(way, energies) for way, energies in curves if np.isfinite(energies).any()])
    if unanswered or not found:
        return Evidence(skipped=[_missing(unanswered)], arrays=arrays)
    detail = {"uncovered": uncovered, "reachable_eV": reach.reachable_eV}
    return Evidence([worst(NAME, "eV", found, detail=detail)], arrays=arrays)


def _missing(unanswered: dict[str, str]) -> Skipped:
    if not unanswered:
        return Skipped(NAME, "the potential covers no pair of atoms", applies=False)
    label, why = next(iter(unanswered.items()))
    return Skipped(NAME, f"{len(unanswered)} curves have gaps: {label}, {why}")


def _covered(subject: Subject, way: Approach) -> Approach | None:
    """Return a way in with a charge and spin that the potential covers; None where it covers none."""
    for structures in (way.structures, [with_lowest_spin(structure) for structure in way.structures]):
        try:
            subject.probe.energies(structures[:1])
        except UnsupportedStructureError:
            continue
        except DistillerError:
            pass  # said where the whole way is asked for
        return replace(way, structures=structures)
    return None


def _energies(subject: Subject, way: Approach) -> tuple[Floats, str]:
    """Return energies (G,), NaN where the potential gives none, and why it gives none where it matters."""
    structures, why, first = list(way.structures), "", 0
    energies = np.full(len(structures), np.nan)
    while first < len(structures):
        try:
            energies[first:] = subject.probe.energies(structures[first:])
            break
        except PredictionError as error:
            failed = first + error.index
            energies[first:failed] = subject.probe.energies(structures[first:failed])
            if way.distances[failed] <= way.window[1]:
                why = why or f"at {way.distances[failed]:.2f} Angstrom: {error.reason}"
            first = failed + 1
    return energies, why


def _noise(subject: Subject, way: Approach, energies: Floats) -> float:
    """Return the noise of the energy where the way is about at equilibrium, eV."""
    middle = int(np.abs(way.distances - np.mean(way.window)).argmin())
    try:
        return energy_noise(subject.probe, way.structures[middle], rng=subject.rng("hole", way.label))
    except PredictionError:
        return rounding_error(energies[np.isfinite(energies)])


def _measured(way: Approach, energies: Floats, *, noise: float, reachable: float) -> Measurement:
    """Return the deepest fall of the energy below its highest value since equilibrium, on the way in.

    A fall behind a barrier that atoms never get over does not count; it is told in the detail.
    """
    known = np.isfinite(energies)
    distances, energies = way.distances[known], energies[known]
    begin = _equilibrium(way, distances, energies)
    inside = energies[begin:]
    fall = np.where(distances[begin:] <= way.wall, np.maximum.accumulate(inside) - inside, 0.0)
    barrier = np.maximum.accumulate(energies - np.minimum.accumulate(energies))[begin:]
    counted = np.where(barrier <= reachable, fall, 0.0)
    deepest = int(counted.argmax()) if counted.max() > 0 else int(fall.argmax())
    top = int(inside[: deepest + 1].argmax())
    size = float(counted[deepest])
    between = _beyond(inside, top) + _beyond(-inside, deepest)  # what the grid of distances has missed
    size, doubt = size + between * (size > 0), _SIGMAS * noise + between
    detail: dict[str, Any] = {
        "equilibrium_A": float(distances[begin]),
        "end_A": float(distances[-1]),
        "rise_eV": float(inside.max() - inside[0]),
    }
    if fall[deepest] > doubt:
        detail |= {
            "fall_eV": float(fall[deepest]),
            "barrier_eV": float(barrier[deepest]),
            "top_A": float(distances[begin + top]),
            "bottom_A": float(distances[begin + deepest]),
        }
    return Measurement(NAME, size, "eV", (max(size - doubt, 0.0), size + doubt), 1, detail)


def _beyond(energies: Floats, highest: int) -> float:
    """Return by how much a parabola through a highest point and its neighbors rises above it; nothing at an end."""
    if not 0 < highest < len(energies) - 1:
        return 0.0
    left, middle, right = energies[highest - 1 : highest + 2]
    curvature = 2 * middle - left - right
    return float((right - left) ** 2 / (8 * curvature)) if curvature > 0 else 0.0


def _equilibrium(way: Approach, distances: Floats, energies: Floats) -> int:
    """Return where the wall begins: at the lowest energy of the window.

    Where that is the near edge, below which no bond is, the energy falls into a hole from the highest point before.
    """
    window = np.flatnonzero((distances >= way.window[0]) & (distances <= way.window[1]))
    lowest = int(energies[window].argmin())
    return int(window[lowest if lowest < len(window) - 1 else energies[window].argmax()])


def _arrays(curves: list[tuple[Approach, Floats]]) -> dict[str, NDArray[Any]]:
    if not curves:
        return {}
    return {
        "short_range_labels": texts([way.label for way, _ in curves]),
        "short_range_distances": np.array([way.distances for way, _ in curves]),
        "short_range_energies": np.array([energies - energies[np.isfinite(energies)][0] for _, energies in curves]),
    }
