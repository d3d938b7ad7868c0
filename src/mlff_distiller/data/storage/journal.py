"""Journal: what a writer appended since its last shard, one record for each append, safe on disk when it returns.

A record is the mark ``MLFFDREC``, the length of the payload (8 bytes), its BLAKE2 checksum (16 bytes), and the
payload: the length of a JSON header (4 bytes), the header (names and shapes of the arrays), the arrays one behind the
other. All numbers are little-endian. A record that a crash cut short, or whose bytes were lost, fails its checksum and
counts as never appended; the records after it are found by their mark.
"""

import hashlib
import json
import math
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import flush, write_bytes
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.schema import COLUMNS

MARK = b"MLFFDREC"
_HEAD = struct.Struct("<8sQ16s")
_LENGTH = struct.Struct("<I")
_DTYPES = {column.name: column.dtype for column in COLUMNS}


class Journal:
    """An append-only file of columns.

    Parameters
    ----------
    file : Path
        Made by the first append.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> journal = Journal(Path(tempfile.mkdtemp(), "00.journal"))
    >>> journal.append(pack([7], [Structure([1], [[0, 0, 0]])]))
    >>> [record.structure(0).formula for record in journal.read()]
    ['H']
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._descriptor: int | None = None
        self._end: int | None = None

    def append(self, columns: Columns) -> None:
        """Add one record; when this returns it survives a crash.

        Raises
        ------
        DataError
            If it cannot be written; the journal is then as before.
        """
        try:
            self._write(_record(columns))
        except OSError as error:
            raise DataError(f"cannot write {self.file} ({error.strerror}); check permissions and space") from error

    def read(self) -> Iterator[Columns]:
        """Yield every record that is whole, as views of the file: copy what is to outlive the journal."""
        for _, columns in self._records():
            yield columns

    def replace(self, columns: Columns | None) -> None:
        """Let the journal hold these columns alone, or nothing; a crash leaves the old or the new.

        Raises
        ------
        DistillerError
            If it cannot be written; the journal is then as before.
        """
        self.close()
        if columns is None:
            self.file.unlink(missing_ok=True)
        else:
            write_bytes(self.file, _record(columns))

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._end = None, None

    def __del__(self) -> None:
        self.close()

    def _write(self, record: bytes) -> None:
        if self._descriptor is None:
            self._open()
        assert self._descriptor is not None
        assert self._end is not None
        if not os.fstat(self._descriptor).st_nlink:
            raise DataError(f"{self.file} was deleted while it was written to; open a new writer")
        os.ftruncate(self._descriptor, self._end)  # a write that failed half-way left this behind
        written = 0
        while written < len(record):
            written += os.pwrite(self._descriptor, memoryview(record)[written:], self._end + written)
        os.fsync(self._descriptor)
        self._end += len(record)

    def _open(self) -> None:
        """Open the file for writing, behind its last whole record: what a crash left after it is overwritten."""
        self._end = max((end for end, _ in self._records()), default=0)
        is_new = not self.file.exists()
        self._descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT, 0o644)
        if is_new:
            flush(self.file.parent)

    def _records(self) -> Iterator[tuple[int, Columns]]:
        """Yield each whole record with the place where it ends."""
        if not self.file.exists() or not self.file.stat().st_size:
            return
        with self.file.open("rb") as handle:
            view = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        place = view.find(MARK)
        while place >= 0:
            payload = _payload(view, place)
            if payload is None:
                place = view.find(MARK, place + 1)
                continue
            end = place + _HEAD.size + len(payload)
            yield end, _decoded(payload)
            place = view.find(MARK, end)


def _record(columns: Columns) -> bytes:
    arrays = {name: np.ascontiguousarray(array) for name, array in columns.arrays.items()}
    header = json.dumps({name: array.shape for name, array in arrays.items()}).encode()
    payload = b"".join([_LENGTH.pack(len(header)), header, *(array.tobytes() for array in arrays.values())])
    return _HEAD.pack(MARK, len(payload), _checksum(payload)) + payload


def _payload(view: mmap.mmap, place: int) -> memoryview | None:
    """Return the payload of the record at a place; None if it is not whole."""
    if place + _HEAD.size > len(view):
        return None
    _, length, checksum = _HEAD.unpack_from(view, place)
    payload = memoryview(view)[place + _HEAD.size : place + _HEAD.size + length]
    return payload if len(payload) == length and _checksum(payload) == checksum else None


def _decoded(payload: memoryview) -> Columns:
    (length,) = _LENGTH.unpack_from(payload)
    place = _LENGTH.size + length
    shapes: dict[str, list[int]] = json.loads(bytes(payload[_LENGTH.size : place]))
    arrays: dict[str, Any] = {}
    for name, shape in shapes.items():
        dtype = np.dtype(_DTYPES[name])
        count = math.prod(shape)
        arrays[name] = np.frombuffer(payload, dtype=dtype, count=count, offset=place).reshape(shape)
        place += count * dtype.itemsize
    return Columns(arrays)


def _checksum(payload: bytes | memoryview) -> bytes:
    return hashlib.blake2b(payload, digest_size=16).digest()
