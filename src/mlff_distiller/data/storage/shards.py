"""Shards: rows are gathered from their files without reading the rest, in memory that does not grow with them."""

import math
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from itertools import accumulate
from pathlib import Path
from struct import Struct
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labels import OPEN, Widths
from mlff_distiller.core.cutting import cut
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.columns import OFFSETS, Columns, common_widths, concatenate, pack, without_absent
from mlff_distiller.data.schema import COLUMNS, Column, ShardEntry
from mlff_distiller.data.storage.hdf5 import Layout, map_columns, read_layout, read_widths

Integers = NDArray[np.int64]
Piece = tuple[int, int, int]

_OPEN_SHARDS = 4
_OPEN_FILES = 128
_MAPPED_BYTES = 128_000_000
_BOUNDS = Struct("<2q")


class Shards:
    """The shards of one store, opened when they are first asked for.

    Rows are taken shard by shard from mapped memory. Rows scattered over a large store are read from their places in
    the files instead: a page that is mapped counts as memory of this process, and the system maps up to megabytes
    around each. Compressed shards can be neither mapped nor read in part. Threads take turns.

    Parameters
    ----------
    path : Path
        The store's directory.
    entries : list of ShardEntry
        Its shards.
    """

    def __init__(self, path: Path, entries: list[ShardEntry]) -> None:
        self.files = [(path / entry.file).absolute() for entry in entries]
        self._first = [0, *accumulate(entry.n_structures for entry in entries)]
        having = [[k for k, entry in enumerate(entries) if {*names} & {*entry.properties}] for names in OPEN.values()]
        self._with_open_axes = {shards[0] for shards in having if shards}
        self._is_large = sum(entry.n_bytes for entry in entries) > _MAPPED_BYTES
        self._lock = Lock()
        self._columns: OrderedDict[int, tuple[Columns, Callable[[], None]]] = OrderedDict()
        self._layouts: dict[int, Layout] = {}
        self._descriptors: OrderedDict[int, int] = OrderedDict()

    @property
    def widths(self) -> Widths:
        """K, the number of directions in which Hessians are known, and D, the number of features, if any."""
        return common_widths(
            {str(file): read_widths(file) for file in map(self.files.__getitem__, self._with_open_axes)}
        )

    def take(self, rows: Integers, *, only: Collection[str] | None = None) -> Columns:
        """Return a copy of rows of the store, in the given order; of some arrays only, if said.

        Raises
        ------
        IndexError
            If a row is beyond the end.
        DataError
            If a file is damaged, or was replaced since the store was opened.
        """
        if not len(rows):
            return pack([], [], [])
        n, lowest, highest = self._first[-1], int(rows.min()), int(rows.max())
        if not -n <= lowest <= highest < n:
            raise IndexError(f"structure {lowest if lowest < -n else highest} of a store of {n}")
        if lowest < 0:
            return self.take(rows % n, only=only)
        shard = bisect_right(self._first, lowest) - 1
        with self._lock:
            if highest < self._first[shard + 1]:
                return self._of_one(shard, rows - self._first[shard], only)
            shards = np.searchsorted(self._first, rows, side="right") - 1
            rows = rows - np.take(self._first, shards)
            if self._is_large and all(self._layout(shard).is_contiguous for shard in set(shards.tolist())):
                return self._scattered(shards.tolist(), rows.tolist(), only)
            return self._shard_by_shard(shards, rows, only)

    def blocks(self, shard: int, block_atoms: int) -> Iterator[Columns]:
        """Yield a shard in blocks of about that many atoms, copied."""
        with self._lock:
            sizes = self._opened(shard).sizes
        for first, last in cut(sizes, block_atoms):
            with self._lock:
                block = self._opened(shard).block(first, last)
                self._release(shard)
            yield block

    def _of_one(self, shard: int, rows: Integers, only: Collection[str] | None) -> Columns:
        taken = self._opened(shard).take(rows, only=only)
        self._release(shard)
        return taken

    def _shard_by_shard(self, shards: Integers, rows: Integers, only: Collection[str] | None) -> Columns:
        order = np.argsort(shards, kind="stable")
        parts = [self._of_one(int(k), rows[order][shards[order] == k], only) for k in np.unique(shards)]
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        return concatenate(parts).take(place)

    def _scattered(self, shards: list[int], rows: list[int], only: Collection[str] | None) -> Columns:
        """Read rows piece by piece from their places in the files."""
        layouts = {shard: self._layouts[shard] for shard in shards}
        files = {shard: self._descriptor(shard) for shard in sorted(layouts)}
        widths = common_widths({f"shard {k}": layout.widths for k, layout in layouts.items()})
        wanted = [c for c in COLUMNS if c.axis != "offset" and (only is None or c.name in only)]
        pieces: dict[str, list[Piece]] = {"structure": [(k, row, row + 1) for k, row in zip(shards, rows, strict=True)]}
        arrays: dict[str, NDArray[Any]] = {}
        for axis in {"atom", *(c.axis for c in wanted)} & OFFSETS.keys():
            name = OFFSETS[axis]
            ends = [os.pread(files[k], 16, layouts[k].places[name] + 8 * row) for k, row, _ in pieces["structure"]]
            pieces[axis] = [(k, *_BOUNDS.unpack(end)) for (k, _, _), end in zip(pieces["structure"], ends, strict=True)]
            arrays[name] = np.cumsum([0, *(last - first for _, first, last in pieces[axis])])
        for column in wanted:
            if any(column.name in layout.places for layout in layouts.values()):
                arrays[column.name] = _read(column, widths, files, layouts, pieces[column.axis])
        self._close_files(_OPEN_FILES)
        return without_absent(arrays)

    def _opened(self, shard: int) -> Columns:
        """Return all of a shard, mapped where its layout allows it; the last few are kept."""
        if shard not in self._columns:
            self._columns[shard] = map_columns(self.files[shard])
            while self._is_large and len(self._columns) > _OPEN_SHARDS:
                self._columns.popitem(last=False)
        self._columns.move_to_end(shard)
        return self._columns[shard][0]

    def _release(self, shard: int) -> None:
        if self._is_large:
            self._columns[shard][1]()

    def _layout(self, shard: int) -> Layout:
        if shard not in self._layouts:
            self._layouts[shard] = read_layout(self.files[shard])
        return self._layouts[shard]

    def _descriptor(self, shard: int) -> int:
        if shard not in self._descriptors:
            descriptor = self._descriptors[shard] = os.open(self.files[shard], os.O_RDONLY)
            if os.fstat(descriptor).st_ino != self._layouts[shard].inode:
                raise DataError(f"{self.files[shard]} was replaced since the data set was opened; open it again")
        self._descriptors.move_to_end(shard)
        return self._descriptors[shard]

    def _close_files(self, n_left: int) -> None:
        while len(self._descriptors) > n_left:
            os.close(self._descriptors.popitem(last=False)[1])

    def __del__(self) -> None:
        self._close_files(0)


def _read(
    column: Column, widths: Widths, files: dict[int, int], layouts: dict[int, Layout], pieces: list[Piece]
) -> NDArray[Any]:
    """Return pieces of one array, read from open files; NaN where a shard has no such property."""
    inner = column.inner(widths)
    pread, size = os.pread, np.dtype(column.dtype).itemsize * math.prod(inner)
    at = {k: (files[k], layout.places.get(column.name)) for k, layout in layouts.items()}
    content = bytearray()
    for k, first, last in pieces:
        descriptor, place = at[k]
        if place is None:
            content += np.full((last - first, *inner), np.nan, dtype=column.dtype).tobytes()
        else:
            content += pread(descriptor, (last - first) * size, place + first * size)
    expected = sum(last - first for _, first, last in pieces) * size
    if len(content) != expected:
        raise DataError(f"{column.name} of a shard is cut short; look with `mlffd data verify`")
    return np.frombuffer(content, dtype=column.dtype).reshape(-1, *inner)
