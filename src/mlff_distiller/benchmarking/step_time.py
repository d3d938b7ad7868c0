"""Time of one molecular dynamics step, student and teacher interleaved in one run, and memory over many steps."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking.memory import MemoryPlan
from mlff_distiller.benchmarking.quantiles import Median, median, ns_per_day, tail
from mlff_distiller.benchmarking.trajectory import Trajectory
from mlff_distiller.core.console import Advance
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.evidence import Evidence, Skipped, texts
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.plan import Plan
from mlff_distiller.core.provenance import machine
from mlff_distiller.potentials.base import Potential

Floats = NDArray[np.float64]
Timed = dict[str, dict[str, list[Floats]]]
"""Milliseconds of the steps of each block, by system and potential."""

_WARMUP_STEPS = 3


class StepTimePlan(Plan):
    """How the time of a dynamics step is measured, and the memory of many."""

    n_blocks: int = Field(
        20, ge=6, le=1000, description="Blocks per potential, taken in turns; an interval needs at least six."
    )
    duration_s: float = Field(
        2.0, gt=0, description="Time to spend on each potential and system; a block has at least one step."
    )
    max_steps_per_block: int = Field(50, ge=1, description="Steps in a block of a fast potential.")
    timestep_fs: float = Field(0.5, ge=1e-3, le=10, description="Time step of the dynamics that is timed.")
    temperature_K: float = Field(300.0, gt=0, description="Temperature of its starting velocities.")
    memory: MemoryPlan = Field(MemoryPlan(), description="How the memory of a long trajectory is watched.")

    def measure(
        self,
        student: Potential,
        structures: Sequence[Structure],
        *,
        names: Sequence[str] = (),
        teacher: Potential | None = None,
        seed: int = 0,
        advance: Advance | None = None,
    ) -> Evidence:
        """Time ASE's velocity Verlet with each potential, block by block in turns, and watch the memory of a long run.

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
        Evidence
            ``step_time`` and, with a teacher, ``teacher_step_time`` (ms) and ``speedup``: medians over blocks of the
            median over systems, with the distribution-free 95 % interval of a median. Their detail holds, for each
            system, mean, 95th and 99th percentile of single steps and nanoseconds a day. ``memory_growth`` (%) is that
            of the student on its largest system; see :meth:`MemoryPlan.measure`, also for its arrays. Arrays of the
            steps: ``step_systems`` (S,) names, and of each of M steps ``step_ms``, ``step_system`` (index of its
            system), ``step_potential`` (0 student, 1 teacher), ``step_block``.

        Raises
        ------
        DataError
            If there are no systems.

        Examples
        --------
        >>> from mlff_distiller.potentials.analytic import harmonic
        >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
        >>> spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
        >>> plan = StepTimePlan(duration_s=0.05, memory=MemoryPlan(enabled=False))
        >>> [m.name for m in plan.measure(spring, [h2], teacher=spring).measurements]
        ['step_time', 'teacher_step_time', 'speedup']
        """
        if not structures:
            raise DataError("there are no systems to time; name at least one molecule or file in the recipe")
        labels = _labels(names, structures)
        potentials = {"step_time": student} | ({"teacher_step_time": teacher} if teacher is not None else {})
        timed: Timed = {}
        for label, structure in zip(labels, structures, strict=True):
            timed[label] = self._time(potentials, structure, seed)
            if advance is not None:
                advance()
        about = {"settings": self.model_dump(mode="json", exclude={"memory"}), **_conditions()}
        found = _summarize(timed, self.timestep_fs, about)
        watched = self._watched(student, dict(zip(labels, structures, strict=True)), seed)
        return Evidence([*found, *watched.measurements], watched.skipped, {**_arrays(timed), **watched.arrays})

    def _watched(self, student: Potential, systems: dict[str, Structure], seed: int) -> Evidence:
        """Watch the memory of the student on its largest system."""
        if not self.memory.enabled:
            return Evidence(skipped=[Skipped("memory_growth", "it is switched off (timing.memory.enabled)")])
        name = max(systems, key=lambda label: len(systems[label]))
        return self.memory.measure(student, systems[name], name=name, timestep_fs=self.timestep_fs, seed=seed)

    def _time(self, potentials: dict[str, Potential], structure: Structure, seed: int) -> dict[str, list[Floats]]:
        """Return milliseconds of the steps of each block, by potential."""
        settings: dict[str, Any] = {
            "timestep_fs": self.timestep_fs,
            "temperature_K": self.temperature_K,
            "seed": seed,
        }
        runs = {name: Trajectory(potential, structure, **settings) for name, potential in potentials.items()}
        n_steps = {name: self._block(run) for name, run in runs.items()}
        blocks: dict[str, list[Floats]] = {name: [] for name in runs}
        for _ in range(self.n_blocks):
            for name, run in runs.items():
                blocks[name].append(run.run(n_steps[name]))
        return blocks

    def _block(self, run: Trajectory) -> int:
        """Return how many steps a block has."""
        run.run(_WARMUP_STEPS)  # imports, compilation and caches, none of which a long run pays again
        step_ms = float(run.run(_WARMUP_STEPS).mean())
        return int(np.clip(1000 * self.duration_s / self.n_blocks / max(step_ms, 1e-6), 1, self.max_steps_per_block))


def _labels(names: Sequence[str], structures: Sequence[Structure]) -> list[str]:
    """Return a name of its own for each system."""
    labels: list[str] = []
    for index, structure in enumerate(structures):
        label = names[index] if names else structure.formula
        labels.append(label if label not in labels else f"{label} ({index + 1})")
    return labels


def _summarize(timed: Timed, timestep_fs: float, about: dict[str, Any]) -> list[Measurement]:
    found = [_step_time(name, timed, timestep_fs, about) for name in next(iter(timed.values()))]
    if len(found) == 2:
        found.append(_speedup(timed, about))
    return found


def _step_time(name: str, timed: Timed, timestep_fs: float, about: dict[str, Any]) -> Measurement:
    blocks = {system: _means(own[name]) for system, own in timed.items()}
    steps = {system: tail(np.concatenate(own[name])) for system, own in timed.items()}
    overall = median(np.median(list(blocks.values()), axis=0))
    systems = {
        system: _plain(median(own)) | steps[system] | {"ns_per_day": ns_per_day(float(np.median(own)), timestep_fs)}
        for system, own in blocks.items()
    }
    whole = {key: float(np.median([own[key] for own in steps.values()])) for key in ("p95", "p99")}
    detail = {"systems": systems, **whole, "ns_per_day": ns_per_day(overall.value, timestep_fs), **about}
    return Measurement(name, overall.value, "ms", overall.ci95, _n_blocks(timed), detail)


def _speedup(timed: Timed, about: dict[str, Any]) -> Measurement:
    ratios = {system: _means(own["teacher_step_time"]) / _means(own["step_time"]) for system, own in timed.items()}
    overall = median(np.median(list(ratios.values()), axis=0))
    detail = {"systems": {system: _plain(median(own)) for system, own in ratios.items()}, **about}
    return Measurement("speedup", overall.value, "", overall.ci95, _n_blocks(timed), detail)


def _n_blocks(timed: Timed) -> int:
    return len(next(iter(next(iter(timed.values())).values())))


def _means(blocks: list[Floats]) -> Floats:
    return np.array([block.mean() for block in blocks])


def _plain(found: Median) -> dict[str, Any]:
    return {"median": found.value, "ci95": list(found.ci95)}


def _arrays(timed: Timed) -> dict[str, NDArray[Any]]:
    """Return the time of every step, with the indices of its system, potential and block."""
    parts = [
        (float(ms), row, column, number)
        for row, own in enumerate(timed.values())
        for column, blocks in enumerate(own.values())
        for number, block in enumerate(blocks)
        for ms in block
    ]
    ms, system, potential, block = zip(*parts, strict=True)
    return {
        "step_systems": texts(list(timed)),
        "step_ms": np.array(ms),
        "step_system": np.array(system),
        "step_potential": np.array(potential),
        "step_block": np.array(block),
    }


def _conditions() -> dict[str, Any]:
    """Return what the time depends on."""
    import torch

    return {
        "torch_threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "machine": machine(),
    }
