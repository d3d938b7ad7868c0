"""The file that is written: whole or not there, never over another one unasked; and the structures that go into it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labeled import LabeledStructure
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_atomically
from mlff_distiller.data.blocks import blocks
from mlff_distiller.data.importers.declarations import is_declaration
from mlff_distiller.data.importers.keys import meaning
from mlff_distiller.data.source import Source

Indices = NDArray[np.int64]

UNITS: Final = {"energy": "eV", "forces": "eV/Angstrom", "stress": "eV/Angstrom^3"}
"""The units of every export."""


def write_new(path: Path, write: Callable[[Path], None], *, overwrite: bool) -> None:
    """Let ``write`` fill a file that appears under its name only when it is whole.

    Raises
    ------
    DataError
        If the file is there already and shall not be replaced, or is a directory.
    DistillerError
        If the directory cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "a.xyz")
    >>> write_new(path, lambda p: p.write_text("1") and None, overwrite=False)
    >>> write_new(path, lambda p: p.write_text("2") and None, overwrite=False)
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.DataError: ...a.xyz exists; choose another name, or replace it with --overwrite
    """
    if path.is_dir():
        raise DataError(f"{path} is a directory; give the name of a file")
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists; choose another name, or replace it with --overwrite")
    write_atomically(path, write)


def labeled(source: Source, rows: Indices | None) -> Iterator[LabeledStructure]:
    """Yield structures with their labels in the order of rows (all without); a block of them is held at a time.

    Raises
    ------
    DataError
        If there are none.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> columns = pack(range(2), [Structure([1], [[0, 0, 0]]), Structure([2], [[0, 0, 0]])])
    >>> [structure.formula for structure, _ in labeled(columns, np.array([1, 0]))]
    ['He', 'H']
    """
    count = 0
    for found, columns in blocks(source, rows):
        count += len(found)
        for row in range(len(columns)):
            yield LabeledStructure(columns.structure(row), columns.labels(row))
    if not count:
        raise DataError("there are no structures to export; choose some")


def without(info: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return free information that clashes with nothing: named as a label it is prefixed with ``info_``.

    What a former file declared of its units is left out, for an export states its own.

    Examples
    --------
    >>> without({"energy": 1, "molecule": "water", "energy_unit": "kcal/mol"}, "energy")
    {'info_energy': 1, 'molecule': 'water'}
    """
    free = {name: value for name, value in info.items() if not is_declaration(name)}
    return {f"info_{name}" if name in names or meaning(name) else name: value for name, value in free.items()}
