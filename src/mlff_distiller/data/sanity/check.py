"""All checks over all structures, block by block, and the report of what was found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.console import Reporter, Silent
from mlff_distiller.data.blocks import blocks
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.sanity import geometry, labels, outliers, valence
from mlff_distiller.data.sanity.plan import SanityPlan
from mlff_distiller.data.similarity.hashes import compositions
from mlff_distiller.data.similarity.pairs import Pairs, find_pairs
from mlff_distiller.data.source import Source

Floats = NDArray[np.float64]

_AT_REST: Final = 1e-3  # eV/Angstrom: a crystal whose forces vanish may well have no stress


@dataclass(frozen=True)
class Check:
    """What is measured of every structure, and what is too much or too little.

    Attributes
    ----------
    kind : str
        Name of the finding.
    measure : callable or None
        Values (S,) of a block, NaN where the question does not apply; None where all structures are needed.
    bound : callable
        The bound that a plan sets.
    sentence : str
        What a finding says, with ``{value}`` and ``{bound}``.
    below : bool
        Whether values below the bound are findings, not those above.
    """

    kind: str
    measure: Callable[[Columns, Pairs, SanityPlan], Floats] | None
    bound: Callable[[SanityPlan], float]
    sentence: str
    below: bool = False


CHECKS: Final = (
    Check(
        "atoms_too_close",
        lambda columns, pairs, plan: geometry.closest_ratio(columns, pairs),
        lambda plan: plan.min_distance_ratio,
        "two atoms are only {value:.2f} times the sum of their covalent radii apart (bound {bound:g})",
        below=True,
    ),
    Check(
        "isolated_atom",
        lambda columns, pairs, plan: geometry.isolated_atoms(columns, pairs, plan.isolated_distance),
        lambda plan: 0,
        "{value:.0f} atoms have no neighbor within the isolated_distance",
    ),
    Check(
        "tiny_volume",
        lambda columns, pairs, plan: geometry.volume_per_atom(columns),
        lambda plan: plan.min_volume_per_atom,
        "the cell has only {value:.3g} A^3 for each atom (bound {bound:g})",
        below=True,
    ),
    Check(
        "missing_hydrogens",
        lambda columns, pairs, plan: valence.missing_hydrogens(columns, pairs),
        lambda plan: plan.max_missing_hydrogens,
        "a molecule has {value:.2g} free valences for each heavy atom (bound {bound:g}); were its hydrogens left out?",
    ),
    Check(
        "impossible_valence",
        lambda columns, pairs, plan: valence.excess_bonds(columns, pairs),
        lambda plan: 0,
        "an atom has {value:.0f} bonds more than its element can have",
    ),
    Check(
        "not_finite",
        lambda columns, pairs, plan: labels.not_finite(columns),
        lambda plan: 0,
        "{value:.0f} numbers of its labels are not finite",
    ),
    Check(
        "net_force",
        lambda columns, pairs, plan: labels.net_force(columns),
        lambda plan: plan.max_net_force,
        "the forces add up to {value:.3g} eV/A for each atom (bound {bound:g})",
    ),
    Check(
        "net_torque",
        lambda columns, pairs, plan: labels.net_torque(columns),
        lambda plan: plan.max_net_torque,
        "the torques of the forces add up to {value:.3g} eV for each atom (bound {bound:g})",
    ),
    Check(
        "zero_stress",
        lambda columns, pairs, plan: labels.zero_stress(columns),
        lambda plan: _AT_REST,
        "the stress is exactly zero although forces reach {value:.3g} eV/A; it was probably never computed",
    ),
    Check(
        "energy_outlier",
        None,
        lambda plan: plan.max_energy_deviation,
        "the energy is {value:.0f} robust standard deviations from those of its composition (bound {bound:g})",
    ),
    Check(
        "force_outlier",
        None,
        lambda plan: plan.max_force_deviation,
        "the largest force is {value:.0f} robust standard deviations above the others, in logarithms (bound {bound:g})",
    ),
)
"""All checks, in the order of a report."""


@dataclass(frozen=True)
class Finding:
    """One thing that cannot be right, or should be looked at.

    Attributes
    ----------
    kind : str
        Name of the check.
    row : int
        The structure.
    value, bound : float
        What was measured, and what would have been believed.
    sentence : str
        One line for people.
    """

    kind: str
    row: int
    value: float
    bound: float
    sentence: str


@dataclass(frozen=True, eq=False)
class CheckResult:
    """What one check found.

    Attributes
    ----------
    check : Check
        Which one.
    bound : float
        Its bound.
    n_checked : int
        To how many structures the question applied; 0 means that nothing was looked at, not that all is well.
    rows, values : (n,)
        Structures beyond the bound and their values, the worst first.
    """

    check: Check
    bound: float
    n_checked: int
    rows: NDArray[np.int64]
    values: Floats

    def findings(self, n: int = 5) -> list[Finding]:
        """Return the n worst."""
        return [
            Finding(self.check.kind, row, value, self.bound, f"structure {row}: {self._sentence(value)}")
            for row, value in zip(self.rows[:n].tolist(), self.values[:n].tolist(), strict=True)
        ]

    def _sentence(self, value: float) -> str:
        return self.check.sentence.format(value=value, bound=self.bound)


@dataclass(frozen=True, eq=False)
class SanityReport:
    """What all checks found.

    Attributes
    ----------
    n_structures : int
        S.
    results : dict
        Name of each check to its result.
    """

    n_structures: int
    results: dict[str, CheckResult]

    @property
    def rows(self) -> NDArray[np.int64]:
        """All structures with at least one finding, ascending."""
        return np.unique(np.concatenate([result.rows for result in self.results.values()]))

    def to_json(self, n_worst: int = 5) -> dict[str, Any]:
        """Return counts and the worst examples of every check as plain data."""
        return {
            "n_structures": self.n_structures,
            "n_with_findings": len(self.rows),
            "checks": {
                kind: {
                    "n_checked": result.n_checked,
                    "n_found": len(result.rows),
                    "bound": result.bound,
                    "worst": [vars(finding) for finding in result.findings(n_worst)],
                }
                for kind, result in self.results.items()
            },
        }


def check(source: Source, plan: SanityPlan | None = None, *, reporter: Reporter | None = None) -> SanityReport:
    """Check all structures and labels, reading block by block; some 100 bytes for each structure are kept.

    Parameters
    ----------
    source : Source
        A store or columns.
    plan : SanityPlan, optional
        The bounds.
    reporter : Reporter, optional
        Where progress goes.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> ethanol_without_hydrogens = Structure([6, 6, 8], [[0, 0, 0], [1.51, 0, 0], [1.98, 1.35, 0]])
    >>> report = check(pack([0], [ethanol_without_hydrogens]))
    >>> [finding.sentence for finding in report.results["missing_hydrogens"].findings()]
    ['structure 0: a molecule has 2 free valences for each heavy atom (bound 0.35); were its hydrogens left out?']
    >>> report.results["net_force"].n_checked
    0
    """
    plan = plan or SanityPlan()
    advance = (reporter or Silent()).start("checking structures", len(source))
    local = {c.kind: np.empty(len(source)) for c in CHECKS if c.measure is not None}
    energies, forces = np.full(len(source), np.nan), np.full(len(source), np.nan)
    keys = np.empty(len(source), dtype=np.uint64)
    formulas: dict[int, Floats] = {}
    for rows, columns in blocks(source):
        pairs = find_pairs(columns, plan.isolated_distance)
        for one in CHECKS:
            if one.measure is not None:
                local[one.kind][rows] = one.measure(columns, pairs, plan)
        forces[rows], keys[rows] = labels.largest_force(columns), compositions(columns, electrons=True)
        if "energy" in columns.arrays:
            energies[rows] = np.where(columns.sizes > 1, columns.arrays["energy"] / columns.sizes, np.nan)
        _note_formulas(formulas, columns, keys[rows])
        advance(len(rows))
    names, groups = np.unique(keys, return_inverse=True)
    fractions = np.array([formulas[name] for name in names.tolist()]).reshape(-1, 119)
    local["energy_outlier"] = outliers.energy_deviations(energies, groups, fractions)
    local["force_outlier"] = outliers.force_deviations(forces)
    return SanityReport(len(source), {one.kind: _judge(one, local[one.kind], one.bound(plan)) for one in CHECKS})


def _judge(one: Check, values: Floats, bound: float) -> CheckResult:
    rows = np.flatnonzero(values < bound if one.below else values > bound)
    order = np.argsort(values[rows] if one.below else -values[rows], kind="stable")
    return CheckResult(one, bound, int(np.isfinite(values).sum()), rows[order], values[rows[order]])


def _note_formulas(formulas: dict[int, Floats], columns: Columns, keys: NDArray[np.uint64]) -> None:
    """Remember the fractions of elements of compositions that were not met before."""
    offsets, numbers = columns.arrays["offsets"], columns.arrays["numbers"]
    for key, row in zip(*np.unique(keys, return_index=True), strict=True):
        if int(key) not in formulas:
            own = numbers[offsets[row] : offsets[row + 1]]
            formulas[int(key)] = np.bincount(own, minlength=119) / len(own)
