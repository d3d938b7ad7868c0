"""What a validation measured, on disk: numbers as JSON, arrays as npz, so that judging never re-runs anything."""

import json
from collections.abc import Sequence
from dataclasses import fields
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_atomically, write_json
from mlff_distiller.core.measurement import Measurement

FORMAT = "mlffd-measurements"
VERSION = 1
R = TypeVar("R")


def write_measurements(path: Path, measurements: Sequence[Measurement]) -> None:
    """Write measurements as valid JSON, atomically; "NaN" and "Infinity" become strings.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "measurements.json"
    >>> write_measurements(path, [Measurement("nve_drift", float("nan"), "eV/atom/ps")])
    >>> read_measurements(path)
    [Measurement(name='nve_drift', value=nan, unit='eV/atom/ps', ci95=None, n_samples=1, detail={})]
    """
    plain = [encoded(measurement.to_json()) for measurement in measurements]
    write_json(path, {"format": FORMAT, "version": VERSION, "measurements": plain})


def read_measurements(path: Path) -> list[Measurement]:
    """Return the measurements that :func:`write_measurements` wrote.

    Raises
    ------
    DataError
        If the file is missing, is something else, is damaged or was written by a newer release.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; validate the students first with `mlffd validate`")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        found, version = value["format"], value["version"]
        if found == FORMAT and version <= VERSION:
            return [Measurement.from_json(decoded(plain)) for plain in value["measurements"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} holds no measurements or is damaged ({error}); validate again") from error
    if found != FORMAT:
        raise DataError(f"{path} holds no measurements of mlffd; give the measurements.json of a run directory")
    raise DataError(f"{path} has format version {version}, this release reads up to {VERSION}; install a newer one")


def write_arrays(path: Path, record: Any) -> None:
    """Write a record of arrays (a Parity or an NVERecord) to one npz file, atomically."""
    arrays = {field.name: np.asarray(getattr(record, field.name)) for field in fields(record)}

    def write(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.savez_compressed(handle, **arrays)  # type: ignore[arg-type] # numpy types **kwds as its own options

    write_atomically(path, write)


def read_arrays(path: Path, cls: type[R]) -> R:
    """Return the record of arrays that :func:`write_arrays` wrote.

    Raises
    ------
    DataError
        If the file is missing or damaged.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.validation.checks.nve_drift import NVERecord
    >>> path = Path(tempfile.mkdtemp()) / "nve.npz"
    >>> one = np.ones((1, 1))
    >>> write_arrays(path, NVERecord(np.array(["H2"]), np.array([2]), one[0], one, one, one, one[0], np.array([""])))
    >>> read_arrays(path, NVERecord).names
    ['H2']
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; validate the students first with `mlffd validate`")
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            return cls(**arrays)
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and validate again") from error


def encoded(value: Any) -> Any:
    """Return plain data in which numbers that are not finite are strings, as JSON needs it."""
    if isinstance(value, dict):
        return {key: encoded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(inner) for inner in value]
    return value if not isinstance(value, float) or isfinite(value) else str(value)


def decoded(value: Any) -> Any:
    """Return the data that :func:`encoded` made plain."""
    if isinstance(value, dict):
        return {key: decoded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [decoded(inner) for inner in value]
    return float(value) if value in ("nan", "inf", "-inf") else value
