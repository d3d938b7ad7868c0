"""Memory over a long trajectory: what ten thousand steps leave behind."""

import gc
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking.trajectory import Trajectory
from mlff_distiller.core.console import Advance
from mlff_distiller.core.errors import DistillerError
from mlff_distiller.core.evidence import Evidence, Skipped, texts
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.plan import Plan
from mlff_distiller.potentials.base import Potential

Floats = NDArray[np.float64]

_ENOUGH_STEPS: Final = 10_000
_STATM: Final = Path("/proc/self/statm")
_MOST_MEMORY: Final = 0.95  # highest correlation of neighboring blocks that a slope is still said to be known with


class MemoryPlan(Plan):
    """How the memory of a long trajectory is watched."""

    enabled: bool = Field(True, description="Whether it is done; a required check that is not done stays undecided.")
    n_steps: int = Field(10_000, ge=100, le=10_000_000, description="Steps that are watched.")
    n_warmup_steps: int = Field(1_000, ge=1, description="Steps before that, in which buffers reach their size.")
    n_blocks: int = Field(50, ge=10, le=1000, description="How often memory is read, garbage collected before.")

    def measure(
        self,
        potential: Potential,
        structure: Structure,
        *,
        name: str = "",
        timestep_fs: float = 0.5,
        seed: int = 0,
        advance: Advance | None = None,
    ) -> Evidence:
        """Run a constant-energy trajectory through ASE and read what the process holds, block by block.

        Parameters
        ----------
        potential : Potential
            What is watched.
        structure : Structure
            Where the trajectory starts, at 300 K.
        name : str
            What the structure is called; its formula unless given.
        timestep_fs : float
            Time step.
        seed : int
            Of the starting velocities.
        advance : Advance, optional
            Told how many blocks are done.

        Returns
        -------
        Evidence
            ``memory_growth`` (%): the slope of the memory by least squares, over ``n_steps``, of what was held after
            the warm-up. Its 95 % interval counts neighboring blocks for as much as they are independent (first-order
            autocorrelation of the residuals). Arrays: ``memory_steps`` (B,), ``memory_MB`` (B,), ``memory_step_ms``
            (B,) the mean time of a step of each block, ``memory_system`` (1,). Skipped where the operating system does
            not say what a process holds, and where no step can be made.

        Examples
        --------
        >>> from mlff_distiller.potentials.analytic import harmonic
        >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
        >>> spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
        >>> found = MemoryPlan(n_steps=100, n_warmup_steps=10, n_blocks=10).measure(spring, h2)
        >>> [m.unit for m in found.measurements] or found.skipped[0].check
        ['%']
        """
        name = name or structure.formula
        if resident_bytes(potential) is None:
            return _skipped("this operating system does not say what a process holds; it is read on Linux")
        try:
            run = Trajectory(potential, structure, timestep_fs=timestep_fs, seed=seed)
            run.run(self.n_warmup_steps)
            steps, held, times = self._watched(run, potential, advance)
        except DistillerError as error:
            return _skipped(f"no trajectory of {name} could be run: {error}")
        return Evidence(
            [_growth(steps, held, self, {"system": name, "n_restarts": run.n_restarts})],
            arrays={
                "memory_steps": steps,
                "memory_MB": held,
                "memory_step_ms": times,
                "memory_system": texts([name]),
            },
        )

    def _watched(self, run: Trajectory, potential: Potential, advance: Advance | None) -> tuple[Floats, Floats, Floats]:
        """Return steps done, MB held and milliseconds per step, of each block."""
        edges = np.linspace(0, self.n_steps, self.n_blocks + 1).round().astype(int)
        held, times = np.empty(self.n_blocks), np.empty(self.n_blocks)
        for block, n_steps in enumerate(np.diff(edges).tolist()):
            times[block] = run.run(n_steps).mean()
            gc.collect()
            held[block] = 1e-6 * (resident_bytes(potential) or 0)
            if advance is not None:
                advance()
        return edges[1:].astype(np.float64), held, times


def resident_bytes(potential: Potential | None = None) -> int | None:
    """Return what this process holds in memory, with what a potential holds on a GPU; None where nobody can say.

    Examples
    --------
    >>> (resident_bytes() or 1) > 0
    True
    """
    if not _STATM.is_file():
        return None
    held = os.sysconf("SC_PAGE_SIZE") * int(_STATM.read_text(encoding="ascii").split()[1])
    if str(getattr(potential, "device", "cpu")).startswith("cuda"):
        import torch

        held += torch.cuda.memory_allocated()
    return held


def _growth(steps: Floats, held: Floats, plan: MemoryPlan, about: dict[str, Any]) -> Measurement:
    slope, error = slope_with_error(steps, held)
    start = float(held[0])
    scale = 100 * plan.n_steps / start
    from scipy.stats import t

    half = float(t.ppf(0.975, len(steps) - 2)) * error * scale
    detail = {
        **about,
        "settings": plan.model_dump(mode="json"),
        "start_MB": start,
        "end_MB": float(held[-1]),
        "highest_MB": float(held.max()),
        "kB_per_step": 1e3 * slope,
    }
    if plan.n_steps < _ENOUGH_STEPS:
        detail["lenient"] = f"over {plan.n_steps:,} steps instead of {_ENOUGH_STEPS:,}"
    value = slope * scale
    return Measurement("memory_growth", value, "%", (value - half, value + half), len(steps), detail)


def slope_with_error(x: Floats, y: Floats) -> tuple[float, float]:
    """Return the slope of a line by least squares and its standard error.

    The error is that of independent residuals times sqrt((1 + r) / (1 - r)), r their correlation from one to the next
    where that is positive (Santer et al. 2000, doi:10.1029/1999JD901105).

    Examples
    --------
    >>> slope_with_error(np.arange(4.0), 2 * np.arange(4.0))
    (2.0, 0.0)
    """
    x, y = x - x.mean(), y - y[0]  # from the first value on, so that what is flat is flat to the last digit
    spread = float(x @ x)
    slope = float(x @ y) / spread
    residuals = y - y.mean() - slope * x
    total = float(residuals @ residuals)
    if total <= 1e-24 * float(y @ y):
        return slope, 0.0
    correlation = float(np.clip(residuals[1:] @ residuals[:-1] / total, 0.0, _MOST_MEMORY))
    inflation = (1 + correlation) / (1 - correlation)
    return slope, float(np.sqrt(total / (len(x) - 2) / spread * inflation))


def _skipped(reason: str) -> Evidence:
    return Evidence(skipped=[Skipped("memory_growth", reason)])
