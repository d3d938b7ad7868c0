"""The check of time steps: whether the total energy fluctuates with the square of the time step, as it should."""

from math import ceil
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.evidence import Evidence, Skipped, texts
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.dynamics.failures import Limits
from mlff_distiller.dynamics.nve import run_nve
from mlff_distiller.dynamics.trace import NVETrace
from mlff_distiller.dynamics.velocities import degrees_of_freedom, maxwell_boltzmann
from mlff_distiller.validation.check import CheckPlan
from mlff_distiller.validation.checks.nve.plan import JOURNAL
from mlff_distiller.validation.checks.worst import worst
from mlff_distiller.validation.statistics import Replicated
from mlff_distiller.validation.trial import Trial

Floats = NDArray[np.float64]
Run = tuple[Structure, str, int]
"""A starting point, the name of its system, and which replica it is."""


def _different(factors: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(factors)) < 2 or min(factors) <= 0:
        raise ValueError("give at least two different positive factors; the order is read from how energies change")
    return tuple(sorted(set(factors)))


class TimestepPlan(CheckPlan):
    """Short constant-energy runs with several time steps: integrator error, or forces that are not the gradient."""

    duration_ps: float = Field(1.0, gt=0, le=1e3, description="Length of each run.")
    timestep_fs: float = Field(0.5, ge=1e-3, le=10, description="Time step of velocity Verlet that is to be used.")
    factors: Annotated[tuple[float, ...], AfterValidator(_different)] = Field(
        (0.5, 1.0, 2.0), description="Time steps that are run, as multiples of it."
    )
    temperature_K: float = Field(300.0, gt=0, description="Temperature at which the starting velocities are drawn.")
    n_replicas: int = Field(
        3, ge=1, description="Runs per system with different velocities; an interval needs at least two."
    )
    limits: Limits = Field(Limits(), description="What counts as a failed run.")

    @property
    def timesteps_fs(self) -> list[float]:
        """All time steps, the smallest first."""
        return [round(factor * self.timestep_fs, 9) for factor in self.factors]

    def measure(self, trial: Trial) -> Evidence:
        """Run all systems and replicas with every time step, from the same starting points and velocities.

        Velocity Verlet's energy error is of second order (Hairer, Lubich and Wanner 2003,
        doi:10.1017/S0962492902000144): where forces are the gradient of a smooth energy, the total energy fluctuates
        with the square of the time step. What does not vanish with it (work of forces that are no gradient, jumps,
        rounding) is no error of the integrator; then the order is lower. Details give the fluctuation of every system
        at every time step, its floor for a time step of zero, and the share of the fluctuation (of its square) at
        ``timestep_fs`` that the floor makes. Fluctuations are root mean squares about the mean, so that a drift counts.

        Arrays: ``timesteps_fs`` (D,), ``systems`` (R,), ``fluctuations`` (D, R) and ``floors`` (R,) in meV/atom,
        ``orders`` (R,).

        Raises
        ------
        DataError
            If there are no systems.

        Examples
        --------
        >>> from mlff_distiller.potentials.analytic import harmonic
        >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.05]])
        >>> trial = Trial(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), {"H2": [h2]})
        >>> round(TimestepPlan(duration_ps=0.1).measure(trial).measurement("timestep_order").value, 1)
        2.0
        """
        starts = trial.starts if trial.systems else {}
        moving = {name: own for name, own in starts.items() if degrees_of_freedom(own[0])}
        if not moving:
            return Evidence(skipped=[Skipped("timestep_order", "single atoms do not move", applies=False)])
        runs = [(own[r % len(own)], name, r) for name, own in moving.items() for r in range(self.n_replicas)]
        traces = self._run(trial, runs)
        return self._evidence(runs, traces)

    def _run(self, trial: Trial, runs: list[Run]) -> list[NVETrace]:
        """Return one trace of all runs for each time step, recorded about as often as the longest step is long."""
        velocities = [
            maxwell_boltzmann(start, self.temperature_K, trial.rng("timestep", name, replica))
            for start, name, replica in runs
        ]
        steps = [ceil(round(self.duration_ps * 1000 / timestep, 6)) for timestep in self.timesteps_fs]
        advance = trial.reporter.start(f"time steps {trial.name}", sum(steps))
        return [
            run_nve(
                trial.potential,
                [start for start, _, _ in runs],
                velocities,
                timestep_fs=timestep,
                n_steps=n_steps,
                record_every=min(max(round(self.timesteps_fs[-1] / timestep), 1), n_steps),
                frame_every=n_steps,
                limits=self.limits,
                advance=advance,
                folder=None if trial.folder is None else trial.folder / JOURNAL,
            )
            for timestep, n_steps in zip(self.timesteps_fs, steps, strict=True)
        ]

    def _evidence(self, runs: list[Run], traces: list[NVETrace]) -> Evidence:
        systems = np.array([name for _, name, _ in runs])
        timesteps = np.array(self.timesteps_fs)
        fluctuations = np.array([1000 * _fluctuations(trace) for trace in traces])
        orders, floors = _orders(timesteps, fluctuations), _floors(timesteps, fluctuations)
        samples = {name: Replicated(orders[systems == name], np.empty((self.n_replicas, 0))) for name in _names(runs)}
        found = worst("timestep_order", "", samples, side="smallest")
        for name, plain in found.detail["systems"].items():
            plain.update(self._of_system(fluctuations[:, systems == name], floors[systems == name]))
        detail = {
            "settings": self.model_dump(mode="json", include={"duration_ps", "temperature_K", "timestep_fs"}),
            "timesteps_fs": self.timesteps_fs,
            "failures": _failures(runs, traces, self.timesteps_fs),
            **found.detail,
        }
        order = Measurement(found.name, found.value, "", found.ci95, found.n_samples, detail)
        arrays = {"timesteps_fs": timesteps, "fluctuations": fluctuations, "floors": floors, "orders": orders}
        return Evidence([order], arrays={"systems": texts(systems.tolist()), **arrays})

    def _of_system(self, fluctuations: Floats, floors: Floats) -> dict[str, Any]:
        """Return what is said of one system, root mean squares over its replicas."""
        floor = float(np.sqrt((floors**2).mean()))
        own = np.sqrt((fluctuations**2).mean(1))
        square = floor**2 + _second_order(np.array(self.timesteps_fs), own, floor) * self.timestep_fs**4
        return {
            "fluctuations_meV_per_atom": own.tolist(),
            "floor_meV_per_atom": floor,
            "floor_percent": float(100 * floor**2 / square) if square != 0 else 0.0,
        }


def _names(runs: list[Run]) -> list[str]:
    return list(dict.fromkeys(name for _, name, _ in runs))


def _fluctuations(trace: NVETrace) -> Floats:
    """Return the root mean square of the total energy about its mean (R,), eV/atom; NaN where a run failed."""
    energy = (trace.total_energy - trace.total_energy[0]) / trace.n_atoms
    return np.asarray(energy.std(0))


def _orders(timesteps: Floats, fluctuations: Floats) -> Floats:
    """Return the slope of the logarithm of the fluctuation against that of the time step (R,)."""
    x = np.log(timesteps) - np.log(timesteps).mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(x @ np.log(fluctuations) / (x @ x))


def _floors(timesteps: Floats, fluctuations: Floats) -> Floats:
    """Return the fluctuation at a time step of zero (R,), not negative, by relative least squares."""
    from scipy.optimize import nnls

    def floor(squares: Floats) -> float:
        if not (np.isfinite(squares).all() and (squares > 0).all()):
            return float("nan") if not np.isfinite(squares).all() else 0.0
        rows = np.column_stack([np.ones(len(squares)), (timesteps / timesteps[-1]) ** 4]) / squares[:, None]
        scale = float(squares.max())  # so that the columns are of the order of one
        found, _ = nnls(rows * scale, np.ones(len(squares)))
        return float(np.sqrt(found[0] * scale))

    return np.array([floor(own) for own in (fluctuations**2).T])


def _second_order(timesteps: Floats, fluctuations: Floats, floor: float) -> float:
    """Return the coefficient of the fourth power of the time step in the square of the fluctuation."""
    left = np.maximum(fluctuations**2 - floor**2, 0.0) / timesteps**4
    return float(left.mean())


def _failures(runs: list[Run], traces: list[NVETrace], timesteps: list[float]) -> list[dict[str, Any]]:
    return [
        {"system": name, "replica": replica + 1, "timestep_fs": step, "time_ps": f.time_ps, "reason": f.reason}
        for trace, step in zip(traces, timesteps, strict=True)
        for (_, name, replica), f in zip(runs, trace.failures, strict=True)
        if f is not None
    ]
