"""Baselines: what was measured before, on which machine and of which files, to see later what became slower."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from mlff_distiller.benchmarking.benchmark import Benchmark, BenchmarkPlan, Row, Tell
from mlff_distiller.benchmarking.comparison import Ratio, paired, unpaired
from mlff_distiller.benchmarking.contenders import Entrant, student_entrants, teacher_of
from mlff_distiller.benchmarking.systems import Systems, from_plain, to_plain
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_json
from mlff_distiller.core.plan import Plan
from mlff_distiller.core.provenance import file_digest, machine, stamp

FORMAT: Final = "mlffd-baseline"
VERSION: Final = 1
_THEN: Final = " (baseline)"


class StoredSystem(Plan):
    """What was evaluated: a structure, and how many copies of it in one call."""

    structure: dict[str, Any]
    n_structures: int


class Entry(Plan):
    """What one potential took for one system; ``normalized`` is each round's time over that of the reference work."""

    contender: str
    kind: Literal["student", "teacher"]
    system: str
    backend: str
    device: str
    file: str
    sha256: str
    settings: dict[str, Any]
    summary: dict[str, Any]
    rounds_ms: tuple[float, ...]
    normalized: tuple[float, ...]


class Baseline(Plan):
    """The content of a baseline file."""

    format: Literal["mlffd-baseline"] = "mlffd-baseline"
    version: int = VERSION
    created: str
    versions: dict[str, str]
    machine: dict[str, str | int]
    threads: int
    systems: dict[str, StoredSystem]
    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, found: Benchmark, systems: Systems) -> "Baseline":
        """Return what was measured as a baseline."""
        timed = {row.system for row in found.rows}
        stored = {
            name: StoredSystem(structure=to_plain(structures[0]), n_structures=len(structures))
            for name, structures in systems.items()
            if name in timed
        }
        return cls(
            **stamp(), threads=found.rows[0].threads, systems=stored, entries=tuple(_entry(row) for row in found.rows)
        )

    @property
    def structures(self) -> Systems:
        """What was evaluated, to evaluate it again."""
        return {name: [from_plain(own.structure)] * own.n_structures for name, own in self.systems.items()}

    @property
    def contenders(self) -> dict[str, Entry]:
        """One entry of each potential, by its name."""
        found: dict[str, Entry] = {}
        for entry in self.entries:
            found.setdefault(entry.contender, entry)
        return found

    @property
    def is_of_this_machine(self) -> bool:
        """Whether it was measured on a machine like this one."""
        return self.machine == machine()

    def entry(self, contender: str, system: str) -> Entry | None:
        """Return what one potential took for one system; None if it was not timed."""
        return next((e for e in self.entries if e.contender == contender and e.system == system), None)

    def entrants(self) -> list[Entrant]:
        """Return the potentials that it speaks of, from the files that it names.

        Raises
        ------
        DataError
            If a student's file is no longer there.
        """
        return [_again(entry, self.threads) for entry in self.contenders.values()]


def _entry(row: Row) -> Entry:
    entrant = row.entrant
    return Entry(
        contender=row.name,
        kind="student" if entrant.kind == "student" else "teacher",
        system=row.system,
        backend=entrant.backend,
        device=entrant.device,
        file="" if entrant.file is None else str(entrant.file.resolve()),
        sha256=entrant.digest,
        settings=entrant.settings,
        summary=row.summary(),
        rounds_ms=tuple(row.rounds_ms.tolist()),
        normalized=tuple(row.normalized.tolist()),
    )


def _again(entry: Entry, n_threads: int, *, name: str = "") -> Entrant:
    """Return the potential of an entry, to be timed again."""
    name = name or entry.contender
    if entry.kind == "teacher":
        return replace(teacher_of(entry.settings, where=f"the baseline's teacher '{name}'"), name=name)
    path = Path(entry.file)
    if not path.is_file():
        raise DataError(f"{path}, the student '{name}' of the baseline, is no longer there; give a student to compare")
    (entrant,) = student_entrants(path, name=name, backends=(entry.backend,), device=entry.device, n_threads=n_threads)
    return entrant


def write_baseline(path: Path, found: Benchmark, systems: Systems) -> None:
    """Write what was measured to a JSON file, atomically."""
    write_json(path, Baseline.of(found, systems).model_dump(mode="json"))


def read_baseline(path: Path) -> Baseline:
    """Return the baseline that :func:`write_baseline` wrote.

    Raises
    ------
    DataError
        If the file is missing, is something else, is damaged or was written by a newer release.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; write a baseline first with `mlffd bench --save-baseline {path}`")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no baseline or is damaged ({error}); write it again") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise DataError(f"{path} is no baseline of mlffd; give a file that --save-baseline wrote")
    if not isinstance(value.get("version"), int) or value["version"] > VERSION:
        raise DataError(
            f"{path} has format version {value.get('version')}, this release reads up to {VERSION}; install a newer one"
        )
    return Baseline.parse(value, where=str(path))


@dataclass(frozen=True)
class Change:
    """What became of one potential on one system."""

    name: str
    system: str
    then_ms: float
    now_ms: float
    ratio: Ratio


def matched(entrants: Sequence[Entrant], baseline: Baseline) -> list[Entrant]:
    """Return those of whom the baseline speaks, under the names that it has for them.

    One student is compared with the only one of the baseline, whatever it is called now.

    Raises
    ------
    DataError
        If there is none.
    """
    known = baseline.contenders
    found = [entrant for entrant in entrants if entrant.name in known]
    students = [name for name, entry in known.items() if entry.kind == "student"]
    if not found and len(entrants) == len(students) == 1:
        found = [replace(entrants[0], name=students[0])]
    if not found:
        names = ", ".join(known)
        raise DataError(
            f"the baseline speaks of {names}, and of none of what is given; give what has one of these names"
        )
    return found


def compare(
    baseline: Baseline,
    entrants: Sequence[Entrant],
    plan: BenchmarkPlan,
    *,
    tolerance: float = 0.1,
    tell: Tell = lambda _: None,
) -> tuple[list[Change], Benchmark]:
    """Measure again what a baseline holds, and say what changed.

    A student whose file is another one than then is timed against that one, if it is still there, in the same rounds:
    what the machine does meanwhile hits both. All others are compared by times over those of the reference work. What
    seems slower is measured once more, and is slower only if it is again.

    Parameters
    ----------
    baseline : Baseline
        What was measured then.
    entrants : sequence of Entrant
        Who is measured now; see :func:`matched`.
    plan : BenchmarkPlan
        How.
    tolerance : float
        How much slower does not count, as a part of the time.
    tell : callable
        Is told which system is being timed.
    """
    known = baseline.contenders
    replaced = [entrant.name for entrant in entrants if _is_replaced(entrant, known[entrant.name])]
    rivals = [_again(known[name], baseline.threads, name=name + _THEN) for name in replaced]
    plan, everybody = plan.model_copy(update={"threads": baseline.threads}), [*entrants, *rivals]
    systems = baseline.structures
    found = plan.measure(everybody, systems, tell=tell)
    changes = _changes(found, baseline)
    suspects = {change.system for change in changes if change.ratio.outcome(tolerance) == "slower"}
    if suspects:
        tell("what seems slower is measured once more")
        again = plan.measure(everybody, {name: systems[name] for name in suspects}, tell=tell)
        changes = _quieter(changes, _changes(again, baseline), tolerance)
    return changes, found


def _changes(found: Benchmark, baseline: Baseline) -> list[Change]:
    changes = (_change(row, baseline, found) for row in found.rows if not row.name.endswith(_THEN))
    return [change for change in changes if change is not None]


def _quieter(first: list[Change], second: list[Change], tolerance: float) -> list[Change]:
    """Return the first changes, those that seemed slower as they were seen the second time."""
    again = {(change.name, change.system): change for change in second}
    return [
        again.get((change.name, change.system), change) if change.ratio.outcome(tolerance) == "slower" else change
        for change in first
    ]


def _is_replaced(entrant: Entrant, entry: Entry) -> bool:
    """Return whether a student is another one than then, and the one of then is still there."""
    path = Path(entry.file)
    return (
        bool(entry.sha256) and entrant.digest != entry.sha256 and path.is_file() and file_digest(path) == entry.sha256
    )


def _change(row: Row, baseline: Baseline, found: Benchmark) -> Change | None:
    entry, rival = baseline.entry(row.name, row.system), found.row(row.name + _THEN, row.system)
    if rival is not None:
        return Change(row.name, row.system, rival.median_ms, row.median_ms, paired(row.rounds_ms, rival.rounds_ms))
    if entry is None:
        return None
    ratio = unpaired(row.normalized, np.array(entry.normalized))
    return Change(row.name, row.system, float(entry.summary["median_ms"]), row.median_ms, ratio)
