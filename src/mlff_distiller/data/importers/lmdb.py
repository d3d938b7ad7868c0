"""LMDB with one structure in each value: (zlib-compressed) JSON or msgpack, or the bytes of a npz file."""

import io
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers import lmdb_file
from mlff_distiller.data.importers.declarations import declared_units
from mlff_distiller.data.importers.frame import Declared, Frame, Quantity
from mlff_distiller.data.importers.guard import guarded, translated
from mlff_distiller.data.importers.hdf5 import as_text, atomic_numbers
from mlff_distiller.data.importers.keys import choose
from mlff_distiller.data.importers.lmdb_file import Entry, LmdbFile
from mlff_distiller.data.importers.npz import read_member
from mlff_distiller.data.importers.picking import pick
from mlff_distiller.data.importers.plan import ImportPlan

_SAMPLE: Final = 1000
_LARGEST: Final = 1 << 30  # bytes of one value after decompression
_RESERVED: Final = (b"nextid", b"deleted_ids", b"metadata", b"length", b"__len__", b"num_samples")
_DIGITS: Final = 19  # of the largest number that a table holds
_PLACES: Final = np.dtype([("key", np.int64), ("offset", np.int64), ("size", np.int64)])
_NUMBERS: Final = ("numbers", "atomic_numbers", "z", "Z", "species", "symbols", "elements")
_POSITIONS: Final = ("positions", "pos", "coordinates", "coords", "R")
_CELL: Final = ("cell", "lattice")


class LmdbReader:
    """Reader of LMDB files of structures.

    Names of labels are chosen from the first 1,000 values. No units are certain but those that the entry ``metadata``
    declares. Values that are Python pickles are refused: reading them runs whatever code they hold.

    Parameters
    ----------
    path : Path
        The file, or the directory with its ``data.mdb``.
    plan : ImportPlan
        The ``..._key`` settings name labels.

    Attributes
    ----------
    units : dict
        What the entry ``metadata`` declares.
    n_frames : int
        Structures in all.

    Raises
    ------
    DataError
        If the file is damaged, its values are pickles or of an unknown form, or names are ambiguous.
    """

    def __init__(self, path: Path, plan: ImportPlan) -> None:
        self.path, self._plan = path, plan
        names: Counter[str] = Counter()
        with translated(path), lmdb_file.opened(path) as file:
            self.n_frames: int | None = count(file)
            if not self.n_frames:
                raise DataError(f"{path} holds no structures; check the path")
            for entry in islice(structures(file), _SAMPLE):
                names.update(_labels(_row(file, entry)).keys())
            self.units: dict[Quantity, Declared] = {
                quantity: Declared(*said) for quantity, said in declared_units(metadata(file)).items()
            }
        self._keys = choose(names, plan, where=str(path))

    def frames(self) -> Iterator[Frame]:
        """Yield all structures, in the order of their keys (of their numbers where all keys are numbers)."""
        return guarded(self._frames(), self.path)

    def _frames(self) -> Iterator[Frame]:
        with lmdb_file.opened(self.path) as file:
            for entry in structures(file):
                place = f"{self.path.name}, entry {entry.key.decode('utf-8', 'replace')}"
                yield _frame(_row(file, entry), self._keys, self._plan, where=place)


def structures(file: LmdbFile) -> Iterator[Entry]:
    """Yield the entries that hold structures: by number where all keys are numbers, else in the order of the file."""
    if not all(len(key) < _DIGITS and key.isdigit() for key, _, _ in _unreserved(file)):
        yield from _unreserved(file)
        return
    table = np.fromiter(((int(key), offset, size) for key, offset, size in _unreserved(file)), _PLACES)
    table.sort(order="key")
    for key, offset, size in table:
        yield Entry(str(key).encode(), int(offset), int(size))


def count(file: LmdbFile) -> int:
    """Return the number of entries that hold structures."""
    return sum(1 for _ in _unreserved(file))


def _unreserved(file: LmdbFile) -> Iterator[Entry]:
    return (entry for entry in file.entries() if entry.key not in _RESERVED)


def metadata(file: LmdbFile) -> dict[str, Any]:
    """Return what the entry ``metadata`` says; nothing where there is none."""
    found = next((entry for entry in file.entries() if entry.key == b"metadata"), None)
    return _row(file, found) if found else {}


def _row(file: LmdbFile, entry: Entry) -> dict[str, Any]:
    row = decode(file.value(entry), f"entry {entry.key.decode('utf-8', 'replace')}")
    if not isinstance(row, dict):
        raise DataError(f"entry {entry.key!r} holds {type(row).__name__}, not named values; check the format")
    return row


def decode(value: bytes, what: str) -> Any:
    """Return the content of a value: JSON (ASE's arrays understood), msgpack or npz, plain or compressed with zlib.

    Raises
    ------
    DataError
        If it is a Python pickle or nothing known.

    Examples
    --------
    >>> decode(zlib.compress(b'{"energy": -1.5}'), "entry 0")
    {'energy': -1.5}
    >>> import pickle
    >>> decode(pickle.dumps({}), "entry 0")
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.DataError: entry 0 is a Python pickle, which runs code when read, so it is refused;
    open it where you trust it and write the structures with ASE to .extxyz, .db or .aselmdb
    """
    if value[:1] == b"\x78":
        value = inflate(value, what)
    if value[:1] == b"\x80" and value[1:2] in b"\x02\x03\x04\x05" and value.endswith(b"."):
        raise DataError(
            f"{what} is a Python pickle, which runs code when read, so it is refused; open it where you trust it and "
            "write the structures with ASE to .extxyz, .db or .aselmdb"
        )
    if value.startswith(b"PK\x03\x04"):
        return _npz(value)
    if value.lstrip()[:1] in (b"{", b"["):
        return _json(value.decode("utf-8"))
    return _msgpack(value)


def inflate(value: bytes, what: str) -> bytes:
    """Return a value decompressed by zlib, its checksum verified."""
    decompressor = zlib.decompressobj()
    content = decompressor.decompress(value, _LARGEST)
    if not decompressor.eof:
        raise DataError(f"{what} is cut short or too large; restore the file from a copy")
    return content


def _json(text: str) -> Any:
    if "__ndarray__" not in text:
        return json.loads(text)
    from ase.io.jsonio import decode as decode_ase

    return decode_ase(text)


def _msgpack(value: bytes) -> Any:
    try:
        import msgpack
    except ImportError:
        raise DataError('values in msgpack need the package msgpack; pip install "mlff-distiller[lmdb]"') from None
    return msgpack.unpackb(value)


def _npz(value: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(value)) as archive:
        keys = [name.removesuffix(".npy") for name in archive.namelist()]
        return {key: read_member(archive, key) for key in keys}


def _labels(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in (*_NUMBERS, *_POSITIONS, *_CELL, "pbc")}


def _frame(row: dict[str, Any], keys: dict[str, str], plan: ImportPlan, *, where: str) -> Frame:
    cell = _one(row, _CELL, where)
    cell = None if cell is None or not np.any(cell) else np.asarray(cell, dtype=float).reshape(3, 3)
    pbc = row.get("pbc", cell is not None)
    return Frame(
        where=where,
        numbers=_numbers(_one(row, _NUMBERS, where), where),
        positions=np.asarray(_one(row, _POSITIONS, where), dtype=float),
        cell=cell,
        pbc=np.broadcast_to(np.asarray(pbc, dtype=bool).reshape(-1), 3),
        **pick(_labels(row), keys, plan, where=where),
    )


def _one(row: dict[str, Any], names: tuple[str, ...], where: str) -> Any:
    """Return the only value under any of these names."""
    found = [name for name in names if name in row]
    if len(found) > 1:
        raise DataError(f"{where} holds {' and '.join(found)}, which could mean the same; keep one of them")
    if not found and names is not _CELL:
        raise DataError(f"{where} holds {', '.join(map(str, row))[:200]}, but none of {', '.join(names)}; check it")
    return row[found[0]] if found else None


def _numbers(value: Any, where: str) -> NDArray[Any]:
    numbers = np.asarray(value)
    if numbers.dtype.kind in "SUO":
        numbers = np.array([as_text(symbol) for symbol in numbers.reshape(-1).tolist()])
    return atomic_numbers(numbers, where)
