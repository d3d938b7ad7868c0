"""What a validation measured, on disk: numbers as JSON, arrays as npz, so that judging never re-runs anything.

The file of numbers is sealed by a digest of its content, which names that of the arrays: what was changed after it was
measured is refused.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.files import write_atomically, write_json
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.provenance import digest, file_digest

FORMAT: Final = "mlffd-measurements"
VERSION: Final = 2
MEASUREMENTS: Final = "measurements.json"
ARRAYS: Final = "arrays.npz"


def write_measurements(
    path: Path, measurements: Sequence[Measurement], *, skipped: Sequence[Skipped] = (), arrays: str = ""
) -> str:
    """Write measurements as valid JSON, atomically, and return the digest that seals them.

    "NaN" and "Infinity" become strings.

    Parameters
    ----------
    path : Path
        Where to.
    measurements : sequence of Measurement
        What was measured.
    skipped : sequence of Skipped
        What was not.
    arrays : str
        Digest of the file of arrays behind the numbers, if there is one.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "measurements.json"
    >>> seal = write_measurements(path, [Measurement("nve_drift", float("nan"), "eV/atom/ps")])
    >>> read_measurements(path)
    [Measurement(name='nve_drift', value=nan, unit='eV/atom/ps', ci95=None, n_samples=1, detail={})]
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "arrays": arrays,
        "measurements": [encoded(measurement.to_json()) for measurement in measurements],
        "skipped": [vars(one) for one in skipped],
    }
    seal = digest(json.loads(json.dumps(content)))  # as it is read again: JSON makes words of keys
    write_json(path, {**content, "digest": seal})
    return seal


def read_measurements(path: Path) -> list[Measurement]:
    """Return the measurements that :func:`write_measurements` wrote; those of version 1 have no seal.

    Raises
    ------
    DataError
        If the file is missing, is something else, is damaged, was changed or was written by a newer release.
    """
    return list(_evidence(path, _read(path)).measurements)


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a file of measurements, its seal unbroken."""
    if not path.is_file():
        raise DataError(f"{path} does not exist; validate the students first with `mlffd validate`")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        found, version = value["format"], int(value["version"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} holds no measurements or is damaged ({error}); validate again") from error
    if found != FORMAT:
        raise DataError(f"{path} holds no measurements of mlffd; give the measurements.json of a run directory")
    if version > VERSION:
        raise DataError(f"{path} has format version {version}, this release reads up to {VERSION}; install a newer one")
    if version > 1 and value.get("digest") != digest({key: x for key, x in value.items() if key != "digest"}):
        raise _changed(path)
    return dict(value)


def _evidence(path: Path, value: dict[str, Any]) -> Evidence:
    try:
        measured = [Measurement.from_json(decoded(plain)) for plain in value["measurements"]]
        return Evidence(measured, [Skipped(**plain) for plain in value.get("skipped", [])])
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} holds no measurements or is damaged ({error}); validate again") from error


def _changed(path: Path) -> DataError:
    return DataError(f"{path} was changed after it was measured; delete {path.parent} and validate again")


def write_evidence(folder: Path, evidence: Evidence) -> str:
    """Write the evidence of one check to a folder, and return the digest that seals it.

    The arrays come first, so that numbers never lack what is behind them.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "nve"
    >>> found = Evidence([Measurement("nve_stability", 1.0, "")], arrays={"times_ps": np.zeros(3)})
    >>> seal = write_evidence(folder, found)
    >>> read_evidence(folder).arrays["times_ps"].shape, evidence_digest(folder) == seal
    ((3,), True)
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.savez_compressed(handle, **evidence.arrays)  # type: ignore[arg-type] # numpy types **kwds as its options

    write_atomically(folder / ARRAYS, write)
    arrays = file_digest(folder / ARRAYS)
    return write_measurements(folder / MEASUREMENTS, evidence.measurements, skipped=evidence.skipped, arrays=arrays)


def read_evidence(folder: Path) -> Evidence:
    """Return the evidence that :func:`write_evidence` wrote.

    Raises
    ------
    DataError
        If a file is missing or damaged, is something else, was changed after it was measured, or was written by
        another release without a seal.
    """
    path = folder / ARRAYS
    measured = _evidence(folder / MEASUREMENTS, _sealed(folder))
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            return replace(measured, arrays=dict(arrays))
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise DataError(f"{path} is damaged ({error}); delete {folder} and validate again") from error


def evidence_digest(folder: Path) -> str:
    """Return the digest that seals the evidence of one check, after a look at whether it holds.

    Raises
    ------
    DataError
        As :func:`read_evidence`.
    """
    return str(_sealed(folder)["digest"])


def _sealed(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's file of measurements, if it and the arrays are as they were measured."""
    value, path = _read(folder / MEASUREMENTS), folder / ARRAYS
    if value["version"] < VERSION:
        raise DataError(f"{folder / MEASUREMENTS} is of an older release and has no seal; validate again")
    if not path.is_file():
        raise DataError(f"{path} does not exist; delete {folder} and validate again")
    if file_digest(path) != value["arrays"]:
        raise _changed(path)
    return value


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
