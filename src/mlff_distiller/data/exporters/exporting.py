"""Exporting: one call for every format."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.exporters import EXPORTERS
from mlff_distiller.data.source import Source

_ENDINGS = {".xyz": "extxyz", ".extxyz": "extxyz", ".db": "ase-db", ".aselmdb": "aselmdb", ".npz": "npz"}


def export_data(
    source: Source,
    path: Path,
    *,
    format_name: str = "auto",
    rows: NDArray[np.int64] | None = None,
    overwrite: bool = False,
) -> None:
    """Write structures and labels to a file that other programs read.

    Hessian rows and embeddings are left out: no such format knows them.

    Parameters
    ----------
    source : Source
        A store or columns.
    path : Path
        The file.
    format_name : str
        A name in ``EXPORTERS``; "auto" goes by the ending of the file.
    rows : (R,) int64, optional
        Which structures, in which order; all of them unless said.
    overwrite : bool
        Replace the file if it exists.

    Raises
    ------
    DataError
        If the file exists, its ending tells no format, or the format cannot hold these structures.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> file = Path(tempfile.mkdtemp(), "h.xyz")
    >>> export_data(pack([0], [Structure([1], [[0, 0, 0]])]), file)
    >>> file.read_text().splitlines()[0]
    '1'
    """
    name = _ENDINGS.get(path.suffix.lower(), "") if format_name == "auto" else format_name
    if not name:
        raise DataError(
            f"the ending '{path.suffix}' of {path} tells no format; "
            f"give --format, one of {', '.join(EXPORTERS.names())}"
        )
    EXPORTERS.get(name)(source, rows, path, overwrite=overwrite)
