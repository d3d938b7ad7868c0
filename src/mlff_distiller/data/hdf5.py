"""HDF5 files of flat arrays: written whole, deterministic to the byte, read by a few array reads."""

import uuid
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_bytes
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.schema import BITS, COLUMNS, FORMAT, VERSION, present


def write_columns(path: Path, columns: Columns) -> None:
    """Write columns to an HDF5 file, atomically and durably.

    The same columns always give the same bytes: no times are stored.

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
    image = _image(columns)
    write_bytes(path, image)


def read_columns(path: Path) -> Columns:
    """Read columns from an HDF5 file.

    Raises
    ------
    DataError
        If the file is missing, is not HDF5, or does not hold what the format promises.
    """
    try:
        with h5py.File(path, "r") as file:
            columns = Columns({c.name: file[c.name][()] for c in COLUMNS if c.name in file})
    except (OSError, KeyError, RuntimeError) as error:
        raise DataError(
            f"{path} cannot be read as HDF5 ({error}); restore it from a copy, or delete the data set and run again"
        ) from error
    _check(path, columns)
    return columns


def read_index(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids (S,) and numbers of atoms (S,) of a file, without reading the rest.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    try:
        with h5py.File(path, "r") as file:
            return file["ids"][()], np.diff(file["offsets"][()])
    except (OSError, KeyError, RuntimeError) as error:
        raise DataError(
            f"{path} cannot be read as HDF5 ({error}); restore it from a copy, or delete the data set and run again"
        ) from error


def _image(columns: Columns) -> bytes:
    """Return the bytes of the file, made in memory: a full disk then fails in a plain write, not inside HDF5."""
    with h5py.File(uuid.uuid4().hex, "w", driver="core", backing_store=False) as file:
        file.attrs["format"] = np.bytes_(FORMAT)
        file.attrs["version"] = np.int64(VERSION)
        for column in COLUMNS:
            if column.name in columns.arrays:
                file.create_dataset(column.name, data=columns.arrays[column.name], track_times=False)
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
    sizes = {"structure": len(columns), "offset": len(columns) + 1}
    sizes |= {"atom": int(arrays["offsets"][-1]), "byte": int(arrays["info_offsets"][-1])}
    for column in COLUMNS:
        expected = (sizes[column.axis], *column.shape)
        if column.name in arrays and arrays[column.name].shape != expected:
            raise DataError(
                f"{path}: {column.name} has shape {arrays[column.name].shape}, not {expected}; "
                "the file is damaged: restore it from a copy, or delete the data set and run again"
            )
