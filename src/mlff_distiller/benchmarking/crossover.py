"""From which size on a student is faster than its teacher, and what its time is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from mlff_distiller.benchmarking.benchmark import Benchmark, Row
from mlff_distiller.benchmarking.quantiles import Floats

_LARGEST: Final = 1e5  # atoms, to which fits are followed
_EXPONENTS: Final = np.round(np.arange(1.0, 3.51, 0.05), 2)
_STRAIGHT: Final = 0.1  # relative deviation up to which a line will do


@dataclass(frozen=True)
class Cost:
    """Time of a call of n atoms: overhead + per_atom * n ** exponent, milliseconds.

    Examples
    --------
    >>> Cost(1.0, 0.1, 1.0).balanced
    10.0
    """

    overhead_ms: float
    per_atom_ms: float
    exponent: float

    def at(self, n_atoms: ArrayLike) -> Floats:
        """Return the milliseconds of calls of so many atoms."""
        n = np.asarray(n_atoms, dtype=np.float64)
        return np.asarray(self.overhead_ms + self.per_atom_ms * n**self.exponent)

    @property
    def balanced(self) -> float:
        """Atoms at which the part that grows is as large as the overhead; infinite if nothing grows."""
        if self.per_atom_ms == 0:
            return float("inf")
        return float((self.overhead_ms / self.per_atom_ms) ** (1 / self.exponent))


def cost(n_atoms: Sequence[float], ms: Sequence[float]) -> Cost | None:
    """Fit a fixed overhead and a part that grows with the atoms, by relative least squares without negative parts.

    It grows in proportion to the atoms unless a power describes four or more sizes clearly better.

    Returns
    -------
    Cost or None
        None with fewer than two sizes.

    Examples
    --------
    >>> cost([1, 10, 100], [1.1, 2.0, 11.0])
    Cost(overhead_ms=1.0, per_atom_ms=0.1, exponent=1.0)
    """
    n, t = np.asarray(n_atoms, dtype=np.float64), np.asarray(ms, dtype=np.float64)
    if len(np.unique(n)) < 2:
        return None
    line, error = _fitted(n, t, 1.0)
    if error <= _STRAIGHT or len(np.unique(n)) < 4:
        return line
    power, smallest = min((_fitted(n, t, exponent) for exponent in _EXPONENTS), key=lambda found: found[1])
    return power if smallest < 0.7 * error else line


def _fitted(n: Floats, t: Floats, exponent: float) -> tuple[Cost, float]:
    """Return the best overhead and factor, and the root mean square of the relative deviations."""
    from scipy.optimize import nnls

    terms = np.stack([1 / t, n**exponent / t], axis=1)
    scale = np.linalg.norm(terms, axis=0)
    found, norm = nnls(terms / scale, np.ones(len(n)))
    overhead, factor = (float(f"{x:.12g}") for x in found / scale)
    return Cost(overhead, factor, float(exponent)), float(norm / np.sqrt(len(n)))


def costs(found: Benchmark) -> dict[str, Cost]:
    """Return the cost of each potential that was timed on structures of different sizes, one in a call."""
    fits = {}
    for name, rows in singles(found).items():
        fitted = cost([row.n_atoms for row in rows], [row.median_ms for row in rows])
        if fitted is not None:
            fits[name] = fitted
    return fits


def singles(found: Benchmark) -> dict[str, list[Row]]:
    """Return what was timed with one structure in a call, by potential, small ones first."""
    names = dict.fromkeys(row.name for row in found.rows)
    return {
        name: sorted((r for r in found.rows if r.name == name and r.n_structures == 1), key=lambda r: r.n_atoms)
        for name in names
    }


def report(found: Benchmark) -> list[str]:
    """Return sentences: what each time is made of, and from which size on students are faster than teachers.

    Parameters
    ----------
    found : Benchmark
        With several sizes, or there is little to say.
    """
    fits, timed = costs(found), singles(found)
    kinds = {row.name: row.entrant for row in found.rows}
    said = [_bounds(name, fit, timed[name][-1].n_atoms) for name, fit in fits.items()]
    teachers = [name for name, entrant in kinds.items() if entrant.kind == "teacher"]
    students = [name for name, entrant in kinds.items() if entrant.kind == "student"]
    for teacher in teachers:
        for student in students:
            where = f"{student} on {kinds[student].device}"
            pairs = _pairs(timed[student], timed[teacher])
            if pairs:
                said.append(_crossing(where, teacher, pairs, (fits.get(student), fits.get(teacher))))
    return said


def _pairs(students: list[Row], teachers: list[Row]) -> list[tuple[int, bool]]:
    """Return the sizes that both were timed at, and whether the student was faster."""
    theirs = {row.system: row for row in teachers}
    return [(row.n_atoms, row.median_ms < theirs[row.system].median_ms) for row in students if row.system in theirs]


def _bounds(name: str, fit: Cost, largest: int) -> str:
    grows = (
        f"{1e3 * fit.per_atom_ms:.3g} µs per atom"
        if fit.exponent == 1
        else f"a part that grows as n^{fit.exponent:.2g}"
    )
    made = f"{name}: {fit.overhead_ms:.3g} ms for a call of any size, and {grows}"
    if fit.balanced >= largest:
        return f"{made}; at all sizes timed the fixed overhead is the larger part."
    if fit.balanced < 1:
        return f"{made}; the fixed overhead hardly matters at any size."
    return (
        f"{made}; up to {fit.balanced:.0f} atoms the fixed overhead is the larger part, with more the part that grows."
    )


def _crossing(student: str, teacher: str, pairs: list[tuple[int, bool]], fits: tuple[Cost | None, Cost | None]) -> str:
    sizes = [n for n, _ in pairs]
    span = f"{min(sizes)} to {max(sizes)} atoms" if len(set(sizes)) > 1 else f"{sizes[0]} atoms"
    if all(faster for _, faster in pairs):
        measured = f"{student} is faster than {teacher} at every size timed ({span})"
    elif not any(faster for _, faster in pairs):
        measured = f"{student} is slower than {teacher} at every size timed ({span})"
    else:
        faster = ", ".join(str(n) for n, wins in pairs if wins)
        slower = ", ".join(str(n) for n, wins in pairs if not wins)
        measured = f"{student} is faster than {teacher} at {faster} atoms and slower at {slower}"
    own, theirs = fits
    if own is None or theirs is None:
        return f"{measured}; with one size nothing is known of others."
    return f"{measured}; by the fits, {_extrapolated(own, theirs, max(sizes))}."


def _extrapolated(student: Cost, teacher: Cost, largest: int) -> str:
    n = np.geomspace(1, _LARGEST, 2001)
    wins = student.at(n) < teacher.at(n)
    if wins.all():
        return "from a single atom on"
    if not wins.any():
        return f"it stays slower up to {_LARGEST:,.0f} atoms"
    changes = np.flatnonzero(np.diff(wins.astype(int))) + 1
    first = n[changes[0]]
    beyond = ", beyond what was timed" if first > largest else ""
    if wins[0]:
        return f"it is faster only up to {first:,.0f} atoms{beyond}"
    until = f" up to {n[changes[1]]:,.0f}" if len(changes) > 1 else " on"
    return f"it is faster from {first:,.0f} atoms{until}{beyond}"
