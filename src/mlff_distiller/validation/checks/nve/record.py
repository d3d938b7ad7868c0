"""What is kept of constant-energy runs: energies, temperatures, geometries, and why a run ended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.evidence import texts
from mlff_distiller.dynamics.failures import Failure
from mlff_distiller.dynamics.trace import NVETrace

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def _unknown(*shape: int) -> Callable[[], Any]:
    """Return what makes the array of a field of which nothing is known."""
    return partial(np.zeros, shape)


@dataclass(frozen=True, eq=False)
class NVERecord:
    """What R runs (systems x replicas) did at T times: F geometries kept of A atoms in all, of K elements.

    The atoms of all runs follow each other; :meth:`atoms` says which are a run's. Positions are not wrapped into the
    cell. Whatever is not known is NaN, for geometries from the failure of a run on.

    Attributes
    ----------
    systems : (R,) str
        System of each run.
    n_atoms : (R,) int
        Its number of atoms.
    times_ps : (T,)
        Time, ps.
    potential_energy, kinetic_energy : (T, R)
        eV; NaN from the moment a run failed.
    temperatures_K : (T, R)
        Instantaneous temperature, K.
    survived_ps : (R,)
        Until when each run went on.
    failures : (R,) str
        Why a run failed; empty where it ran to the end.
    shadow_energy : (T, R)
        Total energy with the correction that velocity Verlet conserves to the fourth power of the time step, eV.
    elements : (K,) int
        Atomic numbers.
    element_temperatures_K : (T, R, K)
        Instantaneous temperature of the atoms of an element, K; NaN where a run lacks it.
    frame_times_ps, frame_positions : (F,), (F, A, 3)
        Geometries evenly spread over the runs, the starting points of all first, Angstrom.
    last_times_ps, last_positions : (L, R), (L, A, 3)
        The last recorded geometries of every run, the latest last; a failed run failed at the last one, and the one
        before it is good.
    numbers : (A,) int
        Atomic numbers.
    cells, pbc, charges, spins : (R, 3, 3), (R, 3), (R,), (R,)
        As in :class:`~mlff_distiller.atoms.structure.Structure`.
    failure_kinds : (R,) str
        Which way a run failed: one of :data:`~mlff_distiller.dynamics.failures.FaultKind`, or empty.
    failure_atoms, failure_distances : (R, 2) int, (R,)
        The atoms that the failure is about, counted within the run, -1 where there are none; and their distance,
        Angstrom.
    last_student_energies, last_teacher_energies : (L, R)
        What the student and the teacher say of the last geometries of the runs that failed, eV.
    last_student_forces, last_teacher_forces : (L, A, 3)
        The same, eV/Angstrom.
    """

    systems: NDArray[np.str_]
    n_atoms: Integers
    times_ps: Floats
    potential_energy: Floats
    kinetic_energy: Floats
    temperatures_K: Floats
    survived_ps: Floats
    failures: NDArray[np.str_]
    shadow_energy: Floats = field(default_factory=_unknown(0, 0))
    elements: Integers = field(default_factory=_unknown(0))
    element_temperatures_K: Floats = field(default_factory=_unknown(0, 0, 0))
    frame_times_ps: Floats = field(default_factory=_unknown(0))
    frame_positions: Floats = field(default_factory=_unknown(0, 0, 3))
    last_times_ps: Floats = field(default_factory=_unknown(0, 0))
    last_positions: Floats = field(default_factory=_unknown(0, 0, 3))
    numbers: Integers = field(default_factory=_unknown(0))
    cells: Floats = field(default_factory=_unknown(0, 3, 3))
    pbc: NDArray[np.bool_] = field(default_factory=_unknown(0, 3))
    charges: Integers = field(default_factory=_unknown(0))
    spins: Integers = field(default_factory=_unknown(0))
    failure_kinds: NDArray[np.str_] = field(default_factory=partial(texts, ()))
    failure_atoms: Integers = field(default_factory=_unknown(0, 2))
    failure_distances: Floats = field(default_factory=_unknown(0))
    last_student_energies: Floats = field(default_factory=_unknown(0, 0))
    last_student_forces: Floats = field(default_factory=_unknown(0, 0, 3))
    last_teacher_energies: Floats = field(default_factory=_unknown(0, 0))
    last_teacher_forces: Floats = field(default_factory=_unknown(0, 0, 3))

    @property
    def energy_per_atom(self) -> Floats:
        """Total energy per atom (T, R), eV."""
        return (self.potential_energy + self.kinetic_energy) / self.n_atoms

    @property
    def names(self) -> list[str]:
        """Names of the distinct systems, in order of first appearance."""
        return list(dict.fromkeys(self.systems.tolist()))

    @property
    def failed(self) -> list[int]:
        """Runs that failed."""
        return np.flatnonzero(self.failures != "").tolist()

    def runs(self, system: str) -> list[int]:
        """Return the runs of a system."""
        return np.flatnonzero(self.systems == system).tolist()

    def replica(self, run: int) -> int:
        """Return which of its system's runs one is, counted from 1."""
        return 1 + int((self.systems[:run] == self.systems[run]).sum())

    def atoms(self, run: int) -> slice:
        """Return where the atoms of a run lie."""
        last = int(self.n_atoms[: run + 1].sum())
        return slice(last - int(self.n_atoms[run]), last)

    def structure(self, run: int, positions: Floats) -> Structure:
        """Return the system of a run at some positions (N, 3)."""
        return Structure(
            self.numbers[self.atoms(run)],
            positions,
            cell=self.cells[run],
            pbc=self.pbc[run],
            charge=int(self.charges[run]),
            spin=int(self.spins[run]),
        )

    def positions(self, run: int) -> Floats:
        """Return the kept geometries of a run before it failed, if it did (F', N, 3)."""
        return _known(self.frame_positions[:, self.atoms(run)])

    def last(self, run: int) -> Floats:
        """Return the last geometries of a run (L', N, 3); of a failed one the last is where it failed."""
        return _known(self.last_positions[:, self.atoms(run)])

    @classmethod
    def from_trace(cls, trace: NVETrace, systems: Sequence[str], duration_ps: float) -> "NVERecord":
        """Keep of a trace what the measurements and the report need."""
        return cls(
            systems=texts(systems),
            n_atoms=trace.n_atoms,
            times_ps=trace.times_ps,
            potential_energy=trace.potential_energy,
            kinetic_energy=trace.kinetic_energy,
            temperatures_K=trace.temperatures_K,
            survived_ps=np.array([duration_ps if f is None else f.time_ps for f in trace.failures]),
            failures=texts(["" if f is None else f.reason for f in trace.failures]),
            shadow_energy=trace.shadow_energy,
            elements=trace.elements,
            element_temperatures_K=trace.element_temperatures_K,
            frame_times_ps=trace.frame_times_ps,
            frame_positions=trace.frame_positions,
            last_times_ps=trace.last_times_ps,
            last_positions=trace.last_positions,
            numbers=np.concatenate([s.numbers for s in trace.starts]),
            cells=np.array([s.cell for s in trace.starts]),
            pbc=np.array([s.pbc for s in trace.starts]),
            charges=np.array([s.charge for s in trace.starts]),
            spins=np.array([s.spin for s in trace.starts]),
            failure_kinds=texts(["" if f is None else f.kind for f in trace.failures]),
            failure_atoms=np.array([_pair(f) for f in trace.failures], dtype=np.int64),
            failure_distances=np.array([np.nan if f is None else f.distance for f in trace.failures]),
        )


def _pair(failure: Failure | None) -> tuple[int, ...]:
    atoms = () if failure is None else failure.atoms
    return (*atoms, -1, -1)[:2]


def _known(positions: Floats) -> Floats:
    return positions[np.isfinite(positions).all((1, 2))]
