"""Export to npz in the form of sGDML (``z, R, E, F``), in eV and Angstrom: many frames of one molecule."""

import json
import zipfile
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labels import FIXED, shape
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.blocks import blocks
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.exporters.target import Indices, without, write_new
from mlff_distiller.data.source import Source

Array = NDArray[Any]

_KEYS: Final = {name: name for name in FIXED} | {"energy": "E", "forces": "F"}


class _Common(NamedTuple):
    """What all frames share, without which the form cannot hold them."""

    numbers: Array
    cell: Array
    pbc: Array
    properties: tuple[str, ...]


class _Series(NamedTuple):
    """An array with a row for each frame: the column it comes from, the shape of a row, and its type."""

    column: str
    shape: tuple[int, ...]
    dtype: str


def write(source: Source, rows: Indices | None, path: Path, *, overwrite: bool = False) -> None:
    """Write frames of one molecule to a npz file.

    ``z`` (N,), ``R`` (M, N, 3), ``E`` (M,), ``F`` (M, N, 3), ``charge`` and ``spin`` (M,), for crystals ``lattice``
    (3, 3) with its vectors as columns, which is sGDML's way; further, where they are there, ``stress`` (M, 3, 3),
    ``atomic_energies`` (M, N), ``energy_std`` (M,), ``force_std`` (M, N) and the free information as JSON, ``info``
    (M,). ``r_unit`` is "Angstrom", ``e_unit`` "eV", ``stress_unit`` "eV/Angstrom^3"; forces are in e_unit/r_unit. The
    box around a molecule is left out.

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
        If the frames differ in elements, order of atoms, cell or in the labels they have, there are none, or the file
        exists.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.atoms.labels import Labels
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> path = Path(tempfile.mkdtemp(), "h.npz")
    >>> write(pack([0], [Structure([1], [[0, 0, 0]])], [Labels(energy=-13.6)]), None, path)
    >>> with np.load(path) as arrays:
    ...     print(sorted(arrays), arrays["E"], arrays["e_unit"])
    ['E', 'R', 'charge', 'e_unit', 'r_unit', 'spin', 'z'] [-13.6] eV
    """
    wanted = np.arange(len(source), dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)
    common, info_width = _common(source, wanted)

    def fill(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w") as archive:
            for key, array in _constants(common).items():
                with archive.open(f"{key}.npy", "w") as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            for key, series in _series(common, info_width).items():
                _write_series(archive, key, series, source, wanted)

    write_new(path, fill, overwrite=overwrite)


def _common(source: Source, rows: Indices) -> tuple[_Common, int]:
    """Return what all frames share, and the length of the longest information."""
    first: _Common | None = None
    width = 0
    for _, columns in blocks(source, rows):
        for row in range(len(columns)):
            structure, labels = columns.structure(row), columns.labels(row)
            cell = structure.cell * structure.pbc.any()  # the box around a molecule means nothing
            found = _Common(structure.numbers, cell, structure.pbc, labels.only(FIXED).present)
            first = first or found
            _compare(first, found)
            width = max(width, len(_json(structure.info)))
    if first is None:
        raise DataError("there are no structures to export; choose some")
    return first, width


def _compare(first: _Common, other: _Common) -> None:
    differing = {
        "elements or their order": not np.array_equal(first.numbers, other.numbers),
        "cells": not (np.array_equal(first.cell, other.cell) and np.array_equal(first.pbc, other.pbc)),
        "labels": first.properties != other.properties,
    }
    for what, differs in differing.items():
        if differs:
            raise DataError(
                f"the structures differ in their {what}, but a npz file holds frames of one molecule with the same "
                "labels; choose such structures, or export to extxyz"
            )
    if first.pbc.any() and not first.pbc.all():
        raise DataError("a npz file knows molecules and crystals, not slabs; export to extxyz")


def _constants(common: _Common) -> dict[str, Any]:
    constants: dict[str, Any] = {"z": common.numbers.astype(np.uint8), "r_unit": "Angstrom", "e_unit": "eV"}
    if common.pbc.all():
        constants["lattice"] = common.cell.T
    if "stress" in common.properties:
        constants |= {"stress_unit": "eV/Angstrom^3", "stress_sign": "tension-positive"}
    return constants


def _series(common: _Common, info_width: int) -> dict[str, _Series]:
    n = len(common.numbers)
    labels = [name for name in FIXED if name in common.properties]
    series = {"R": _Series("positions", (n, 3), "<f8")}
    series |= {_KEYS[name]: _Series(name, shape(name, n), "<f8") for name in labels}
    series |= {name: _Series(name, (), "<i8") for name in ("charge", "spin")}
    if info_width > len(_json({})):
        series["info"] = _Series("info", (), f"<U{info_width}")
    return series


def _content(columns: Columns, column: str) -> Any:
    if column == "info":
        return [_json(columns.info(row)) for row in range(len(columns))]
    return columns.arrays[column]


def _write_series(archive: zipfile.ZipFile, key: str, series: _Series, source: Source, rows: Indices) -> None:
    """Write one array piece by piece, so that it need not fit into memory."""
    dtype = np.dtype(series.dtype)
    with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (len(rows), *series.shape),
        }
        np.lib.format.write_array_header_1_0(member, header)
        for _, columns in blocks(source, rows):
            member.write(np.ascontiguousarray(_content(columns, series.column), dtype=dtype).tobytes())


def _json(info: dict[str, Any]) -> str:
    return json.dumps(without(info), separators=(",", ":"))
