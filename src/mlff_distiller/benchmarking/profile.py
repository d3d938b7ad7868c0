"""A profile: where the time and the memory of a dynamics step go."""

import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking.kernel_parts import KernelParts, kernel_parts
from mlff_distiller.benchmarking.memory import resident_bytes
from mlff_distiller.benchmarking.operators import Operators, operators
from mlff_distiller.benchmarking.places import FOUND_ANEW, STEP, places_of
from mlff_distiller.benchmarking.quantiles import summary
from mlff_distiller.benchmarking.spans import GARBAGE, Part, Recorder, Span, chrome_trace, parts
from mlff_distiller.benchmarking.trajectory import Trajectory
from mlff_distiller.core.plan import Plan
from mlff_distiller.potentials.graph_potential import GraphPotential
from mlff_distiller.students.backends.kernel import Kernel
from mlff_distiller.students.potential import StudentPotential

Floats = NDArray[np.float64]

INTERRUPTED: Final = "interrupted by other processes"
UNKNOWN: Final = "nothing that is watched"
_OUTLYING: Final = 6.0  # times the spread of the middle half above the median


class Outlier(NamedTuple):
    """A step that took far longer than others, and what happened in it."""

    step: int
    ms: float
    cause: str


class Allocation(NamedTuple):
    """What tracemalloc saw: of each step the most beyond its start and what stayed; the lines that kept most, kB."""

    peak_kB: Floats
    kept_kB: Floats
    lines: list[tuple[str, float]]


@dataclass(frozen=True, eq=False)
class Profile:
    """What was seen of a trajectory.

    Parameters
    ----------
    system, potential, backend : str
        What ran.
    n_atoms : int
        In the system.
    step_ms : (N,) array
        Milliseconds of each step, with nothing watched but rare events.
    outliers : list of Outlier
        The longest ones.
    memory_steps, memory_MB : (M,) arrays
        What the process held along these steps.
    spans : list of Span
        Calls of the watched steps.
    n_watched : int
        Watched steps.
    watched_ms : float
        Median milliseconds of a watched step.
    allocation : Allocation
        What Python allocated in some further steps.
    kernel : KernelParts, optional
        Parts of the compiled kernel, where it is what evaluates.
    operators : Operators, optional
        What torch's profiler saw, where torch evaluates.
    """

    system: str
    potential: str
    backend: str
    n_atoms: int
    step_ms: Floats
    outliers: list[Outlier]
    memory_steps: Floats
    memory_MB: Floats
    spans: list[Span]
    n_watched: int
    watched_ms: float
    allocation: Allocation
    kernel: KernelParts | None = None
    operators: Operators | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> list[Part]:
        """What each part takes of a watched step, the largest first."""
        return parts(self.spans, STEP)

    @property
    def summary(self) -> dict[str, Any]:
        """Median, percentiles (ms) and nanoseconds a day of the steps."""
        return summary(self.step_ms, self.settings["timestep_fs"])

    @property
    def causes(self) -> dict[str, list[float]]:
        """Milliseconds of the outliers by what happened in them."""
        found: dict[str, list[float]] = {}
        for outlier in self.outliers:
            found.setdefault(outlier.cause, []).append(outlier.ms)
        return found

    def trace(self) -> dict[str, Any]:
        """Return the watched steps, and what torch's profiler saw, as a Chrome trace."""
        more = self.operators.events if self.operators else ()
        return chrome_trace(self.spans, name=f"{self.potential}, {self.system}", more=more)


class ProfilePlan(Plan):
    """How a profile is taken."""

    n_steps: int = Field(1000, ge=20, le=1_000_000, description="Steps that are timed one by one.")
    n_watched_steps: int = Field(300, ge=5, description="Further steps of which every part is timed.")
    n_memory_steps: int = Field(30, ge=2, description="Further steps of which allocations are followed.")
    n_operator_steps: int = Field(
        5, ge=1, description="Further steps that torch's profiler watches, where torch works."
    )
    timestep_fs: float = Field(0.5, ge=1e-3, le=10, description="Time step.")
    temperature_K: float = Field(300.0, gt=0, description="Temperature of the starting velocities.")

    def measure(
        self,
        potential: StudentPotential | GraphPotential,
        structure: Structure,
        *,
        system: str = "",
        seed: int = 0,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Profile:
        """Run a trajectory through ASE and say where its time and memory go.

        Parameters
        ----------
        potential : StudentPotential or GraphPotential
            What gives the forces.
        structure : Structure
            Where it starts.
        system : str
            What it is called; its formula unless given.
        seed : int
            Of the starting velocities.
        tell : callable
            Is told what is being done.

        Examples
        --------
        >>> from mlff_distiller.potentials.analytic import harmonic
        >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
        >>> found = ProfilePlan(n_steps=20).measure(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), h2)
        >>> len(found.step_ms), found.parts[0].calls > 0
        (20, True)
        """
        settings: dict[str, Any] = {"timestep_fs": self.timestep_fs, "temperature_K": self.temperature_K, "seed": seed}
        run = Trajectory(potential, structure, **settings)
        tell("warming up")
        run.run(20)
        tell(f"timing {self.n_steps:,} steps")
        step_ms, outliers, steps, held = _timed(run, potential, self.n_steps)
        tell(f"watching the parts of {self.n_watched_steps:,} steps")
        with Recorder(places_of(run, potential)) as recorder:
            watched = run.run(self.n_watched_steps)
        tell(f"following allocations of {self.n_memory_steps} steps")
        allocation = _allocation(run, self.n_memory_steps)
        backend = potential.choice.backend if isinstance(potential, StudentPotential) else None
        apart = None
        if isinstance(backend, Kernel):
            tell("taking the compiled kernel apart")
            graph = Graph.from_structures([structure], potential.cutoff, dtype=potential.dtype)
            apart = kernel_parts(backend, graph)
        return Profile(
            system or structure.formula,
            str(potential.identity),
            "" if backend is None else backend.name,
            len(structure),
            step_ms,
            outliers,
            steps,
            held,
            recorder.spans,
            self.n_watched_steps,
            float(np.median(watched)),
            allocation,
            apart,
            None if apart else operators(lambda: run.run(1), self.n_operator_steps, device=str(potential.device)),
            self.model_dump(mode="json"),
        )


def _timed(run: Trajectory, potential: GraphPotential, n_steps: int) -> tuple[Floats, list[Outlier], Floats, Floats]:
    """Return the time of each step, the outliers, and memory along the steps."""
    times, switches, marks = np.empty(n_steps), np.empty(n_steps), np.empty((n_steps, 2))
    every, held = max(n_steps // 100, 1), []
    rare = [place for place in places_of(run, potential) if place.label == FOUND_ANEW]
    with Recorder(rare) as recorder:
        for step in range(n_steps):
            before, marks[step, 0] = _switches(), time.perf_counter()
            times[step] = run.run(1)[0]
            marks[step, 1], switches[step] = time.perf_counter(), _switches() - before
            if step % every == 0:
                held.append((step, 1e-6 * (resident_bytes(potential) or 0)))
    steps, MB = (np.array(column, dtype=np.float64) for column in zip(*held, strict=True))
    return times, _outliers(times, switches, marks, recorder.spans), steps, MB


def _switches() -> int:
    """Return how often the system took the processor from this thread for another one; 0 where nobody counts."""
    try:
        from resource import RUSAGE_THREAD, getrusage
    except ImportError:
        return 0
    return getrusage(RUSAGE_THREAD).ru_nivcsw


def _outliers(times: Floats, switches: Floats, marks: Floats, spans: Sequence[Span]) -> list[Outlier]:
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
    limit = middle + _OUTLYING * max(high - low, 0.02 * middle)
    return [
        Outlier(step, float(times[step]), _cause(marks[step], spans, bool(switches[step])))
        for step in np.flatnonzero(times > limit).tolist()
    ]


def _cause(mark: Floats, spans: Sequence[Span], interrupted: bool) -> str:
    inside = [span.label for span in spans if mark[0] <= span.begin <= mark[1]]
    causes = [label for label in (FOUND_ANEW, GARBAGE) if label in inside]
    if interrupted:
        causes.append(INTERRUPTED)
    return ", ".join(causes) or UNKNOWN


def _allocation(run: Trajectory, n_steps: int) -> Allocation:
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    try:
        run.run(2)
        peaks, kept = np.empty(n_steps), np.empty(n_steps)
        before = tracemalloc.take_snapshot()
        for step in range(n_steps):
            tracemalloc.reset_peak()
            start = tracemalloc.get_traced_memory()[0]
            run.run(1)
            now, highest = tracemalloc.get_traced_memory()
            peaks[step], kept[step] = highest - start, now - start
        grown = tracemalloc.take_snapshot().compare_to(before, "lineno")
    finally:
        if not was_tracing:
            tracemalloc.stop()
    own = [entry for entry in grown if "tracemalloc" not in entry.traceback[0].filename and entry.size_diff > 0]
    lines = [(_line(entry.traceback[0]), 1e-3 * entry.size_diff) for entry in own[:5]]
    return Allocation(1e-3 * peaks, 1e-3 * kept, lines)


def _line(frame: tracemalloc.Frame) -> str:
    return f"{'/'.join(frame.filename.replace(chr(92), '/').split('/')[-3:])}:{frame.lineno}"
