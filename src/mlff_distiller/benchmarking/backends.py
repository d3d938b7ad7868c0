"""Backends of a student side by side: the time of energies and forces of moving atoms, neighbor list included."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking.turns import Calls, Floats, take_turns, threads_of_torch, torch_threads
from mlff_distiller.core.errors import DataError, DistillerError
from mlff_distiller.students.backends import BACKENDS
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.student import Student

TIMESTEP_FS: Final = 0.5
"""Time step for which nanoseconds a day are given."""

_BASE: Final = "eager"


@dataclass(frozen=True)
class BackendTime:
    """How long a backend takes for a system, or why it cannot be used.

    Parameters
    ----------
    backend : str
        Its name.
    threads : int
        Threads it may use.
    reason : str
        Why it cannot be used; empty if it was timed. Then all else is there.
    system : str
        Name of what was evaluated.
    n_atoms : int
        Atoms in a call, in all structures.
    n_structures : int
        Structures in a call.
    median_ms, p95_ms : float
        Median and 95th percentile of the calls.
    n_calls : int
        Calls that were timed.
    times_eager : float
        How many times faster than eager.
    """

    backend: str
    threads: int
    reason: str = ""
    system: str = ""
    n_atoms: int = 0
    n_structures: int = 0
    median_ms: float = float("nan")
    p95_ms: float = float("nan")
    n_calls: int = 0
    times_eager: float = float("nan")

    @property
    def us_per_atom(self) -> float:
        """Microseconds for an atom."""
        return 1e3 * self.median_ms / self.n_atoms

    @property
    def ns_per_day(self) -> float:
        """Nanoseconds of all structures together in a day of steps of :data:`TIMESTEP_FS`, the integrator left out.

        Examples
        --------
        >>> BackendTime("eager", 1, system="H2", n_atoms=2, n_structures=1, median_ms=0.432).ns_per_day
        100.0
        """
        return round(86_400e3 / self.median_ms * TIMESTEP_FS * 1e-6 * self.n_structures, 9)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; of one that cannot be used, its name and the reason."""
        if self.reason:
            return {"backend": self.backend, "threads": self.threads, "reason": self.reason}
        names = ("system", "n_atoms", "n_structures", "backend", "threads", "median_ms", "p95_ms", "us_per_atom")
        return {name: getattr(self, name) for name in (*names, "ns_per_day", "times_eager", "n_calls")}


def compare_backends(
    student: Student,
    systems: Mapping[str, Sequence[Structure]],
    *,
    backends: Sequence[str] = (),
    n_threads: int | None = None,
    seconds: float = 2.0,
    tell: Callable[[str], None] = lambda _: None,
) -> list[BackendTime]:
    """Time energies and forces of a student by each backend, in turns.

    Parameters
    ----------
    student : Student
        On the device and in the precision of the evaluation.
    systems : mapping
        Structures that are evaluated together, by a name.
    backends : sequence of str
        Names in ``BACKENDS``; all unless given. The eager network is always there, to compare with.
    n_threads : int, optional
        Threads of torch and of the kernels; those of torch unless given.
    seconds : float
        For each backend and system.
    tell : callable
        Is told which system is being timed.

    Returns
    -------
    list of BackendTime
        Of each system the backends that were timed; at the end those that cannot be used.

    Raises
    ------
    DataError
        If there is nothing to evaluate.
    UnknownNameError
        If there is no backend of a name.
    UnsupportedStructureError
        If the student does not cover a structure.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> student = Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6})
    >>> [row.backend for row in compare_backends(student, {"H2": [h2]}, backends=["kernel"], seconds=0.01)]
    ['eager', 'kernel']
    """
    if not systems or not all(systems.values()):
        raise DataError("there is nothing to time; give at least one structure")
    names = list(dict.fromkeys([_BASE, *(backends or BACKENDS.names())]))
    obstacles = {name: BACKENDS.get(name).obstacle(student) for name in names}
    n_threads = n_threads or threads_of_torch()
    for structures in systems.values():
        StudentPotential(student).check(structures, ("energy", "forces"))
    refused = [BackendTime(name, n_threads, reason) for name, reason in obstacles.items() if reason]
    potentials = {}
    for name in [name for name in names if not obstacles[name]]:
        try:
            potentials[name] = ready(student, name, n_threads)
        except DistillerError as error:
            refused.append(BackendTime(name, n_threads, str(error)))
    rows = []
    for system, structures in systems.items():
        tell(f"timing {system}")
        calls = {name: Calls(potential, structures, n_threads=n_threads) for name, potential in potentials.items()}
        failed = _failures(calls)
        refused += [BackendTime(name, n_threads, f"{system}: {reason}") for name, reason in failed.items()]
        able = {name: one for name, one in calls.items() if name not in failed}
        rows += _rows(system, structures, n_threads, take_turns(able, seconds=seconds))
    return rows + refused


def ready(student: Student, backend: str, n_threads: int) -> StudentPotential:
    """Return a student with a backend that is ready to be called and uses so many threads.

    Raises
    ------
    BackendError
        If it cannot be used.
    UnknownNameError
        If there is no backend of that name.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> ready(Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6}), "kernel", 2).choice.backend.n_threads
    2
    """
    settings: dict[str, Any] = {"n_threads": n_threads} if backend == "kernel" else {}
    with torch_threads(n_threads):  # compiled code keeps the number of threads it was compiled with
        return StudentPotential(student, backend=backend, **settings)


def _failures(calls: Mapping[str, Calls]) -> dict[str, str]:
    """Return which backends fail at the first calls, and why; what all of them refuse is raised."""
    failed = {}
    for name, one in calls.items():
        try:
            one.block(0.0)
        except DistillerError as error:
            if name == _BASE:
                raise
            failed[name] = str(error)
    return failed


def _rows(
    system: str, structures: Sequence[Structure], n_threads: int, samples: Mapping[str, Floats]
) -> list[BackendTime]:
    base = float(np.median(samples[_BASE]))
    return [
        BackendTime(
            name,
            n_threads,
            system=system,
            n_atoms=sum(map(len, structures)),
            n_structures=len(structures),
            median_ms=float(np.median(times)),
            p95_ms=float(np.quantile(times, 0.95)),
            n_calls=len(times),
            times_eager=base / float(np.median(times)),
        )
        for name, times in samples.items()
    ]
