"""Time of one molecular dynamics step, student and teacher interleaved in one run."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ase
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.atoms.conversion import to_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Advance
from mlff_distiller.core.errors import DataError, DistillerError
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.plan import Plan
from mlff_distiller.core.provenance import machine
from mlff_distiller.core.randomness import generator
from mlff_distiller.core.units import FEMTOSECOND
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.calculator import PotentialCalculator

Floats = NDArray[np.float64]
_WARMUP_STEPS = 3


class StepTimePlan(Plan):
    """How the time of a dynamics step is measured."""

    n_blocks: int = Field(
        20, ge=6, le=1000, description="Blocks per potential, taken in turns; an interval needs at least six."
    )
    duration_s: float = Field(
        2.0, gt=0, description="Time to spend on each potential and system; a block has at least one step."
    )
    max_steps_per_block: int = Field(50, ge=1, description="Steps in a block of a fast potential.")
    timestep_fs: float = Field(0.5, ge=1e-3, le=10, description="Time step of the dynamics that is timed.")
    temperature_K: float = Field(300.0, gt=0, description="Temperature of its starting velocities.")

    def measure(
        self,
        student: Potential,
        structures: Sequence[Structure],
        *,
        names: Sequence[str] = (),
        teacher: Potential | None = None,
        seed: int = 0,
        advance: Advance | None = None,
    ) -> list[Measurement]:
        """Time ASE's velocity Verlet with each potential, block by block in turns.

        A step is what a user waits for: neighbor list, energy and forces through the ASE calculator, and the
        integrator. Turns make both potentials see the same machine. The number of threads is recorded, not changed.

        Parameters
        ----------
        student : Potential
            What is timed.
        structures : sequence of Structure
            One per distinct system.
        names : sequence of str, optional
            Names of the systems; their formulas unless given.
        teacher : Potential, optional
            What it is compared with.
        seed : int
            Of the starting velocities.
        advance : Advance, optional
            Told how many systems are done.

        Returns
        -------
        list of Measurement
            ``step_time`` and, with a teacher, ``teacher_step_time`` (ms) and ``speedup``: medians over blocks of the
            median over systems, with the distribution-free 95 % interval of a median.

        Raises
        ------
        DataError
            If there are no systems.

        Examples
        --------
        >>> from mlff_distiller.potentials.analytic import harmonic
        >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
        >>> spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
        >>> [m.name for m in StepTimePlan(duration_s=0.05).measure(spring, [h2], teacher=spring)]
        ['step_time', 'teacher_step_time', 'speedup']
        """
        if not structures:
            raise DataError("there are no systems to time; name at least one molecule or file in the recipe")
        potentials = {"step_time": student} | ({"teacher_step_time": teacher} if teacher is not None else {})
        timed = {}
        for index, structure in enumerate(structures):
            label = names[index] if names else structure.formula
            label = label if label not in timed else f"{label} ({index + 1})"
            timed[label] = self._time(potentials, structure, seed)
            if advance is not None:
                advance()
        return _summarize(timed, {"settings": self.model_dump(mode="json"), **_conditions()})

    def _time(self, potentials: dict[str, Potential], structure: Structure, seed: int) -> dict[str, Floats]:
        """Return milliseconds per step of each block, by potential."""
        runs = {name: _Run(potential, structure, self, seed) for name, potential in potentials.items()}
        blocks: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(self.n_blocks):
            for name, run in runs.items():
                blocks[name].append(run.block())
        return {name: np.array(times) for name, times in blocks.items()}


class _Run:
    """A trajectory that can be continued by one block of steps."""

    def __init__(self, potential: Potential, structure: Structure, plan: StepTimePlan, seed: int) -> None:
        from ase.md.verlet import VelocityVerlet

        rng = generator(seed, "step_time", structure.formula)
        self.start, self.velocities = structure, maxwell_boltzmann(structure, plan.temperature_K, rng)
        self.atoms: ase.Atoms = to_ase(structure)
        self.atoms.calc = PotentialCalculator(potential)
        self.atoms.set_velocities(self.velocities)
        self.dynamics = VelocityVerlet(self.atoms, timestep=plan.timestep_fs * FEMTOSECOND)
        self.n_steps = _WARMUP_STEPS
        self.block()  # imports, compilation and caches, none of which a long run pays again
        steps = plan.duration_s * 1000 / plan.n_blocks / max(self.block(), 1e-6)
        self.n_steps = int(np.clip(steps, 1, plan.max_steps_per_block))

    def block(self) -> float:
        """Run one block and return milliseconds per step; a trajectory that breaks down is begun again, step by step.

        How long it lasts is for other checks to say; a step of it has a time all the same.
        """
        try:
            return self._timed()
        except DistillerError:
            self.atoms.set_positions(self.start.positions)
            self.atoms.set_velocities(self.velocities)
            self.n_steps = 1
            return self._timed()

    def _timed(self) -> float:
        start = time.perf_counter()
        self.dynamics.run(self.n_steps)
        return (time.perf_counter() - start) * 1000 / self.n_steps


@dataclass(frozen=True)
class _Median:
    """A median and the order statistics that enclose it."""

    value: float
    ci95: tuple[float, float]


def _median(samples: Floats) -> _Median:
    """Return the median with its distribution-free 95 % interval.

    The number of samples below the true median is binomial, so two order statistics enclose it whatever the
    distribution (Hahn and Meeker 1991, doi:10.1002/9780470316771).
    """
    from scipy.stats import binom

    ordered = np.sort(samples)
    n = len(ordered)
    rank = int(binom.ppf(0.025, n, 0.5))
    low = max(rank - 1, 0)
    return _Median(float(np.median(ordered)), (float(ordered[low]), float(ordered[n - 1 - low])))


def _summarize(timed: dict[str, dict[str, Floats]], detail: dict[str, Any]) -> list[Measurement]:
    series = {name: {system: blocks[name] for system, blocks in timed.items()} for name in next(iter(timed.values()))}
    if "teacher_step_time" in series:
        series["speedup"] = {
            system: blocks["teacher_step_time"] / blocks["step_time"] for system, blocks in timed.items()
        }
    return [_measurement(name, systems, detail) for name, systems in series.items()]


def _measurement(name: str, systems: dict[str, Floats], detail: dict[str, Any]) -> Measurement:
    overall = _median(np.median(list(systems.values()), axis=0))
    per_system = {system: _median(blocks) for system, blocks in systems.items()}
    listed = {system: {"median": m.value, "ci95": list(m.ci95)} for system, m in per_system.items()}
    unit = "" if name == "speedup" else "ms"
    n_blocks = len(next(iter(systems.values())))
    return Measurement(name, overall.value, unit, overall.ci95, n_blocks, {"systems": listed, **detail})


def _conditions() -> dict[str, Any]:
    """Return what the time depends on."""
    import torch

    return {
        "torch_threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "machine": machine(),
    }
