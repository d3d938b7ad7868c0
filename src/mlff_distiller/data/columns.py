"""Columns: structures and labels as flat arrays, the content of one shard."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labels import HESSIAN, OPEN, PROPERTIES, Labels, Widths, shape, widths_of
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.schema import BITS, COLUMNS, Column, present

Array = NDArray[Any]
Indices = NDArray[np.int64]

OFFSETS = {"atom": "offsets", "byte": "info_offsets"}
"""Which offsets cut the arrays along each axis."""


@dataclass(frozen=True, eq=False)
class Columns:
    """S structures with their labels as flat arrays.

    Attributes
    ----------
    arrays : dict
        Name of each data set of :data:`~mlff_distiller.data.schema.COLUMNS` to its array; properties that nobody
        has are not there.
    """

    arrays: dict[str, Array] = field(repr=False)

    def __len__(self) -> int:
        return len(self.arrays["offsets"]) - 1

    @property
    def n_atoms(self) -> int:
        """A, the number of atoms in all."""
        return int(self.arrays["offsets"][-1])

    @property
    def sizes(self) -> Indices:
        """Number of atoms of each structure (S,)."""
        return np.diff(self.arrays["offsets"])

    @property
    def properties(self) -> list[str]:
        """Properties that at least one structure has, in the order of their bits."""
        return [name for name in PROPERTIES if name in self.arrays]

    @property
    def widths(self) -> Widths:
        """K, the number of directions in which Hessians are known, and D, the number of features, if any."""
        return widths_of(self.arrays)

    def structure(self, row: int) -> Structure:
        """Return one structure."""
        a, atoms = self.arrays, self._atoms(row)
        return Structure(
            a["numbers"][atoms],
            a["positions"][atoms],
            cell=a["cells"][row],
            pbc=a["pbc"][row] != 0,
            charge=int(a["charge"][row]),
            spin=int(a["spin"][row]),
            info=self.info(row),
        )

    def labels(self, row: int) -> Labels:
        """Return the labels of one structure; what is absent stays absent."""
        values: dict[str, Any] = {}
        for name in present(int(self.arrays["mask"][row])):
            array = self.arrays[name]
            values[name] = array[self._atoms(row) if _AXES[name] == "atom" else row].copy()
        if "energy" in values:
            values["energy"] = float(values["energy"])
        return Labels(**values)

    def info(self, row: int) -> dict[str, Any]:
        """Return the free information of one structure."""
        first, last = self.arrays["info_offsets"][row : row + 2]
        value: dict[str, Any] = json.loads(self.arrays["info"][first:last].tobytes())
        return value

    def take(self, rows: Indices, *, only: Collection[str] | None = None) -> "Columns":
        """Return a copy of the given rows, in the given order.

        Parameters
        ----------
        rows : (R,) int64
            Which structures.
        only : collection of str, optional
            Arrays that are wanted, to save the reading of others; offsets come with them.
        """
        axes = {name: _AXES[name] for name in self.arrays if only is None or name in only}
        flat = {"structure": rows}
        taken: dict[str, Array] = {}
        for axis in {"atom", *axes.values()} & OFFSETS.keys():
            offsets = self.arrays[OFFSETS[axis]]
            taken[OFFSETS[axis]], flat[axis] = _ragged(offsets, rows)
        taken |= {name: self.arrays[name].take(flat[axis], axis=0) for name, axis in axes.items() if axis != "offset"}
        return without_absent(taken)

    def block(self, first: int, last: int) -> "Columns":
        """Return a copy of the rows from ``first`` to before ``last``."""
        cuts = {axis: self.arrays[name][first : last + 1] for axis, name in OFFSETS.items()}
        taken: dict[str, Array] = {name: cuts[axis] - cuts[axis][0] for axis, name in OFFSETS.items()}
        for name, array in self.arrays.items():
            if _AXES[name] == "structure":
                taken[name] = array[first:last].copy()
            elif _AXES[name] != "offset":
                taken[name] = array[cuts[_AXES[name]][0] : cuts[_AXES[name]][-1]].copy()
        return without_absent(taken)

    def in_order_of_ids(self) -> "Columns":
        """Return the same structures with ascending ids."""
        ids = self.arrays["ids"]
        return self if (np.diff(ids) > 0).all() else self.take(np.argsort(ids, kind="stable"))

    def _atoms(self, row: int) -> slice:
        first, last = self.arrays["offsets"][row : row + 2]
        return slice(first, last)


_AXES = {column.name: column.axis for column in COLUMNS}


def ragged(offsets: Indices, rows: Indices) -> Indices:
    """Return the flat indices of the items of rows, one row behind the other.

    Parameters
    ----------
    offsets : (S + 1,)
        Where each row begins and ends.
    rows : (R,)
        Rows in any order.

    Examples
    --------
    >>> ragged(np.array([0, 2, 3, 6]), np.array([2, 0])).tolist()
    [3, 4, 5, 0, 1]
    """
    return _ragged(offsets, rows)[1]


def _ragged(offsets: Indices, rows: Indices) -> tuple[Indices, Indices]:
    """Return where each of some rows begins and ends once they lie behind each other, and their flat indices."""
    first = offsets[rows]
    sizes = offsets[rows + 1] - first
    ends = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum(sizes, out=ends[1:])
    flat = np.repeat(first - ends[:-1], sizes)
    flat += np.arange(len(flat))
    return ends, flat


def pack(ids: Sequence[int], structures: Sequence[Structure], labels: Sequence[Labels] | None = None) -> Columns:
    """Return structures and labels as flat arrays.

    Raises
    ------
    DataError
        If counts or shapes do not match, Hessians are known in different numbers of directions, embeddings have
        different numbers of features, or the information of a structure is not plain JSON data.

    Examples
    --------
    >>> columns = pack([7], [Structure([1], [[0, 0, 0]])], [Labels(energy=-0.5)])
    >>> columns.properties, columns.labels(0).forces is None
    (['energy'], True)
    """
    labels = [Labels()] * len(structures) if labels is None else labels
    if not len(ids) == len(structures) == len(labels):
        raise DataError(f"got {len(ids)} ids, {len(structures)} structures and {len(labels)} labels; give one of each")
    widths = common_widths({f"structure {k}": label.widths for k, label in zip(ids, labels, strict=True)})
    for number, structure, label in zip(ids, structures, labels, strict=True):
        _check(number, structure, label, widths)
    infos = [_encode(number, structure) for number, structure in zip(ids, structures, strict=True)]
    values: dict[str, Any] = {
        "ids": list(ids),
        "offsets": _cumulative([len(s) for s in structures]),
        "numbers": np.concatenate([s.numbers for s in structures]) if structures else [],
        "positions": np.concatenate([np.zeros((0, 3)), *(s.positions for s in structures)]),
        "cells": [s.cell for s in structures],
        "pbc": [s.pbc for s in structures],
        "charge": [s.charge for s in structures],
        "spin": [s.spin for s in structures],
        "mask": [sum(BITS[name] for name in label.present) for label in labels],
        "info_offsets": _cumulative([len(text) for text in infos]),
        "info": np.frombuffer(b"".join(infos), dtype=np.uint8),
    }
    found = {name for label in labels for name in label.present}
    values |= {c.name: _fill(c, structures, labels, widths) for c in COLUMNS if c.name in found}
    return Columns({c.name: _typed(values[c.name], c, widths) for c in COLUMNS if c.name in values})


def concatenate(parts: Sequence[Columns]) -> Columns:
    """Return the structures of several columns behind each other.

    Raises
    ------
    DataError
        If Hessians are known in different numbers of directions, or embeddings have different numbers of features.

    Examples
    --------
    >>> one = pack([1], [Structure([1], [[0, 0, 0]])])
    >>> len(concatenate([one, pack([2], [Structure([2], [[0, 0, 0]])])]))
    2
    """
    joined: dict[str, Array] = {}
    widths = common_widths({f"part {k}": part.widths for k, part in enumerate(parts)})
    for column in COLUMNS:
        if column.axis == "offset" and all(column.name in p.arrays for p in parts):
            joined[column.name] = _cumulative(np.concatenate([np.diff(p.arrays[column.name]) for p in parts]))
        elif column.axis != "offset" and any(column.name in p.arrays for p in parts):
            joined[column.name] = np.concatenate([_or_nan(p, column, widths) for p in parts])
    return Columns(joined)


_DIFFERENT: Final = {
    "K": ("Hessians are known in {} directions in {} and in {} in {}", "label all with the same hessian_directions"),
    "D": ("embeddings have {} features in {} and {} in {}", "label all with the same teacher"),
}


def common_widths(widths: Mapping[str, Widths]) -> Widths:
    """Return in how many directions Hessians are known and how many features embeddings have, the same for all.

    Parameters
    ----------
    widths : dict of str to Widths
        What a message calls each thing, and its numbers.

    Raises
    ------
    DataError
        If they differ.

    Examples
    --------
    >>> common_widths({"a": {"K": 2}, "b": {}, "c": {"K": 2, "D": 64}})
    {'K': 2, 'D': 64}
    """
    common: dict[str, int] = {}
    for axis in OPEN:
        found = {own[axis]: name for name, own in widths.items() if axis in own}
        if len(found) > 1:
            (n, one), (m, other), *_ = found.items()
            what, cure = _DIFFERENT[axis]
            raise DataError(
                f"{what.format(n, one, m, other)}, but a data set holds one number of them; {cure}, or keep them apart"
            )
        common.update((axis, n) for n in found)
    return common


def _typed(value: Any, column: Column, widths: Widths) -> Array:
    given = np.asarray(value).reshape(-1, *column.inner(widths))
    array = np.ascontiguousarray(given, dtype=column.dtype) if given.dtype != object else np.zeros(0)
    is_whole = array.dtype.kind == "f" or (given.dtype.kind in "iub" and np.array_equal(array, given))
    if given.size and not (is_whole and given.shape == array.shape):
        raise DataError(f"{column.name} must be whole numbers that fit into {array.dtype}; number structures from 0")
    return array


def _fill(column: Column, structures: Sequence[Structure], labels: Sequence[Labels], widths: Widths) -> Any:
    rows = [
        np.full(shape(column.name, len(structure), widths), np.nan) if value is None else value
        for structure, value in ((s, getattr(label, column.name)) for s, label in zip(structures, labels, strict=True))
    ]
    return np.concatenate(rows) if column.axis == "atom" else rows


def _check(number: int, structure: Structure, label: Labels, widths: Widths) -> None:
    if (label.hessian_directions is None) != (label.hessian_products is None):
        raise DataError(
            f"structure {number} ({structure.formula}) has one of {' and '.join(HESSIAN)} without the other; give both"
        )
    for column in COLUMNS:
        if column.name in label.present:
            found = np.shape(getattr(label, column.name))
            expected = shape(column.name, len(structure), widths)
            if found != expected:
                raise DataError(
                    f"{column.name} of structure {number} ({structure.formula}) have shape {found}, not {expected}; "
                    "give one value for each atom of this structure"
                )


def _encode(number: int, structure: Structure) -> bytes:
    try:
        text = json.dumps(structure.info, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise DataError(
            f"info of structure {number} ({structure.formula}) is not plain JSON data ({error}); "
            "keep to text, finite numbers, lists and dicts"
        ) from error
    return text


def _or_nan(part: Columns, column: Column, widths: Widths) -> Array:
    if column.name in part.arrays:
        return part.arrays[column.name]
    n = part.n_atoms if column.axis == "atom" else len(part)
    return np.full((n, *column.inner(widths)), np.nan, dtype=column.dtype)


def without_absent(arrays: dict[str, Array]) -> Columns:
    """Return columns without the arrays of properties that nobody has."""
    if "mask" not in arrays:
        return Columns(arrays)
    union = int(np.bitwise_or.reduce(arrays["mask"])) if len(arrays["mask"]) else 0
    return Columns({name: a for name, a in arrays.items() if name not in BITS or union & BITS[name]})


def _cumulative(sizes: Any) -> Indices:
    return np.concatenate([[0], np.cumsum(np.asarray(sizes, dtype=np.int64))]).astype(np.int64)
