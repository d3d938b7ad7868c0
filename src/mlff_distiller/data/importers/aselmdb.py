"""ASE databases in LMDB (``.aselmdb``, of ase-db-backends): ids as keys, zlib-compressed JSON rows as values."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mlff_distiller.data.importers import lmdb_file
from mlff_distiller.data.importers.ase_db import AseDbReader
from mlff_distiller.data.importers.guard import translated
from mlff_distiller.data.importers.lmdb import count, inflate, metadata, structures
from mlff_distiller.data.importers.lmdb_file import LmdbFile


class AselmdbReader(AseDbReader):
    """Reader of an ``.aselmdb`` file; names and units are settled as for any ASE database.

    Parameters
    ----------
    path : Path
        The file.
    plan : ImportPlan
        Names of the labels, where the user gave them.

    Raises
    ------
    DataError
        If the file is no LMDB file of rows, damaged or empty, or names are ambiguous.
    """

    def _connect(self) -> Any:
        return AselmdbRows(self._path)


class AselmdbRows:
    """The rows of an ``.aselmdb`` file, as an ASE database gives them (``metadata``, ``len``, ``select``).

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "AselmdbRows":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held open between rows."""

    def __len__(self) -> int:
        with lmdb_file.opened(self._path) as file:
            return count(file)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the writer said about the database."""
        with lmdb_file.opened(self._path) as file:
            return metadata(file)

    def select(self, *, include_data: bool = True) -> Iterator[Any]:
        """Yield all rows in the order of their ids."""
        with lmdb_file.opened(self._path) as file:
            for entry in structures(file):
                with translated(f"{self._path}, row {entry.key.decode('ascii', 'replace')}"):
                    row = _row(file, entry.key, file.value(entry))
                yield row


def _row(file: LmdbFile, key: bytes, value: bytes) -> Any:
    from ase.calculators.calculator import all_properties
    from ase.db.row import AtomsRow
    from ase.io.jsonio import decode

    content = decode(inflate(value, f"row {key!r}").decode("utf-8"))
    content |= {name: np.asarray(content[name]) for name in all_properties if isinstance(content.get(name), list)}
    return AtomsRow({**content, "id": int(key)})
