"""Filtering: which structures of a data set satisfy conditions, and what removed the others."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray
from pydantic import Field, field_validator

from mlff_distiller.core.plan import Plan
from mlff_distiller.data.blocks import blocks, has, owners
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.sanity.check import check
from mlff_distiller.data.sanity.plan import SanityPlan
from mlff_distiller.data.similarity.duplicates import DuplicatesPlan, find_duplicates
from mlff_distiller.data.source import Source

Booleans = NDArray[np.bool_]

Property = Literal[
    "energy", "forces", "stress", "atomic_energies", "energy_std", "force_std", "hessian_products", "embeddings"
]


class FilterPlan(Plan):
    """Conditions; a structure is kept if it satisfies all that are given.

    Examples
    --------
    >>> FilterPlan(elements=("H", "C", "O"), max_force=20).sane
    False
    """

    elements: tuple[str, ...] | None = Field(None, description="Keep structures made of no other elements than these.")
    min_atoms: int = Field(1, ge=1, description="Fewest atoms of a structure.")
    max_atoms: int | None = Field(None, ge=1, description="Most atoms of a structure.")
    properties: tuple[Property, ...] = Field((), description="Keep structures that have all of these labels.")
    max_force: float | None = Field(None, gt=0, description="Largest force on an atom, eV/Angstrom.")
    charge: int | None = Field(None, description="Keep structures of this total charge, e.")
    sane: bool = Field(False, description="Leave out every structure with a finding of the sanity checks.")
    unique: Literal["no", "exact", "near"] = Field(
        "no",
        description="Keep the first of structures that are the same: exactly, or nearly (moved, rotated, rattled).",
    )
    sanity: SanityPlan = Field(SanityPlan(), description="Bounds of the sanity checks.")
    duplicates: DuplicatesPlan = Field(DuplicatesPlan(), description="When two structures count as the same.")

    @field_validator("elements")
    @classmethod
    def _known(cls, symbols: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = [symbol for symbol in symbols or () if atomic_numbers.get(symbol, 0) < 1]
        if unknown:
            raise ValueError(f"'{unknown[0]}' is no element")
        return symbols


@dataclass(frozen=True, eq=False)
class Kept:
    """What a filter leaves.

    Attributes
    ----------
    rows : (R,) int64
        Structures that satisfy all conditions, ascending.
    removed : dict
        Condition to the number of structures that it removed; a structure counts for the first it fails.
    """

    rows: NDArray[np.int64]
    removed: dict[str, int]


def matching(source: Source, plan: FilterPlan) -> Kept:
    """Return the structures that satisfy all conditions, reading block by block.

    Duplicates are looked for among what the other conditions leave.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> columns = pack(range(3), [Structure([z], [[0, 0, 0]]) for z in (1, 2, 1)])
    >>> kept = matching(columns, FilterPlan(elements=("H",), unique="exact"))
    >>> kept.rows.tolist(), kept.removed
    ([0], {'elements': 1, 'duplicates': 1})
    """
    is_kept = np.ones(len(source), dtype=bool)
    removed: dict[str, int] = {}
    for rows, columns in blocks(source):
        for name, satisfied in _satisfied(columns, plan):
            _remove(name, rows[is_kept[rows] & ~satisfied], is_kept, removed)
    if plan.sane:
        for name, result in check(source, plan.sanity).results.items():
            _remove(name, result.rows[is_kept[result.rows]], is_kept, removed)
    if plan.unique != "no":
        _remove("duplicates", _repeats(source, np.flatnonzero(is_kept), plan), is_kept, removed)
    return Kept(np.flatnonzero(is_kept), removed)


def _satisfied(columns: Columns, plan: FilterPlan) -> Iterator[tuple[str, Booleans]]:
    """Yield each condition that is asked for, and which structures (S,) satisfy it."""
    a, sizes = columns.arrays, columns.sizes
    if plan.elements is not None:
        foreign = ~np.isin(a["numbers"], [atomic_numbers[symbol] for symbol in plan.elements])
        yield "elements", np.bincount(owners(columns)[foreign], minlength=len(columns)) == 0
    yield "min_atoms", sizes >= plan.min_atoms
    if plan.max_atoms is not None:
        yield "max_atoms", sizes <= plan.max_atoms
    if plan.charge is not None:
        yield "charge", a["charge"] == plan.charge
    for name in plan.properties:
        yield f"without {name}", has(columns, name)
    if plan.max_force is not None and "forces" in a:
        largest = np.maximum.reduceat(np.linalg.norm(a["forces"], axis=1), a["offsets"][:-1])
        yield "max_force", ~(has(columns, "forces") & ~(largest <= plan.max_force))


def _repeats(source: Source, rows: NDArray[np.int64], plan: FilterPlan) -> NDArray[np.int64]:
    """Return those of some rows that repeat an earlier one."""
    part = _Part(source, rows)
    exactly = plan.duplicates.model_copy(update={"tolerance": 0.0})
    found = find_duplicates(part, plan.duplicates if plan.unique == "near" else exactly)
    return np.delete(rows, found.first_rows)


def _remove(name: str, rows: NDArray[np.int64], is_kept: Booleans, removed: dict[str, int]) -> None:
    if len(rows):
        is_kept[rows] = False
        removed[name] = removed.get(name, 0) + len(rows)


class _Part:
    """Some rows of a source, as a source."""

    def __init__(self, source: Source, rows: NDArray[np.int64]) -> None:
        self._source, self._rows = source, rows
        self.properties, self.widths = source.properties, source.widths

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.asarray(self._source.sizes)[self._rows]

    def take(self, rows: NDArray[np.int64], *, only: Collection[str] | None = None) -> Columns:
        return self._source.take(self._rows[rows], only=only)
