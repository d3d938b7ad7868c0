"""Potentials side by side: the time of energies and forces of moving atoms, neighbor list included."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from pydantic import Field

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking import systems as made
from mlff_distiller.benchmarking.contenders import Entrant
from mlff_distiller.benchmarking.quantiles import ns_per_day, tail
from mlff_distiller.benchmarking.reference import ReferenceWork
from mlff_distiller.benchmarking.systems import Systems
from mlff_distiller.benchmarking.turns import Calls, Contender, Floats, take_rounds, threads_of_torch
from mlff_distiller.core.errors import DataError, DistillerError
from mlff_distiller.core.plan import Plan
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.memory import Memory

TIMESTEP_FS: Final = 0.5
"""Time step for which nanoseconds a day are given."""

_BATCHES: Final = (1, 8, 64)
_QUICK: Final = 0.1  # of the calls of a round; what makes code slower makes these slower too
_REFERENCE: Final = object()  # the key of the reference work among those who take turns

Tell = Callable[[str], None]


class BenchmarkPlan(Plan):
    """How potentials are timed side by side."""

    seconds: float = Field(2.0, ge=0, description="Time for each potential and system; three calls at least.")
    rounds: int = Field(24, ge=3, le=1000, description="Turns of each; an interval needs six at least.")
    threads: int | None = Field(
        None, ge=1, description="Threads on a CPU; those of torch unless given (OMP_NUM_THREADS, or one per core)."
    )
    batches: tuple[int, ...] | None = Field(
        None,
        description="Copies of the largest structure in one call, for the throughput; 1, 8 and 64 unless structures "
        "are given.",
    )
    sizes: tuple[int, ...] = Field(
        (), description="Copies of the largest structure in one larger one: supercells, or clusters of a molecule."
    )
    longest_call_s: float = Field(
        20.0, gt=0, description="A potential whose call would take longer, as smaller ones let expect, is left out."
    )

    def systems(self, single: Systems, *, given: bool) -> Systems:
        """Return all that is evaluated, small ones first: single structures, batches, larger structures.

        Parameters
        ----------
        single : dict
            Single structures by their names.
        given : bool
            Whether the user named them.
        """
        sizes = self.batches if self.batches is not None else () if given else _BATCHES
        return {**single, **made.batches(single, sizes), **made.grown(single, sorted(self.sizes))}

    def measure(self, entrants: Sequence[Entrant], systems: Systems, *, tell: Tell = lambda _: None) -> "Benchmark":
        """Time energies and forces of all systems by all potentials, in turns.

        Parameters
        ----------
        entrants : sequence of Entrant
            Who takes part.
        systems : dict
            Structures that are evaluated together, by a name.
        tell : callable
            Is told which system is being timed.

        Raises
        ------
        DataError
            If there is nothing to evaluate.
        DistillerError
            What all of them say of a system that none can evaluate.

        Examples
        --------
        >>> from mlff_distiller.potentials.analytic import harmonic
        >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
        >>> spring = Entrant("spring", "teacher", lambda: harmonic(stiffness=10.0, distance=1.0, cutoff=3.0))
        >>> [row.name for row in BenchmarkPlan(seconds=0.0).measure([spring], {"H2": [h2]}).rows]
        ['spring']
        """
        if not systems or not all(systems.values()) or not entrants:
            raise DataError("there is nothing to time; give at least one structure")
        field = _Field(entrants, self.threads or threads_of_torch(), self.longest_call_s)
        rows = []
        for system, structures in systems.items():
            tell(f"timing {system}")
            calls = field.able(system, structures)
            work: Mapping[Any, Contender] = {_REFERENCE: ReferenceWork(), **calls}
            samples = take_rounds(work, seconds=self.seconds, n_rounds=self.rounds)
            reference = samples.pop(_REFERENCE)
            rows += [field.row(system, structures, name, rounds, reference) for name, rounds in samples.items()]
        return Benchmark(rows, field.refusals)


@dataclass(frozen=True, eq=False)
class Row:
    """How long a potential takes for a system.

    Parameters
    ----------
    entrant : Entrant
        Which potential.
    threads : int
        Threads it may use.
    system : str
        Name of what was evaluated.
    n_atoms, n_structures : int
        In a call, all structures together.
    rounds : list of arrays
        Milliseconds of each call, round by round.
    reference : list of arrays
        Milliseconds of the reference work, each time that it was done, round by round.
    loaded_MB, peak_MB : float, optional
        Memory that loading it took, and the most that a first call of this system took beyond what was taken before;
        of a GPU where it runs on one.
    """

    entrant: Entrant
    threads: int
    system: str
    n_atoms: int
    n_structures: int
    rounds: list[Floats]
    reference: list[Floats]
    loaded_MB: float | None = None
    peak_MB: float | None = None

    @property
    def name(self) -> str:
        """Name of the potential."""
        return self.entrant.name

    @cached_property
    def calls_ms(self) -> Floats:
        """Milliseconds of all calls."""
        return np.concatenate(self.rounds)

    @cached_property
    def rounds_ms(self) -> Floats:
        """What the quick tenth of the calls of each round stays below, milliseconds: hardly disturbed by others."""
        return _undisturbed(self.rounds)

    @cached_property
    def normalized(self) -> Floats:
        """Time of each round over that of the reference work in it.

        A call that is longer than the turn that a busy machine gives is interrupted in any case; the reference work is
        therefore taken together to pieces as long as a call.
        """
        pairs = zip(self.rounds_ms, self.reference, strict=False)
        return np.array([ms / _undisturbed([_pieces(reference, ms)])[0] for ms, reference in pairs])

    @cached_property
    def median_ms(self) -> float:
        """Median of the calls, milliseconds."""
        return float(np.median(self.calls_ms))

    @property
    def us_per_atom(self) -> float:
        """Microseconds for an atom."""
        return 1e3 * self.median_ms / self.n_atoms

    @property
    def structures_per_s(self) -> float:
        """Throughput, structures per second."""
        return 1e3 * self.n_structures / self.median_ms

    @property
    def ns_per_day(self) -> float:
        """Nanoseconds of all structures together in a day of steps of :data:`TIMESTEP_FS`, the integrator left out."""
        return round(ns_per_day(self.median_ms, TIMESTEP_FS) * self.n_structures, 9)

    def summary(self) -> dict[str, Any]:
        """Return the numbers as plain data."""
        spread = {f"{name}_ms": value for name, value in tail(self.calls_ms).items()}
        derived = {name: getattr(self, name) for name in ("us_per_atom", "ns_per_day", "structures_per_s")}
        memory = {"loaded_MB": self.loaded_MB, "peak_MB": self.peak_MB}
        return {"median_ms": self.median_ms, **spread, **derived, **memory, "n_calls": len(self.calls_ms)}

    def to_json(self) -> dict[str, Any]:
        """Return who, what and the numbers as plain data."""
        who = {"contender": self.name, "kind": self.entrant.kind, "device": self.entrant.device}
        where = {"backend": self.entrant.backend, "threads": self.threads}
        what = {"system": self.system, "n_atoms": self.n_atoms, "n_structures": self.n_structures}
        return {**who, **where, **what, **self.summary()}


@dataclass(frozen=True)
class Refusal:
    """Who could not be timed and why; of one system, or of all if none is named."""

    name: str
    reason: str
    system: str = ""

    def __str__(self) -> str:
        where = f" for {self.system}" if self.system else ""
        return f"{self.name} cannot be used{where}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"contender": self.name, "system": self.system, "reason": self.reason}


@dataclass(frozen=True, eq=False)
class Benchmark:
    """What was timed, and what could not be."""

    rows: list[Row]
    refusals: list[Refusal]

    def row(self, name: str, system: str) -> Row | None:
        """Return what one potential took for one system; None if it was not timed."""
        return next((row for row in self.rows if row.name == name and row.system == system), None)

    def times_faster(self, row: Row) -> float:
        """Return how many times faster a potential is than its base; NaN where the base was not timed."""
        base = self.row(row.entrant.base or row.name, row.system)
        return float("nan") if base is None else base.median_ms / row.median_ms


class _Field:
    """All potentials that can be used, and what has been seen of them."""

    def __init__(self, entrants: Sequence[Entrant], n_threads: int, longest_call_s: float) -> None:
        self._n_threads, self._longest_s = n_threads, longest_call_s
        self._entrants = {entrant.name: entrant for entrant in entrants}
        self._potentials: dict[str, Potential] = {}
        self._loaded: dict[str, float | None] = {}
        self._peaks: dict[str, float | None] = {}
        self._seen: dict[str, list[tuple[int, float]]] = {}  # atoms and seconds of calls with one structure
        self.refusals: list[Refusal] = []
        failure: DistillerError | None = None
        for name, entrant in self._entrants.items():
            try:
                with Memory(entrant.device).watched() as peak:
                    self._potentials[name] = entrant.build()
                self._loaded[name] = _MB(peak.taken)
            except DistillerError as error:
                failure = failure or error
                self.refusals.append(Refusal(name, str(error)))
        if not self._potentials and failure is not None:
            raise failure

    def able(self, system: str, structures: Sequence[Structure]) -> dict[str, Calls]:
        """Return calls of those who can evaluate a system; the first call of each is made here."""
        n_atoms, able = sum(map(len, structures)), {}
        failure: DistillerError | None = None
        for name, potential in self._potentials.items():
            expected = _expected(self._seen.get(name, []), n_atoms, len(structures))
            if expected > self._longest_s:
                reason = f"a call would take {expected:.0f} s or more; raise --longest-call-s to wait for it"
                self.refusals.append(Refusal(name, reason, system))
                continue
            calls = Calls(potential, structures, n_threads=self._n_threads)
            try:
                with Memory(self._entrants[name].device).watched() as peak:
                    last_ms = calls.block(0.0)[-1]
                self._peaks[name], able[name] = _MB(peak.taken), calls
                if len(structures) == 1:
                    self._seen.setdefault(name, []).append((n_atoms, 1e-3 * last_ms))
            except DistillerError as error:
                failure = failure or error
                self.refusals.append(Refusal(name, str(error), system))
        if not able and failure is not None:
            raise failure
        return able

    def row(
        self, system: str, structures: Sequence[Structure], name: str, rounds: list[Floats], reference: list[Floats]
    ) -> Row:
        return Row(
            self._entrants[name],
            self._n_threads,
            system,
            sum(map(len, structures)),
            len(structures),
            rounds,
            reference,
            self._loaded[name],
            self._peaks[name],
        )


def _expected(seen: Sequence[tuple[int, float]], n_atoms: int, n_structures: int) -> float:
    """Return how many seconds a call may take, as the last two sizes that were seen let expect."""
    if not seen:
        return 0.0
    (n, seconds), each = seen[-1], n_atoms / n_structures
    smaller = [(size, time) for size, time in seen[:-1] if size < n]
    exponent = 1.0
    if smaller:
        exponent = float(np.clip(np.log(seconds / smaller[-1][1]) / np.log(n / smaller[-1][0]), 1.0, 4.0))
    return float(n_structures * seconds * (each / n) ** exponent)


def _pieces(samples: Floats, ms: float) -> Floats:
    """Return means over consecutive samples that together take about some time."""
    size = int(np.clip(round(ms / float(np.mean(samples))), 1, len(samples)))
    count = len(samples) // size
    return np.asarray(samples[: count * size].reshape(count, size).mean(1))


def _undisturbed(rounds: Sequence[Floats]) -> Floats:
    return np.array([np.quantile(block, _QUICK) for block in rounds])


def _MB(n_bytes: int | None) -> float | None:
    return None if n_bytes is None else 1e-6 * n_bytes
