"""NVE: constant-energy dynamics of many systems at once, by velocity Verlet, as long as is asked."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Advance
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.core.provenance import digest
from mlff_distiller.core.units import FEMTOSECOND
from mlff_distiller.dynamics.ends import Ends
from mlff_distiller.dynamics.failures import DEFAULT_LIMITS, Fault, Limits
from mlff_distiller.dynamics.journal import Journal
from mlff_distiller.dynamics.replicas import Replicas
from mlff_distiller.dynamics.rows import Rows
from mlff_distiller.dynamics.screening import Watches
from mlff_distiller.dynamics.trace import NVETrace
from mlff_distiller.potentials.base import Potential

Floats = NDArray[np.float64]

_VERSION: Final = 1
CHUNK_STEPS: Final = 1000
"""Steps in a chunk of a journal: what is lost at most where a process is killed."""


@dataclass(frozen=True)
class NVESettings:
    """How a run is made.

    Parameters
    ----------
    timestep_fs : float
        Time step, fs.
    n_steps : int
        Number of steps.
    record_every, frame_every : int
        Steps between recorded energies, and between kept geometries.
    limits : Limits
        What counts as failed.

    Examples
    --------
    >>> NVESettings(timestep_fs=0.5, n_steps=2000, record_every=10).n_records
    201
    """

    timestep_fs: float
    n_steps: int
    record_every: int = 10
    frame_every: int = 1000
    limits: Limits = DEFAULT_LIMITS

    @property
    def n_records(self) -> int:
        """Number of recorded moments, the start among them."""
        return self.n_steps // self.record_every + 1

    @property
    def n_frames(self) -> int:
        """Number of kept geometries, the start among them."""
        return self.n_steps // self.frame_every + 1

    def time_ps(self, steps: Any) -> Any:
        """Return the time after a number of steps, ps."""
        return steps * (self.timestep_fs / 1000)

    def digest(self, potential: Potential, structures: Sequence[Structure], velocities: Sequence[Floats]) -> str:
        """Return a SHA-256 of everything that a run depends on."""
        settings = {**asdict(self), "limits": self.limits.model_dump(mode="json")}
        starts = [[_hash(s.numbers, s.positions, s.cell, s.pbc), s.charge, s.spin] for s in structures]
        moving = [_hash(np.asarray(v, dtype=np.float64)) for v in velocities]
        return digest([_VERSION, settings, potential.identity.to_json(), starts, moving])


def _hash(*arrays: NDArray[Any]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def run_nve(  # noqa: PLR0913 - each is a setting of the run
    potential: Potential,
    structures: Sequence[Structure],
    velocities: Sequence[Floats],
    *,
    timestep_fs: float,
    n_steps: int,
    record_every: int = 10,
    frame_every: int = 1000,
    limits: Limits = DEFAULT_LIMITS,
    advance: Advance | None = None,
    folder: Path | None = None,
) -> NVETrace:
    """Run velocity Verlet for all systems together, one evaluation of the batch at each step.

    A short form of :class:`NVERun`.

    Parameters
    ----------
    potential : Potential
        What gives the forces.
    structures : sequence of Structure
        Starting points, S of them.
    velocities : sequence of (n, 3)
        Angstrom per ASE time unit, for instance from
        :func:`~mlff_distiller.dynamics.velocities.maxwell_boltzmann`.
    timestep_fs : float
        Time step, fs.
    n_steps : int
        Number of steps.
    record_every, frame_every : int
        Steps between recorded energies, and between kept geometries.
    limits : Limits
        What counts as failed.
    advance : Advance, optional
        Called with the number of steps done since the last call.
    folder : Path, optional
        Where the run is kept, so that it goes on after it was killed.

    Raises
    ------
    UnsupportedStructureError
        If the potential does not cover a structure.
    ValueError
        If velocities do not match the structures.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import harmonic
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.1]])
    >>> trace = run_nve(
    ...     harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), [h2], [np.zeros((2, 3))], timestep_fs=0.2, n_steps=20
    ... )
    >>> trace.total_energy.round(3).ravel().tolist()
    [0.05, 0.05, 0.05]
    """
    settings = NVESettings(timestep_fs, n_steps, record_every, frame_every, limits)
    return NVERun(potential, structures, velocities, settings, folder=folder).finish(advance)


class NVERun:
    """Velocity Verlet for all systems together, one evaluation of the batch at each step.

    A system that leaves the limits, or that the potential cannot evaluate, is frozen and dropped with its reason; the
    others go on unchanged. Forces, temperature and energy are checked at every step, distances at recorded steps.
    Source: Swope et al. 1982, doi:10.1063/1.442716.

    What is recorded goes into chunks of steps. With a folder they lie on disk, in a journal named by a digest of
    everything that the run depends on: the same run goes on there after it was killed and ends the same to the last
    bit, another one never does, and memory does not grow with the length. Only the finished trace is read as a whole.

    Beside the energy H its shadow is recorded: velocity Verlet follows, to the fourth power of the time step h,

        H + h^2 (v . H'' v / 12 - F . F / (24 m)),   H'' v = -dF/dt,

    with dF/dt from the forces one step before and one after (Hairer, Lubich and Wanner 2003,
    doi:10.1017/S0962492902000144). Its drift shows ten to hundred times earlier than that of the energy, which
    oscillates with h^2.

    Parameters
    ----------
    potential : Potential
        What gives the forces.
    structures : sequence of Structure
        Starting points, S of them.
    velocities : sequence of (n, 3)
        Angstrom per ASE time unit.
    settings : NVESettings
        Time step, length, what is recorded, what counts as failed.
    folder : Path, optional
        Where journals are kept; nothing is kept without it.
    chunk_steps : int
        Steps in a chunk; what is recorded does not depend on it.

    Attributes
    ----------
    n_done : int
        Steps that are done.

    Raises
    ------
    DataError
        If a journal is damaged.
    ValueError
        If velocities do not match the structures.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import morse
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.8]])
    >>> bond = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0)
    >>> run = NVERun(bond, [h2], [np.zeros((2, 3))], NVESettings(timestep_fs=0.2, n_steps=100, record_every=1))
    >>> trace = run.finish()
    >>> bool(np.ptp(trace.shadow_energy) < 0.01 * np.ptp(trace.total_energy))
    True
    """

    def __init__(
        self,
        potential: Potential,
        structures: Sequence[Structure],
        velocities: Sequence[Floats],
        settings: NVESettings,
        *,
        folder: Path | None = None,
        chunk_steps: int = CHUNK_STEPS,
    ) -> None:
        self._potential, self._starts, self._settings = potential, list(structures), settings
        self._timestep, self._chunk_steps = settings.timestep_fs * FEMTOSECOND, chunk_steps
        self._replicas = Replicas(structures, velocities)
        self._rows, self._ends = Rows(structures, self._timestep), Ends(structures)
        self._watches = Watches(structures, settings.limits)
        self._lowest = np.full(len(structures), -np.inf)
        self._journal = Journal(folder and folder / settings.digest(potential, structures, velocities)[:16])
        self.n_done = 0
        if self._journal.state:
            self._restore()

    def finish(self, advance: Advance | None = None) -> NVETrace:
        """Do the steps that are left and return the whole run.

        Parameters
        ----------
        advance : Advance, optional
            Called with the number of steps done since the last call; those that were there before do not count.

        Raises
        ------
        UnsupportedStructureError
            If the potential does not cover a structure.
        """
        if not (self._journal.state and self._is_over):
            self._run(advance)
        return self._trace()

    @property
    def _is_over(self) -> bool:
        return not self._replicas or self.n_done >= self._settings.n_steps

    def _run(self, advance: Advance | None) -> None:
        reported = self.n_done
        if not self._journal.state:
            self._begin()
        while not self._is_over:
            self._step()
            if advance and self.n_done % self._settings.record_every == 0:
                advance(self.n_done - reported)
                reported = self.n_done
            if self.n_done % self._chunk_steps == 0 and not self._is_over:
                self._save()
        self._end()
        self._save()
        if advance and reported < self._settings.n_steps:
            advance(self._settings.n_steps - reported)

    def _begin(self) -> None:
        self._rows.frame(self._replicas)
        self._evaluate()
        drop = self._settings.limits.max_energy_drop
        if drop is not None:
            self._lowest[self._replicas.indices] = self._replicas.energies - drop * self._replicas.sizes
        self._drop(self._replicas.faults(self._settings.limits))
        self._drop(self._watches.faults(self._replicas))
        self._replicas.previous_forces = self._replicas.forces_after(self._potential, -self._timestep)
        self._record()

    def _step(self) -> None:
        self.n_done += 1
        self._replicas.kick(self._timestep / 2)
        self._replicas.drift(self._timestep)
        self._evaluate()
        self._rows.complete(self._replicas, self._replicas.forces)
        self._replicas.kick(self._timestep / 2)
        self._drop(self._replicas.faults(self._settings.limits))
        self._drop(self._holes())
        if self.n_done % self._settings.record_every == 0:
            self._drop(self._watches.faults(self._replicas))
            self._record()
        if self.n_done % self._settings.frame_every == 0:
            self._rows.frame(self._replicas)

    def _end(self) -> None:
        if self._rows.waiting is not None:
            self._rows.complete(self._replicas, self._replicas.forces_after(self._potential, self._timestep))
        self._ends.finish(self._replicas)

    def _evaluate(self) -> None:
        while self._replicas:
            try:
                return self._replicas.evaluate(self._potential)
            except PredictionError as error:
                self._drop({error.index: Fault("no answer", error.cause)})

    def _holes(self) -> dict[int, Fault]:
        replicas = self._replicas
        below = self._lowest[replicas.indices] - replicas.energies
        return {
            int(row): Fault("hole", f"a hole in the potential: {self._deep(int(row), float(below[row]))}")
            for row in np.flatnonzero(below > 0)
        }

    def _deep(self, row: int, below: float) -> str:
        depth = (self._settings.limits.max_energy_drop or 0.0) + below / int(self._replicas.sizes[row])
        return f"the potential energy fell {depth:.3g} eV/atom below that of the start"

    def _drop(self, faults: dict[int, Fault]) -> None:
        if not faults:
            return
        for row, fault in faults.items():
            time_ps = self._settings.time_ps(self.n_done)
            self._ends.fail(self._replicas, row, fault, step=self.n_done, time_ps=time_ps)
        self._replicas = self._replicas.without(faults)

    def _record(self) -> None:
        self._rows.record(self._replicas)
        self._ends.note(self._replicas, self._settings.time_ps(self.n_done))

    def _save(self) -> None:
        waiting = {} if self._rows.waiting is None else {"waiting": self._rows.waiting}
        replicas = {
            "indices": np.array(self._replicas.indices, dtype=np.int64),
            "energies": self._replicas.energies,
            **self._replicas.state,
        }
        own = {"n_done": np.array(self.n_done), "lowest": self._lowest, **waiting}
        self._journal.append(self._rows.take(), {**own, **replicas, **self._ends.state})

    def _restore(self) -> None:
        state = self._journal.state
        indices = state["indices"].tolist()
        self._replicas = Replicas.in_state([self._starts[k] for k in indices], indices, state["energies"], state)
        self._ends.restore(state)
        self._rows.waiting, self._lowest = state.get("waiting"), state["lowest"]
        self.n_done = int(state["n_done"])

    def _trace(self) -> NVETrace:
        settings, ends = self._settings, self._ends
        found = self._journal.joined()
        frames = _padded(found.pop("frame_positions"), settings.n_frames)
        rows = {name: _padded(values, settings.n_records) for name, values in found.items()}
        return NVETrace(
            times_ps=settings.time_ps(settings.record_every * np.arange(settings.n_records)),
            temperatures_K=self._rows.temperatures(rows["kinetic_energy"]),
            elements=self._rows.elements,
            n_atoms=np.array([len(s) for s in self._starts], dtype=np.int64),
            failures=tuple(ends.failures.get(index) for index in range(len(self._starts))),
            starts=self._starts,
            frame_times_ps=settings.time_ps(settings.frame_every * np.arange(settings.n_frames)),
            frame_positions=frames,
            last_times_ps=ends.times_ps,
            last_positions=ends.positions,
            structures=[s.moved(ends.final("positions", index)) for index, s in enumerate(self._starts)],
            velocities=[ends.final("velocities", index) for index in range(len(self._starts))],
            **rows,
        )


def _padded(rows: Floats, length: int) -> Floats:
    """Return rows with NaN for the time when no system ran any more."""
    missing = np.full((length - len(rows), *rows.shape[1:]), np.nan)
    return np.concatenate([rows, missing]) if len(missing) else rows
