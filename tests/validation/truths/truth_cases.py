"""What is built into each student, in numbers, and what must be said of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
from truth_faults import (
    HEALTHY,
    BadElement,
    Hole,
    NotExtensive,
    Pushed,
    StepAtCutoff,
    Tilted,
    WrongStressSign,
    work_along,
)
from truth_world import BONDS, OTHERS, Floats, PairWorld, systems, thermal

from mlff_distiller.core.randomness import generator
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.verdict import Verdict

FRAMES_K = 500.0
"""Temperature of the held-out frames."""

STRAIN = 0.03
"""Strain of the cells of held-out crystals, so that their stress differs from frame to frame."""

DYNAMICS_K = 300.0
"""Temperature of the starting points and velocities of dynamics."""

DURATION_PS = 10.0
TIMESTEP_FS = 10.0

DRIFT, STRONG_DRIFT = 1e-5, 1e-3
"""Powers built in, eV/atom/ps; the second is a tenth of an electron volt for ten atoms in 1 ps."""

STEP, DEPTH, TILT, SQUARE, FACTOR = 0.3, 3.0, 0.12, 2e-3, 2.5

ORDER = 0.02
"""By how much terms of higher order may change the power of the time step with which the energy fluctuates."""


@dataclass(frozen=True, eq=False)
class Case:
    """One student, what is built into it, and what must be said of it.

    Parameters
    ----------
    name : str
        In a few words.
    make : callable
        Makes the student.
    verdicts : mapping
        Verdicts that are right, by the name of the criteria.
    reasons : mapping
        Outcomes of single checks at the production limit that must be seen.
    truths : callable
        Returns what is built in beyond the errors on frames: by the name of the measurement, value and tolerance; an
        interval that comes nearer than the tolerance has found it.
    """

    name: str
    make: Callable[[], Potential]
    verdicts: Mapping[str, frozenset[Verdict]]
    reasons: Mapping[str, str] = field(default_factory=dict)
    truths: Callable[[], Mapping[str, tuple[float, float]]] = dict

    @cached_property
    def built_in(self) -> dict[str, tuple[float, float]]:
        """All that is known of it."""
        return {**{name: (value, 0.0) for name, value in errors_on_frames(self.make()).items()}, **self.truths()}


def errors_on_frames(student: Potential, n_frames: int = 6000) -> dict[str, float]:
    """Return the errors over all frames that could have been held out, of which a repetition sees a hundred."""
    teacher, wanted = PairWorld(), ("energy", "forces", "stress")
    forces, errors, energies, stresses, stress_errors = [], [], [], [], []
    for name in systems():
        frames = thermal(name, FRAMES_K, generator(0, "all frames", name), n=n_frames, strain=STRAIN)
        for start in range(0, n_frames, 500):
            part = frames[start : start + 500]
            right, found = (p.predict(part, wanted) for p in (teacher, student))
            pairs = list(zip(right, found, part, strict=True))
            forces += [a.forces.ravel() for a, _, _ in pairs]
            errors += [(b.forces - a.forces).ravel() for a, b, _ in pairs]
            energies += [(b.energy - a.energy) / len(s) for a, b, s in pairs]
            stresses += [a.stress for a, _, s in pairs if s.is_periodic]
            stress_errors += [b.stress - a.stress for a, b, s in pairs if s.is_periodic]
    y, d, e, t = map(np.concatenate, (forces, errors, [energies], stress_errors))
    spread = np.array(stresses) - np.mean(stresses, axis=0)
    return {
        "force_rmse": _root_mean(d),
        "force_mae": float(np.abs(d).mean()),
        "force_r2": 1 - _root_mean(d) ** 2 / float(y.var()),
        "energy_rmse_per_atom": _root_mean(e),
        "energy_mae_per_atom": float(np.abs(e).mean()),
        "stress_rmse": _root_mean(t),
        "stress_error_percent": 100 * _root_mean(t) / _root_mean(spread),
    }


def _root_mean(values: Floats) -> float:
    return float((values**2).mean() ** 0.5)


@cache
def power(drift: float, n_replicas: int = 16) -> float:
    """Return the drift of the worst system, from the work of the push along many trajectories, eV/atom/ps.

    The slope of the work by least squares, the mean over replicas: what an interval over three of them aims at.
    """
    student = Pushed(drift, DURATION_PS)
    starts = [
        frame for name in systems() for frame in thermal(name, DYNAMICS_K, generator(0, "power", name), n=n_replicas)
    ]
    velocities = [maxwell_boltzmann(s, DYNAMICS_K, generator(0, "power", k)) for k, s in enumerate(starts)]
    work = work_along(student, starts, velocities, TIMESTEP_FS)
    time = TIMESTEP_FS / 1000 * (np.arange(len(work)) - (len(work) - 1) / 2)
    slopes = time @ work / (time @ time) / [len(s) for s in starts]
    return float(slopes.reshape(len(systems()), n_replicas).mean(1).max())


def push_residual(drift: float) -> float:
    """Return the root mean square component of the push over starting frames."""
    student = Pushed(drift, DURATION_PS)
    return _residual(lambda frames: [student.push(frame) for frame in frames])


def element_residual() -> float:
    """Return the root mean square component of what is added to the forces on bromine."""
    right, wrong = PairWorld(HEALTHY), BadElement(FACTOR)

    def added(frames: list) -> list:
        pairs = zip(wrong.predict(frames), right.predict(frames), strict=True)
        return [a.forces - b.forces for a, b in pairs]

    return _residual(added)


def _residual(added: Callable[[list], list], n_frames: int = 2000) -> float:
    squares = [
        np.mean(
            [
                (extra**2).mean()
                for extra in added(thermal(n, FRAMES_K, generator(0, "residual", n), n=n_frames, strain=STRAIN))
            ]
        )
        for n in systems()
    ]
    return float(np.mean(squares) ** 0.5)


def deepest_hole(depth: float) -> float:
    """Return how deep the energy of a lone pair falls again on the way in, of all pairs of elements the deepest."""
    student = Hole(depth)
    return max(_fall(student, bond) for bond in (*BONDS.values(), OTHERS))


def _fall(student: Hole, bond: tuple[float, float, float]) -> float:
    r = np.linspace(0.4, 1.0, 60_001) * bond[2]
    energy = student.pair(r, *(np.full_like(r, x) for x in bond))[0][::-1]
    return float((np.maximum.accumulate(energy) - energy)[r[::-1] < 0.75 * bond[2]].max())


APPROVED: frozenset[Verdict] = frozenset({"APPROVED"})
REJECTED: frozenset[Verdict] = frozenset({"REJECTED"})
REFUSED: frozenset[Verdict] = frozenset({"REJECTED", "SCREENING_ONLY"})


@cache
def cases() -> dict[str, Case]:
    """Return all students by a short name."""
    found = [
        Case(
            "healthy",
            lambda: PairWorld(HEALTHY),
            {"production": APPROVED},
            truths=lambda: {"timestep_order": (2.0, ORDER)},
        ),
        Case(
            "drift",
            lambda: Pushed(DRIFT),
            {"production": APPROVED, "quantitative": REFUSED},
            {"nve_drift": "FAIL"},
            lambda: {"nve_drift": (power(DRIFT), 0.0), "force_residual": (push_residual(DRIFT), 0.0)},
        ),
        Case(
            "not conservative",
            lambda: Pushed(STRONG_DRIFT),
            {"production": REFUSED},
            {"nve_drift_percent": "FAIL"},
            lambda: {"nve_drift": (power(STRONG_DRIFT), 0.0), "force_residual": (push_residual(STRONG_DRIFT), 0.0)},
        ),
        Case(
            "step at the cutoff",
            lambda: StepAtCutoff(STEP),
            {"production": REFUSED},
            {"force_jump": "FAIL"},
            lambda: {"force_jump": (STEP, 0.0)},
        ),
        Case(
            "hole at short range",
            lambda: Hole(DEPTH),
            {"production": REFUSED},
            {"short_range_hole": "FAIL"},
            lambda: {"short_range_hole": (deepest_hole(DEPTH), 0.0)},
        ),
        Case("stress sign", WrongStressSign, {"production": REFUSED}, {"stress_error_percent": "FAIL"}),
        Case(
            "not extensive",
            lambda: NotExtensive(SQUARE),
            {"production": REFUSED},
            {"extensivity_error": "FAIL"},
            lambda: {"extensivity_error": (SQUARE * 5, 0.0)},
        ),
        Case("not isotropic", lambda: Tilted(TILT), {"production": REFUSED}, {"force_spread": "FAIL"}),
        Case(
            "bad element",
            lambda: BadElement(FACTOR),
            {"production": REFUSED},
            {"force_r2": "FAIL"},
            lambda: {"force_residual": (element_residual(), 0.0)},
        ),
    ]
    return {case.name: case for case in found}
