"""Which format a file has, by its content: magic bytes and layout; its name does not count."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers import IMPORTERS
from mlff_distiller.data.importers.lmdb_file import opened

_LMDB_MAGIC: Final = bytes.fromhex("dec0efbe")
_N_BYTES: Final = 64


def detect(path: Path) -> str:
    r"""Return the name of the format of a file or directory.

    Raises
    ------
    DataError
        If there is nothing, or its format is not known; the message names ``--format`` and all formats.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "water.dat")
    >>> _ = file.write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    >>> detect(file)
    'extxyz'
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; check the path of the data")
    try:
        name = _directory(path) if path.is_dir() else _file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); check the file") from error
    if name is None:
        raise DataError(
            f"{path} is of no format that is recognized by its content; name it with --format "
            f"({', '.join(IMPORTERS.names())})"
        )
    return name


def _directory(path: Path) -> str | None:
    if any(path.glob("type.raw")) or any(path.glob("*/type.raw")) or any(path.glob("*/*/type.raw")):
        return "deepmd"
    if any(path.glob("*.aselmdb")):
        return "aselmdb"
    return "lmdb" if (path / "data.mdb").is_file() or any(path.glob("*.lmdb")) else None


def _file(path: Path) -> str | None:
    with path.open("rb") as handle:
        head = handle.read(_N_BYTES)
    if head.startswith(b"SQLite format 3\0"):
        return "ase-db"
    if head.startswith(b"- of UlmASE-Trajectory"):
        return "traj"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _hdf5(path)
    if head[16:20] in (_LMDB_MAGIC, _LMDB_MAGIC[::-1]):
        return _lmdb(path)
    if zipfile.is_zipfile(path):
        return _zip(path)
    return "extxyz" if _begins_with_count(head) else None


def _zip(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        return "npz" if any(name.endswith(".npy") for name in archive.namelist()) else None


def _begins_with_count(head: bytes) -> bool:
    first = head.lstrip().split(b"\n")[0].strip()
    return first.isdigit()


def _hdf5(path: Path) -> str | None:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if any(name.startswith("config_batch_") for name in file):
                return "mace-hdf5"
            names = _leaf(file)
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(f"{path} cannot be read as HDF5 ({error}); it is damaged: restore it from a copy") from error
    return next((name for name, fits in _LAYOUTS.items() if fits(names)), None)


def _leaf(file: Any) -> set[str]:
    """Return the names of the data sets of the first group that holds data sets."""
    import h5py

    group = file
    while True:
        name = next(iter(group), None)  # by name: to list the groups of a large file opens all of them
        child = None if name is None else group[name]
        if not isinstance(child, h5py.Group):
            return set(group)
        group = child


_LAYOUTS: Final[dict[str, Callable[[set[str]], bool]]] = {
    "spice": lambda names: any(
        pair <= names
        for pair in (
            {"atomic_numbers", "conformations"},
            {"atomic_numbers", "positions"},
            {"atomic_numbers", "geometry"},
            {"elements", "positions"},
        )
    ),
    "ani": lambda names: bool({"species", "numbers", "atomic_numbers"} & names and {"coordinates", "coord"} & names),
}


def _lmdb(path: Path) -> str | None:
    """Tell ASE's databases from others by ASE's own key."""
    with opened(path) as file:
        return "aselmdb" if any(entry.key == b"nextid" for entry in file.entries()) else "lmdb"
