"""MolecularDataset: labeled structures of a store or in memory, as torch's data sets are."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from mlff_distiller.atoms.labeled import LabeledStructure
from mlff_distiller.atoms.labels import OPEN, PROPERTIES, Labels, Widths, together
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.randomness import generator
from mlff_distiller.data.columns import Columns, pack
from mlff_distiller.data.loading.batching import Batching
from mlff_distiller.data.loading.order import InOrder
from mlff_distiller.data.loading.transforms import Transform
from mlff_distiller.data.schema import BITS, REFERENCE
from mlff_distiller.data.source import Source

Rows = NDArray[np.int64]

_BLOCK = 1_000  # structures read together when all of them are asked for


class MolecularDataset(Dataset[LabeledStructure]):
    """Structures with their labels: all of a source or some rows of it, some properties, transformed or as they are.

    Structures are read when they are asked for. The data set is itself a source, and travels to worker processes: a
    store as its path, columns as they are.

    Parameters
    ----------
    source : Source
        A ``Store``, ``Columns`` in memory, or another data set.
    rows : (n,) int, optional
        Rows of the source, in this order; all of them unless given.
    properties : collection of str, optional
        Labels that are given, where they are there; all unless given.
    transform : Transform, optional
        Applied to each structure; what it draws depends on seed, epoch and the structure's id alone, never on the
        order of reading.
    seed : int
        Seed of the transform.
    in_memory : bool
        Read everything now, once.

    Raises
    ------
    DataError
        If a row is not in the source, or a property is unknown.

    Examples
    --------
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> data = MolecularDataset.from_structures([h2, h2], [Labels(energy=-26.0), Labels(energy=-25.0)])
    >>> len(data), data[1].labels.energy, data.subset([1])[0].structure.formula
    (2, -25.0, 'H2')
    """

    def __init__(
        self,
        source: Source,
        *,
        rows: Sequence[int] | Rows | None = None,
        properties: Collection[str] | None = None,
        transform: Transform | None = None,
        seed: int = 0,
        in_memory: bool = False,
    ) -> None:
        unknown = sorted(set(properties or ()) - set(PROPERTIES))
        if unknown:
            raise DataError(f"'{unknown[0]}' is no property of a label; choose from {', '.join(PROPERTIES)}")
        self.source, self.transform, self.seed, self.epoch = source, transform, seed, 0
        self._rows = None if rows is None else _checked(rows, len(source))
        self._hidden = frozenset() if properties is None else frozenset(PROPERTIES) - together(properties)
        if in_memory:
            self.source = self._read(np.arange(len(self)))
            self._rows = None

    @classmethod
    def from_structures(
        cls, structures: Sequence[Structure], labels: Sequence[Labels] | None = None, **settings: Any
    ) -> "MolecularDataset":
        """Return a data set in memory; settings are those of the class.

        Raises
        ------
        DataError
            If there is not one label for each structure, or a label does not fit its structure.
        """
        return cls(pack(range(len(structures)), structures, labels), **settings)

    def __len__(self) -> int:
        return len(self.source) if self._rows is None else len(self._rows)

    def __getitem__(self, i: int) -> LabeledStructure:
        if not -len(self) <= i < len(self):
            raise IndexError(f"structure {i} of a data set of {len(self)}")
        return self.__getitems__([i % len(self)])[0]

    def __iter__(self) -> Iterator[LabeledStructure]:
        for rows in Batching(_BLOCK).batches(InOrder(len(self))):
            yield from self.__getitems__(rows)

    def __getitems__(self, indices: Sequence[int] | Rows) -> list[LabeledStructure]:
        """Return several structures, read together; rows as for :meth:`take`."""
        return self._labeled(self._read(_checked(indices, len(self))))

    @property
    def sizes(self) -> Rows:
        """Number of atoms of each structure (S,)."""
        return self.source.sizes if self._rows is None else self.source.sizes[self._rows]

    @property
    def properties(self) -> frozenset[str]:
        """Properties that the source has, less those that are masked or lost by the transform."""
        if self.transform is not None and not self.transform.keeps_labels:
            return frozenset()
        return frozenset(self.source.properties) - self._hidden

    @property
    def widths(self) -> Widths:
        """K, the number of directions in which Hessians are known, and D, the number of features, if any."""
        return {axis: n for axis, n in self.source.widths.items() if set(OPEN[axis]) <= self.properties}

    @property
    def is_in_memory(self) -> bool:
        """Whether reading costs no access to files."""
        source = self.source
        return source.is_in_memory if isinstance(source, MolecularDataset) else isinstance(source, Columns)

    def take(self, rows: Sequence[int] | Rows, *, only: Collection[str] | None = None) -> Columns:
        """Return the structures of rows as columns, masked and transformed; of some arrays only, if said.

        Raises
        ------
        DataError
            If a row is not in this data set; rows count from 0.
        """
        wanted = _checked(rows, len(self))
        if self.transform is None:
            return self._read(wanted, only)
        columns = self._read(wanted)
        labeled = self._labeled(columns)
        packed = pack(columns.arrays["ids"].tolist(), [s for s, _ in labeled], [label for _, label in labeled])
        packed.arrays["mask"] |= columns.arrays["mask"] & np.uint32(REFERENCE)
        return packed

    def subset(self, rows: Sequence[int] | Rows) -> "MolecularDataset":
        """Return a data set of some rows, in the given order; nothing is copied.

        Raises
        ------
        DataError
            If a row is not in this data set.
        """
        part = copy(self)
        chosen = _checked(rows, len(self))
        part._rows = chosen if self._rows is None else self._rows[chosen]
        return part

    def at_epoch(self, epoch: int) -> "MolecularDataset":
        """Return the same data set with the random transforms of another epoch."""
        other = copy(self)
        other.epoch = epoch
        return other

    def structures(self) -> list[Structure]:
        """Return all structures."""
        return [structure for structure, _ in self]

    def all_labels(self) -> list[Labels]:
        """Return all labels."""
        return [labels for _, labels in self]

    def _read(self, rows: Rows, only: Collection[str] | None = None) -> Columns:
        columns = self.source.take(rows if self._rows is None else self._rows[rows], only=only)
        return _masked(columns, self._hidden) if self._hidden else columns

    def _labeled(self, columns: Columns) -> list[LabeledStructure]:
        labeled = [LabeledStructure(columns.structure(k), columns.labels(k)) for k in range(len(columns))]
        if self.transform is None:
            return labeled
        ids = columns.arrays["ids"].tolist()
        rngs = (generator(self.seed, "transform", self.epoch, number) for number in ids)
        return [self.transform.apply(x, rng) for x, rng in zip(labeled, rngs, strict=True)]


def _checked(rows: Sequence[int] | Rows, n: int) -> Rows:
    array = np.asarray(rows, dtype=np.int64).reshape(-1)
    outside = array[(array < 0) | (array >= n)]
    if len(outside):
        raise DataError(f"row {outside[0]} is not in a data set of {n}; rows count from 0 to {n - 1}")
    return array


def _masked(columns: Columns, hidden: Iterable[str]) -> Columns:
    """Return columns without some of the labels."""
    bits = sum(BITS[name] for name in hidden)
    arrays = {name: array for name, array in columns.arrays.items() if name not in hidden}
    if "mask" in arrays:
        arrays["mask"] = arrays["mask"] & np.uint32(~bits & 0xFFFFFFFF)
    return Columns(arrays)
