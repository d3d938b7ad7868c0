"""HDF5 files of strangers: opened, walked and read with what a damaged file may claim kept in bounds."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.registry import nearest
from mlff_distiller.data.importers.guard import translated

Array = NDArray[Any]

BLOCK: Final = 1024
"""Frames that are read at once."""

_DEPTH = 4
_EXPANSION = 2000  # no filter of HDF5 shrinks data more than this

_HEAP = b"GCOL\x01\0\0\0"

_UNIT_ATTRIBUTES = ("units", "unit", "u")
_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a file for reading.

    Raises
    ------
    DataError
        If it is missing, damaged or no HDF5.
    """
    import h5py

    with translated(path):
        if not path.is_file():
            raise DataError(f"{path} does not exist or is a directory; check the path")
        if not h5py.is_hdf5(path):
            raise DataError(f"{path} is no HDF5 file; check its format, or restore it from a copy")
        stat = path.stat()
        _check_heaps(path, stat.st_size, stat.st_mtime_ns)
        file = h5py.File(path, "r")
    with file:
        yield file


@lru_cache(maxsize=16)
def _check_heaps(path: Path, n_bytes: int, _modified_ns: int) -> None:
    """Refuse damaged heaps of texts, in which libhdf5 would go round for ever (seen with version 2.0).

    A heap is "GCOL", version 1, its size, and objects behind each other: number, references, size, content.
    """
    with path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as content:
        place = content.find(_HEAP)
        while place >= 0:
            end = place + int.from_bytes(content[place + 8 : place + 16], "little")
            at = place + 16
            while at + 16 <= end <= n_bytes:
                index, size = int.from_bytes(content[at : at + 2], "little"), content[at + 8 : at + 16]
                length = int.from_bytes(size, "little")
                at += 16 + -(-length // 8) * 8 if index else max(length, 16) if length else n_bytes
            if not place + 16 <= at <= end <= n_bytes:
                raise DataError(f"{path} is damaged (a heap of texts does not add up); restore it from a copy")
            place = content.find(_HEAP, place + len(_HEAP))


def groups(group: Any, *, depth: int = _DEPTH) -> Iterator[Any]:
    """Yield every group below one that holds data sets itself, in the order of names."""
    import h5py

    for name in group:
        child = group.get(name)
        if isinstance(child, h5py.Group) and depth:
            if any(isinstance(child.get(key), h5py.Dataset) for key in child):
                yield child
            else:
                yield from groups(child, depth=depth - 1)


def holds(group: Any, name: str | None) -> bool:
    """Whether a group has a data set or an attribute of this name."""
    import h5py

    return name is not None and (isinstance(group.get(name), h5py.Dataset) or name in group.attrs)


def names(group: Any) -> list[str]:
    """Return what a group holds: data sets and attributes, in alphabetical order."""
    return sorted({*group, *group.attrs})


def must_hold(group: Any, *asked: str | None) -> None:
    """Refuse names that the user asked for and a group does not have; None asks for nothing.

    Raises
    ------
    DataError
        If one is missing; the message names the nearest.
    """
    for name in asked:
        if name is not None and not holds(group, name):
            known = names(group)
            raise DataError(f"{where(group)} has no '{name}'{nearest(name, known)}; it has {', '.join(known)}")


def read(group: Any, name: str, rows: slice | None = None) -> Array:
    """Return a data set or attribute of a group, or some of its rows.

    Raises
    ------
    DataError
        If it holds neither numbers nor texts, or claims to be larger than its file can hold, as a damaged header may.
    """
    if name not in group:
        return np.asarray(_attribute(group, name))
    data = group[name]
    _check_type(data.dtype, where(data))
    if data.nbytes > _EXPANSION * data.file.id.get_filesize():
        raise DataError(
            f"{where(data)} claims {data.nbytes} bytes, more than the file can hold; restore it from a copy"
        )
    return np.asarray(data[()] if rows is None or not data.shape else data[rows])


def _attribute(node: Any, name: str) -> Any:
    _check_type(node.attrs.get_id(name).dtype, f"attribute '{name}' of {where(node)}")
    return node.attrs[name]


def _check_type(dtype: np.dtype[Any], what: str) -> None:
    """Refuse references and the like before libhdf5 follows them: in a damaged file it may never come back."""
    import h5py

    if dtype.kind not in "biufS" and h5py.check_string_dtype(dtype) is None:
        raise DataError(f"{what} holds {dtype}, neither numbers nor texts; check the file, or restore it from a copy")


def texts(group: Any, name: str) -> list[str]:
    """Return the texts of a data set or attribute.

    Examples
    --------
    >>> import h5py
    >>> with h5py.File("a.h5", "w", driver="core", backing_store=False) as file:
    ...     file["smiles"] = ["[Na+]"]
    ...     print(texts(file, "smiles"))
    ['[Na+]']
    """
    return [as_text(value) for value in read(group, name).reshape(-1).tolist()]


def as_text(value: Any) -> str:
    """Return bytes or text as text."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def unit(group: Any, name: str) -> tuple[str, str] | None:
    """Return the unit that a data set's own attribute states, and which attribute that is."""
    for attribute in _UNIT_ATTRIBUTES if name in group else ():
        if attribute in group[name].attrs:
            return as_text(_attribute(group[name], attribute)), f"attribute '{attribute}' of '{name}'"
    return None


def where(node: Any) -> str:
    """Return how an error message names a group or data set.

    Examples
    --------
    >>> import h5py
    >>> with h5py.File("a.h5", "w", driver="core", backing_store=False) as file:
    ...     print(where(file.create_group("water")))
    a.h5:/water
    """
    return f"{node.file.filename}:{node.name}"


def atomic_numbers(values: Array, place: str) -> Array:
    """Return atomic numbers, of symbols where the file holds symbols.

    Raises
    ------
    DataError
        If a symbol is not that of an element.

    Examples
    --------
    >>> atomic_numbers(np.array([b"O", b"H", b"H"]), "water").tolist()
    [8, 1, 1]
    """
    if values.dtype.kind not in "SUO":
        return values
    symbols = [as_text(value) for value in values.reshape(-1).tolist()]
    unknown = sorted({symbol for symbol in symbols if symbol not in _NUMBERS})
    if unknown:
        raise DataError(f"{place} names elements that do not exist ({', '.join(unknown[:3])}); check the file")
    return np.array([_NUMBERS[symbol] for symbol in symbols], dtype=np.int64).reshape(values.shape)
