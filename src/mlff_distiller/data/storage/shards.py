"""Shards: rows are gathered from their files without reading the rest, in memory that does not grow with them."""

import math
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterator
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.data.columns import OFFSETS, Columns, pack, without_absent
from mlff_distiller.data.schema import COLUMNS, Column, ShardEntry
from mlff_distiller.data.storage.hdf5 import Mapping, map_columns

Integers = NDArray[np.int64]
Piece = tuple[int, int, int]

_READ_SHARDS = 2
_OPEN_FILES = 128
_MAPPED_BYTES = 128_000_000
_LARGE = {"numbers", "positions", "forces", "atomic_energies", "cells", "stress", "info"}


class Shards:
    """The shards of one store, opened when they are first asked for.

    Small stores are mapped into memory, and stay so. Of large ones, rows scattered over many shards are read from
    their places in the files: a page that is mapped counts as memory of this process, and the system maps up to
    megabytes around each; mapped for good is then 40 bytes for each structure. Compressed shards can be neither mapped
    nor read in part; the last two that were asked for are kept.

    Parameters
    ----------
    path : Path
        The store's directory.
    entries : list of ShardEntry
        Its shards.
    """

    def __init__(self, path: Path, entries: list[ShardEntry]) -> None:
        self.files = [path / entry.file for entry in entries]
        self._first = [0, *accumulate(entry.n_structures for entry in entries)]
        self._is_large = sum(entry.n_bytes for entry in entries) > _MAPPED_BYTES
        self._lock = Lock()  # threads may read one store; files are opened and closed in turn
        self._mapped: dict[int, tuple[Columns, Mapping]] = {}
        self._read: OrderedDict[int, Columns] = OrderedDict()
        self._descriptors: OrderedDict[int, int] = OrderedDict()

    def take(self, rows: Integers, *, only: Collection[str] | None = None) -> Columns:
        """Return a copy of rows of the store, in the given order; of some arrays only, if said.

        Raises
        ------
        IndexError
            If a row is beyond the end.
        """
        with self._lock:
            return self._take(rows, only)

    def _take(self, rows: Integers, only: Collection[str] | None) -> Columns:
        if not len(rows):
            return pack([], [], [])
        n, lowest, highest = self._first[-1], int(rows.min()), int(rows.max())
        if not -n <= lowest <= highest < n:
            raise IndexError(f"structure {lowest if lowest < -n else highest} of a store of {n}")
        if lowest < 0:
            return self._take(rows % n, only)
        shard = bisect_right(self._first, lowest) - 1
        if highest >= self._first[shard + 1]:
            shards = np.searchsorted(self._first, rows, side="right") - 1
            return self._gather(shards.tolist(), (rows - np.take(self._first, shards)).tolist(), only)
        taken = self.columns(shard).take(rows - self._first[shard], only=only)
        self._release(shard)
        return taken

    def blocks(self, shard: int, block_atoms: int) -> Iterator[Columns]:
        """Yield a shard in blocks of about that many atoms, copied."""
        columns = self.columns(shard)
        ends = columns.arrays["offsets"][1:]
        first = 0
        while first < len(columns):
            begin = columns.arrays["offsets"][first]
            last = max(first + 1, int(np.searchsorted(ends, begin + block_atoms, side="right")))
            yield columns.block(first, last)
            self._release(shard)
            first = last

    def columns(self, shard: int) -> Columns:
        """Return all of a shard, mapped where its layout allows it."""
        if shard in self._mapped:
            return self._mapped[shard][0]
        if shard in self._read:
            self._read.move_to_end(shard)
            return self._read[shard]
        columns, mapping = map_columns(self.files[shard])
        if mapping is not None:
            self._mapped[shard] = columns, mapping
        else:
            self._read[shard] = columns
            if len(self._read) > _READ_SHARDS:
                self._read.popitem(last=False)
        return columns

    def _release(self, shard: int) -> None:
        if self._is_large and shard in self._mapped:
            self._mapped[shard][1].release()

    def _gather(self, shards: list[int], rows: list[int], only: Collection[str] | None) -> Columns:
        """Return rows of several shards: piece by piece, since most shards give but a row or two."""
        parts = {shard: self.columns(shard) for shard in sorted(shards)}  # in order: a compressed one is read once
        wanted = [c for c in COLUMNS if only is None or c.name in only]
        present = {c.name for c in wanted if any(c.name in columns.arrays for columns in parts.values())}
        pieces = {"structure": [(k, row, row + 1) for k, row in zip(shards, rows, strict=True)]}
        arrays: dict[str, NDArray[Any]] = {}
        for axis in {"atom", *(c.axis for c in wanted)} & OFFSETS.keys():
            bound = {k: columns.arrays[OFFSETS[axis]].item for k, columns in parts.items()}
            pieces[axis] = [(k, bound[k](row), bound[k](row + 1)) for k, row, _ in pieces["structure"]]
            arrays[OFFSETS[axis]] = np.cumsum([0, *(last - first for _, first, last in pieces[axis])])
        is_scattered = self._is_large and all(k in self._mapped for k in parts)
        files = {k: (self._descriptor(k), self._mapped[k][1].places) for k in parts} if is_scattered else {}
        for column in wanted:
            if column.axis == "offset" or column.name not in present:
                continue
            sources = {k: columns.arrays.get(column.name) for k, columns in parts.items()}
            if files and column.name in _LARGE and all(source is not None for source in sources.values()):
                arrays[column.name] = _read(column, files, pieces[column.axis])
            else:
                found = [_piece(sources[k], first, last, column) for k, first, last in pieces[column.axis]]
                arrays[column.name] = np.concatenate(found)
        self._close_files(_OPEN_FILES)
        return without_absent(arrays)

    def _descriptor(self, shard: int) -> int:
        if shard not in self._descriptors:
            self._descriptors[shard] = os.open(self.files[shard], os.O_RDONLY)
        self._descriptors.move_to_end(shard)
        return self._descriptors[shard]

    def _close_files(self, n_left: int) -> None:
        while len(self._descriptors) > n_left:
            os.close(self._descriptors.popitem(last=False)[1])

    def __del__(self) -> None:
        self._close_files(0)


def _piece(source: NDArray[Any] | None, first: int, last: int, column: Column) -> NDArray[Any]:
    """Return items of an array; NaN where a shard has no such property."""
    if source is None:
        return np.full((last - first, *column.shape), np.nan, dtype=column.dtype)
    return source[first:last]


def _read(column: Column, files: dict[int, tuple[int, dict[str, int]]], pieces: list[Piece]) -> NDArray[Any]:
    """Return pieces of one array, read from their places in open files."""
    pread, size = os.pread, np.dtype(column.dtype).itemsize * math.prod(column.shape)
    at = {k: (descriptor, places[column.name]) for k, (descriptor, places) in files.items()}
    content = bytearray().join(
        [pread(at[k][0], (last - first) * size, at[k][1] + first * size) for k, first, last in pieces]
    )
    return np.frombuffer(content, dtype=column.dtype).reshape(-1, *column.shape)
