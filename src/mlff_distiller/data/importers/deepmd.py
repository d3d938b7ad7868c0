"""DeePMD-kit's npy directories: systems with ``type.raw`` and ``set.*/{coord,energy,force,virial,box}.npy``.

Units by definition (https://docs.deepmodeling.com/projects/deepmd/en/stable/data/system.html): Angstrom, eV,
eV/Angstrom, virials in eV. The virial is minus the stress times the volume in ASE's sign, as dpdata's ASE plugin
(``dpdata/plugins/ase.py``) converts it both ways.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers.frame import Declared, Frame, Quantity
from mlff_distiller.data.importers.guard import guarded, translated
from mlff_distiller.data.importers.hdf5 import atomic_numbers
from mlff_distiller.data.importers.npz import read_npy_header
from mlff_distiller.data.importers.plan import ImportPlan

Array = NDArray[Any]

_WHY = "definition of DeePMD-kit's data"
_UNITS: Final[dict[Quantity, Declared]] = {
    "length": Declared("Angstrom", _WHY),
    "energy": Declared("eV", _WHY),
    "forces": Declared("eV/Angstrom", _WHY),
    "virial": Declared("eV", _WHY),
}
_FILES: Final = {"energy": "energy", "forces": "force", "virial": "virial", "atomic_energies": "atom_ener"}


@dataclass(frozen=True)
class _System:
    """One system's directory: the types of its atoms, its elements and its sets."""

    path: Path
    types: Array
    elements: Array
    is_periodic: bool
    sets: list[Path]


class DeepmdReader:
    """Reader of one system, or of all systems below a directory; standard and mixed type.

    Parameters
    ----------
    path : Path
        Directory of a system (with ``type.raw``), or of directories of systems.
    plan : ImportPlan
        ``forces_are_gradients``; the names of the files are fixed.

    Attributes
    ----------
    units : dict
        By DeePMD-kit's definition.
    n_frames : int
        Frames in all sets.

    Raises
    ------
    DataError
        If there is no system, elements are not named (``type_map.raw``), or a file is damaged.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp())
    >>> (path / "set.000").mkdir()
    >>> for name, text in (("type.raw", "0"), ("type_map.raw", "He"), ("nopbc", "")):
    ...     _ = (path / name).write_text(text)
    >>> np.save(path / "set.000" / "coord.npy", np.zeros((2, 3)))
    >>> np.save(path / "set.000" / "energy.npy", [-79.0, -79.0])
    >>> [frame.numbers.tolist() for frame in DeepmdReader(path, ImportPlan()).frames()]
    [[2], [2]]
    """

    def __init__(self, path: Path, plan: ImportPlan) -> None:
        self.path, self._plan = path, plan
        self.units = dict(_UNITS)
        with translated(path):
            if not path.is_dir():
                raise DataError(f"{path} is not a directory; give the directory of a DeePMD-kit system")
            self._systems = [_system(Path(folder)) for folder, _, files in sorted(os.walk(path)) if "type.raw" in files]
            if not self._systems:
                raise DataError(f"{path} has no type.raw in it or below it; give the directory of a DeePMD-kit system")
            self.n_frames: int | None = sum(len(_open(s, "coord")) for system in self._systems for s in system.sets)

    def frames(self) -> Iterator[Frame]:
        """Yield all frames, system by system and set by set."""
        return guarded(self._frames(), self.path)

    def _frames(self) -> Iterator[Frame]:
        for system in self._systems:
            for folder in system.sets:
                yield from _frames(system, folder, self._plan)


def _system(path: Path) -> _System:
    sets = sorted(p for p in path.glob("set.*") if p.is_dir())
    if not sets:
        raise DataError(f"{path} has no set.* directories; convert its .raw files with dpdata to deepmd/npy")
    if not (path / "type_map.raw").is_file():
        raise DataError(
            f"{path} has no type_map.raw, so its elements are unknown; write one with a symbol in each line"
        )
    symbols = np.array((path / "type_map.raw").read_text(encoding="utf-8").split())
    types = np.array((path / "type.raw").read_text(encoding="utf-8").split(), dtype=np.int64)
    return _System(
        path, types, atomic_numbers(symbols, str(path / "type_map.raw")), not (path / "nopbc").exists(), sets
    )


def _frames(system: _System, folder: Path, plan: ImportPlan) -> Iterator[Frame]:
    n = len(system.types)
    coord = _rows(folder, "coord", None, 3 * n)
    m = len(coord)
    box = _rows(folder, "box", m, 9) if system.is_periodic else None
    if system.is_periodic and box is None:
        raise DataError(f"{folder} has no box.npy and {system.path} no file nopbc; add the one that is true")
    widths = {"energy": 1, "forces": 3 * n, "virial": 9, "atomic_energies": n}
    labels = {name: rows for name, file in _FILES.items() if (rows := _rows(folder, file, m, widths[name])) is not None}
    if plan.forces_are_gradients and "forces" in labels:
        labels["forces"] = -labels["forces"]
    real_types = _rows(folder, "real_atom_types", m, n)
    for i in range(m):
        types = system.types if real_types is None else np.asarray(real_types[i], dtype=np.int64)
        real = types >= 0  # the mixed form pads smaller systems with type -1
        if (types >= len(system.elements)).any() or not real.any():
            raise DataError(f"{folder}, frame {i} has atom types that type_map.raw does not name; check both")
        yield Frame(
            where=f"{folder}, frame {i}",
            numbers=system.elements[types[real]],
            positions=np.array(coord[i]).reshape(n, 3)[real],
            cell=None if box is None else np.array(box[i]).reshape(3, 3),
            pbc=np.full(3, system.is_periodic),
            values={name: _value(name, np.array(rows[i]), real) for name, rows in labels.items()},
            info={"system": system.path.name, "set": folder.name},
        )


def _value(name: str, row: Array, real: NDArray[np.bool_]) -> Array:
    if name == "energy":
        return row.reshape(())
    if name == "virial":
        return row.reshape(3, 3)
    return row.reshape(len(real), -1)[real] if name == "forces" else row[real]


def _rows(folder: Path, name: str, m: int | None, width: int) -> Any:
    """Return the rows of one file, mapped from disk; None where it is missing."""
    if name != "coord" and not (folder / f"{name}.npy").exists():
        return None
    array = _open(folder, name)
    m = len(array) if m is None else m
    if len(array) != m or array.size != m * width:
        raise DataError(f"{folder / name}.npy has shape {array.shape}, not {m} frames x {width}; check the system")
    return array.reshape(m, width)


def _open(folder: Path, name: str) -> Array:
    """Map a npy file; what its header says must be what is there."""
    path = folder / f"{name}.npy"
    with translated(path), path.open("rb") as stream:
        header = read_npy_header(stream, str(path))
    if path.stat().st_size != header.offset + header.n_bytes:
        raise DataError(f"{path} is not as long as its header says; restore it from a copy")
    if not header.n_bytes:
        return np.zeros(header.shape, header.dtype)
    return np.memmap(path, header.dtype, "r", header.offset, header.shape, header.order)
