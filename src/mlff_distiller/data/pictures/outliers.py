"""Which structures should be looked at: the worst of every finding, the ends of the labels, and a typical one."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.html import words
from mlff_distiller.data.blocks import has
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.pictures.numbers import Numbers
from mlff_distiller.data.pictures.sample import Sample
from mlff_distiller.data.sanity.check import SanityReport
from mlff_distiller.data.sanity.plan import SanityPlan
from mlff_distiller.data.similarity.connectivity import relative_lengths
from mlff_distiller.data.similarity.pairs import find_pairs

Atoms = NDArray[np.int64]

_WORST: Final = 2
_LARGEST: Final = 3
_NONE: Final = np.zeros(0, dtype=np.int64)


@dataclass
class Outlier:
    """A structure to look at.

    Attributes
    ----------
    row : int
        Which one.
    title : str
        The first reason in two or three words.
    reasons : list of str
        Sentences, plain text.
    kinds : list of str
        Names of the findings, and "largest_force".
    """

    row: int
    title: str
    reasons: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)


def choose(numbers: Numbers, sample: Sample, sanity: SanityReport | None) -> list[Outlier]:
    """Return the structures to look at, each once, worst first, a typical one last."""
    found: dict[int, Outlier] = {}

    def add(row: int, title: str, reason: str, kind: str) -> None:
        outlier = found.setdefault(row, Outlier(row, title))
        outlier.reasons.append(reason)
        outlier.kinds.append(kind)

    for kind, result in sanity.results.items() if sanity else ():
        for finding in result.findings(_WORST):
            add(finding.row, kind.replace("_", " "), finding.sentence.split(": ", 1)[1], kind)
    for row in _highest(numbers.largest_forces, _LARGEST):
        length = words.quantity(float(numbers.largest_forces[row]), "eV/A")
        add(row, "largest force", f"one of the {_LARGEST} largest forces of all, {length}", "largest_force")
    for sign, end in ((1, "highest"), (-1, "lowest")) if np.isfinite(numbers.energies).sum() > 1 else ():
        for row in _highest(sign * numbers.energies, 1):
            energy = words.quantity(1000 * float(numbers.energies[row]), "meV/atom")
            add(row, f"{end} energy", f"the {end} energy for its composition, {energy}", "energy")
    if len(sample.nearest) > 2:
        row = int(sample.rows[sample.nearest.argmax()])
        add(row, "most unlike", "the most unlike all others of the map", "map")
    row = int(sample.rows[sample.center])
    add(row, "typical", "nearest to the mean of the map, a typical structure", "map")
    return list(found.values())


def _highest(values: NDArray[np.float64], n: int) -> list[int]:
    order = np.argsort(np.where(np.isfinite(values), -values, np.inf), kind="stable")[:n]
    return [int(row) for row in order if np.isfinite(values[row])]


def accused_atoms(columns: Columns, kinds: list[str]) -> Atoms:
    """Return the atoms of a single structure that its findings are about, where they tell."""
    finders = {
        "atoms_too_close": _closest_pair,
        "isolated_atom": _isolated,
        "not_finite": _not_finite,
        "force_outlier": _most_pulled,
        "largest_force": _most_pulled,
    }
    return np.unique(np.concatenate([_NONE, *(finders[kind](columns) for kind in kinds if kind in finders)]))


def _closest_pair(columns: Columns) -> Atoms:
    pairs = find_pairs(columns, 5.0)
    if not len(pairs):
        return _NONE
    worst = int(relative_lengths(columns, pairs).argmin())
    return np.array([pairs.centers[worst], pairs.neighbors[worst]])


def _isolated(columns: Columns) -> Atoms:
    pairs = find_pairs(columns, SanityPlan().isolated_distance)
    return np.setdiff1d(np.arange(columns.n_atoms), pairs.centers)


def _not_finite(columns: Columns) -> Atoms:
    if not has(columns, "forces")[0]:
        return _NONE
    return np.flatnonzero(~np.isfinite(columns.arrays["forces"]).all(1))


def _most_pulled(columns: Columns) -> Atoms:
    if not has(columns, "forces")[0]:
        return _NONE
    lengths = np.linalg.norm(columns.arrays["forces"], axis=1)
    return np.array([int(np.nan_to_num(lengths, posinf=0).argmax())])
