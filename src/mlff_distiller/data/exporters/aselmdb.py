"""Export to an ASE database in LMDB, the ``.aselmdb`` of ase-db-backends."""

import zlib
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlff_distiller.atoms.labeled import LabeledStructure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.exporters.ase_db import METADATA, data, failing_as_os_error, with_results
from mlff_distiller.data.exporters.target import Indices, labeled, write_new
from mlff_distiller.data.source import Source

_LARGEST: Final = 1 << 40  # bytes of address space, not of disk
_PER_TRANSACTION: Final = 1000


def write(source: Source, rows: Indices | None, path: Path, *, overwrite: bool = False) -> None:
    """Write structures and labels to an ``.aselmdb`` file; as :func:`~mlff_distiller.data.exporters.ase_db.write`.

    Parameters
    ----------
    source : Source
        A store or columns.
    rows : (R,) int64 or None
        Which structures, in which order; None for all.
    path : Path
        The file.
    overwrite : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    DataError
        If there is nothing to write, the file exists, or the package lmdb is missing.
    """
    try:
        import lmdb
    except ImportError:
        raise DataError('writing .aselmdb files needs the package lmdb; pip install "mlff-distiller[lmdb]"') from None

    def fill(temporary: Path) -> None:
        with failing_as_os_error(lmdb.Error):
            environment = lmdb.open(str(temporary), subdir=False, map_size=_LARGEST, lock=False, sync=False)
            try:
                _write_rows(environment, source, rows)
            finally:
                environment.close()

    write_new(path, fill, overwrite=overwrite)


def _write_rows(environment: Any, source: Source, rows: Indices | None) -> None:
    items = labeled(source, rows)
    with environment.begin(write=True) as transaction:
        transaction.put(b"metadata", _encoded(METADATA))
    for first in count(1, _PER_TRANSACTION):
        with environment.begin(write=True) as transaction:
            number = first
            for number, item in zip(range(first, first + _PER_TRANSACTION), items, strict=False):
                transaction.put(str(number).encode(), _encoded(_row(item)))
                transaction.put(b"nextid", _encoded(number + 1))
        if number < first + _PER_TRANSACTION - 1:
            return


def _row(item: LabeledStructure) -> dict[str, Any]:
    """Return a row as ase-db-backends stores it."""
    from ase.db.row import AtomsRow

    row = AtomsRow(with_results(item))
    content = {name: value for name, value in vars(row).items() if not name.startswith("_") and name not in row._keys}
    content.pop("id", None)
    return {**content, "cell": np.asarray(row.cell), "ctime": 0.0, "mtime": 0.0, "user": "", "data": data(item)}


def _encoded(value: Any) -> bytes:
    from ase.io.jsonio import encode

    return zlib.compress(encode(value).encode("utf-8"))
