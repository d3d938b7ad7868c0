"""HDF5 files of flat arrays: written whole, deterministic to the byte, read by a few array reads."""

import json
import math
import mmap
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labels import Widths, widths_of
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_bytes
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.schema import BITS, COLUMNS, FORMAT, VERSION, present

REPAIR = "restore it from a copy, or save the rest with `mlffd data repair`"
"""What the owner of a damaged file can do."""

ALIGNMENT = 64
"""Arrays begin at multiples of this many bytes, so that mapped memory is aligned for every type."""


def write_columns(
    path: Path, columns: Columns, *, identity: dict[str, str] | None = None, compressed: bool = False
) -> None:
    """Write columns to an HDF5 file, atomically and durably.

    The same columns always give the same bytes: no times are stored.

    Parameters
    ----------
    path : Path
        The file.
    columns : Columns
        What to write.
    identity : dict, optional
        The potential that made the labels; the file says so itself, should it ever lie alone.
    compressed : bool
        Compress (gzip); such a file is read whole, not mapped into memory.

    Raises
    ------
    DistillerError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> path = Path(tempfile.mkdtemp(), "000000.h5")
    >>> write_columns(path, pack([0], [Structure([1], [[0, 0, 0]])]))
    >>> read_columns(path).structure(0).formula
    'H'
    """
    write_bytes(path, _image(columns, identity, compressed))


def read_columns(path: Path) -> Columns:
    """Read columns from an HDF5 file.

    Raises
    ------
    DataError
        If the file is missing, is not HDF5, or does not hold what the format promises.
    """
    with _opened(path) as file:
        columns = Columns({name: file[name][()] for name in _names(file)})
    _check(path, columns)
    return columns


@dataclass(frozen=True)
class Layout:
    """Where the arrays of a shard lie in its file.

    Attributes
    ----------
    places : dict
        Where each array begins, in bytes; empty for a compressed file.
    is_contiguous : bool
        Whether arrays may be read in part at their places.
    widths : Widths
        Directions in which Hessians are known, and features of embeddings, if any.
    inode : int
        Which file it was; another one under its name has another layout.
    """

    places: dict[str, int]
    is_contiguous: bool
    widths: Widths
    inode: int


def read_layout(path: Path) -> Layout:
    """Return where the arrays of a shard lie.

    Raises
    ------
    DataError
        If the file is missing, is not HDF5, or does not hold what the format promises.
    """
    inode = path.stat().st_ino if path.exists() else 0
    with _opened(path) as file:
        arrays = {name: file[name] for name in _names(file)}
        _check_types(path, {name: array.dtype for name, array in arrays.items()})
        places = {name: (array.id.get_offset(), array.size) for name, array in arrays.items()}
        widths = widths_of(file)
    is_contiguous = all(place is not None or not size for place, size in places.values())
    return Layout({name: place or 0 for name, (place, _) in places.items()}, is_contiguous, widths, inode)


def map_columns(path: Path) -> tuple[Columns, Callable[[], None]]:
    """Map the columns of an HDF5 file into memory, or read them where its layout cannot be mapped.

    Returns
    -------
    Columns
        Read-only arrays over the bytes of the file; nothing is read before it is asked for.
    callable
        Gives the mapped pages back to the system; they are mapped again when asked for.

    Raises
    ------
    DataError
        If the file is missing, is not HDF5, or does not hold what the format promises.
    """
    with _opened(path) as file:
        places = {name: (file[name].id.get_offset(), file[name].dtype, file[name].shape) for name in _names(file)}
    if any(place is None and math.prod(shape) for place, _, shape in places.values()):
        return read_columns(path), lambda: None
    with path.open("rb") as handle:
        view = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    if any((place or 0) + math.prod(shape) * dtype.itemsize > len(view) for place, dtype, shape in places.values()):
        raise DataError(f"{path} is cut short; {REPAIR}")
    columns = Columns({name: _mapped(view, *place) for name, place in places.items()})
    _check(path, columns)
    return columns, partial(_release, view)


def read_index(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids (S,) and numbers of atoms (S,) of a file, without reading the rest.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    with _opened(path) as file:
        return file["ids"][()], np.diff(file["offsets"][()])


def read_widths(path: Path) -> Widths:
    """Return in how many directions the Hessians of a file are known, and how many features it has, if any.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    with _opened(path) as file:
        return widths_of(file)


def read_identity(path: Path) -> dict[str, str] | None:
    """Return the potential that made the labels of a file, as the file itself says.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    with _opened(path) as file:
        identity: dict[str, str] | None = json.loads(file.attrs.get("identity", "null"))
    return identity


def _release(view: mmap.mmap) -> None:
    if hasattr(mmap, "MADV_DONTNEED"):
        view.madvise(mmap.MADV_DONTNEED)


def _mapped(view: mmap.mmap, place: int | None, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    if place is None:  # an empty array has no place in the file
        return np.empty(shape, dtype=dtype)
    return np.frombuffer(view, dtype=dtype, count=math.prod(shape), offset=place).reshape(shape)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file for reading; whatever h5py finds wrong is one sentence."""
    if not path.exists():
        raise DataError(f"{path} is missing; {REPAIR}")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read as HDF5 ({error}); {REPAIR}") from error


def _names(file: Any) -> list[str]:
    return [column.name for column in COLUMNS if column.name in file]


def _image(columns: Columns, identity: dict[str, str] | None, compressed: bool) -> bytes:
    """Return the bytes of the file, made in memory: a full disk then fails in a plain write, not inside HDF5."""
    aligned = {"alignment_threshold": ALIGNMENT, "alignment_interval": ALIGNMENT}
    with h5py.File(uuid.uuid4().hex, "w", driver="core", backing_store=False, **aligned) as file:
        file.attrs["format"] = np.bytes_(FORMAT)
        file.attrs["version"] = np.int64(VERSION)
        file.attrs["identity"] = np.bytes_(json.dumps(identity))
        for column in COLUMNS:
            if column.name in columns.arrays:
                array = columns.arrays[column.name]
                packing = {"compression": "gzip", "shuffle": True} if compressed and array.size else {}
                file.create_dataset(column.name, data=array, track_times=False, **packing)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _check(path: Path, columns: Columns) -> None:
    arrays = columns.arrays
    needed = [c.name for c in COLUMNS if c.name not in BITS]
    union = int(np.bitwise_or.reduce(arrays["mask"], initial=0)) if "mask" in arrays else 0
    missing = [name for name in (*needed, *present(union)) if name not in arrays]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}; it is no shard of format {FORMAT}")
    _check_types(path, {name: array.dtype for name, array in arrays.items()})
    for name, least in (("offsets", 1), ("info_offsets", 0)):
        offsets = arrays[name]
        if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or (np.diff(offsets) < least).any():
            raise DataError(f"{path}: {name} do not ascend from 0; the file is damaged: {REPAIR}")
    sizes = {"structure": len(columns), "offset": len(columns) + 1}
    sizes |= {"atom": int(arrays["offsets"][-1]), "byte": int(arrays["info_offsets"][-1])}
    for column in COLUMNS:
        expected = (sizes[column.axis], *column.inner(columns.widths))
        if column.name in arrays and arrays[column.name].shape != expected:
            raise DataError(
                f"{path}: {column.name} has shape {arrays[column.name].shape}, not {expected}; the file is damaged: "
                f"{REPAIR}"
            )


def _check_types(path: Path, types: dict[str, Any]) -> None:
    for column in COLUMNS:
        if column.name in types and types[column.name] != np.dtype(column.dtype):
            raise DataError(
                f"{path}: {column.name} is of type {types[column.name]}, not {np.dtype(column.dtype)}; it is no shard "
                f"of format {FORMAT}"
            )
