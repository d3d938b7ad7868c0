"""npz files of one molecule: the forms of rMD17 and of sGDML (MD17)."""

import json
import math
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.registry import nearest
from mlff_distiller.data.importers.frame import Declared, Frame, Quantity
from mlff_distiller.data.importers.guard import guarded, translated
from mlff_distiller.data.importers.keys import is_gradient
from mlff_distiller.data.importers.plan import ImportPlan

Array = NDArray[Any]

_RMD17: Final = {"numbers": "nuclear_charges", "positions": "coords", "energy": "energies", "forces": "forces"}
_SGDML: Final = {"numbers": "z", "positions": "R", "energy": "E", "forces": "F"}
_EXTRA: Final = {"atomic_energies": "atomic_energies", "stress": "stress", "charge": "charge", "spin": "spin"}
_OF_FRAMES: Final[tuple[str, ...]] = ("energy", "stress")
_SHARED: Final[tuple[str, ...]] = ("numbers", "charge", "spin")
_OF_ATOMS: Final[tuple[str, ...]] = ("forces", "atomic_energies")

_RMD17_UNITS: Final[dict[Quantity, Declared]] = {
    "length": Declared("Angstrom", "definition of the rMD17 data set"),
    "energy": Declared("kcal/mol", "definition of the rMD17 data set"),
    "forces": Declared("kcal/mol/Angstrom", "definition of the rMD17 data set"),
}


class NpzReader:
    """Reader of npz files with M frames of one molecule, or of molecules padded with zeros to one size.

    The rMD17 form (``nuclear_charges, coords, energies, forces`` beside ``old_...``) is in kcal/mol and Angstrom by
    definition (Christensen and von Lilienfeld 2020, doi:10.1088/2632-2153/abba6f). The sGDML form (``z, R, E, F``,
    with ``lattice`` vectors as columns) states its units in ``e_unit`` and ``r_unit``, or not at all.

    Parameters
    ----------
    path : Path
        The file; its arrays are held in memory.
    plan : ImportPlan
        The ``..._key`` settings name arrays.

    Attributes
    ----------
    units : dict
        What is certain.
    n_frames : int
        M.

    Raises
    ------
    DataError
        If the file is damaged, of another form, or holds Python objects.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "he.npz")
    >>> np.savez(path, z=[2], R=np.zeros((1, 1, 3)), E=[-2.9], e_unit="Hartree")
    >>> reader = NpzReader(path, ImportPlan())
    >>> reader.units["energy"], "length" in reader.units
    (Declared(unit='Hartree', why="'e_unit' of the file"), False)
    """

    def __init__(self, path: Path, plan: ImportPlan) -> None:
        self.path = path
        with translated(path), _archive(path) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist()]
            self._names = _names(path, keys, plan)
            self._is_gradient = is_gradient(self._names["forces"], plan)
            self.units = _units(archive, keys, self._names)
            self._positions = read_member(archive, self._names["positions"])
            if self._positions.ndim != 3 or self._positions.shape[2] != 3:
                raise DataError(
                    f"{path}: '{self._names['positions']}' has shape {self._positions.shape}, not frames x atoms x 3; "
                    "check the file"
                )
            self.n_frames: int | None = len(self._positions)
            self._lattice = read_member(archive, "lattice").T if "lattice" in keys else None

    def frames(self) -> Iterator[Frame]:
        """Yield all frames."""
        return guarded(self._frames(), self.path)

    def _frames(self) -> Iterator[Frame]:
        arrays = self._arrays()
        info = arrays.pop("info", None)
        if self._is_gradient and "forces" in arrays:
            arrays["forces"] = -arrays["forces"]
        for i, positions in enumerate(self._positions):
            numbers = arrays["numbers"][i]
            real = numbers > 0  # the file pads smaller molecules with zeros
            values: dict[str, Array] = {name: arrays[name][i] for name in _OF_FRAMES if name in arrays}
            values |= {name: arrays[name][i][real] for name in _OF_ATOMS if name in arrays}
            yield Frame(
                where=f"{self.path}, frame {i}",
                numbers=numbers[real],
                positions=positions[real],
                cell=self._lattice,
                pbc=np.full(3, self._lattice is not None),
                charge=float(arrays["charge"][i]) if "charge" in arrays else None,
                spin=float(arrays["spin"][i]) if "spin" in arrays else None,
                values=values,
                info=json.loads(str(info[i])) if info is not None else {},
            )

    def _arrays(self) -> dict[str, Array]:
        """Return one row for each frame of everything but the positions."""
        m, n, _ = self._positions.shape
        rows = {"numbers": (n,), "forces": (n, 3), "atomic_energies": (n,), "stress": (-1,)}
        with _archive(self.path) as archive:
            members = {
                name: read_member(archive, key)
                for name, key in self._names.items()
                if name != "positions" and f"{key}.npy" in archive.namelist()
            }
        found: dict[str, Array] = {}
        for name, array in members.items():
            shape = rows.get(name, ())
            if array.ndim == len(shape) and name in _SHARED:
                array = np.broadcast_to(array, (m, *array.shape))
            found[name] = _rows(array, (m, *shape), f"{self.path}: '{self._names[name]}'")
        return found


def _rows(array: Array, shape: tuple[int, ...], what: str) -> Array:
    if array.ndim == 0 or len(array) != shape[0] or (-1 not in shape and array.size != np.prod(shape)):
        raise DataError(f"{what} has shape {array.shape} where {shape} belongs to the positions; check the file")
    return array.reshape(shape)


def _names(path: Path, keys: list[str], plan: ImportPlan) -> dict[str, str]:
    """Return the names of the form that a file has."""
    form = next((f for f in (_RMD17, _SGDML) if f["numbers"] in keys and f["positions"] in keys), None)
    if form is None:
        raise DataError(
            f"{path} holds {', '.join(keys[:12]) or 'nothing'}, which is neither the rMD17 form (nuclear_charges, "
            "coords, energies, forces) nor the sGDML form (z, R, E, F); check the format"
        )
    asked = {
        "energy": plan.energy_key,
        "forces": plan.forces_key,
        "stress": plan.stress_key,
        "atomic_energies": plan.atomic_energies_key,
        "charge": plan.charge_key,
        "spin": plan.spin_key,
    }
    for key in asked.values():
        if key is not None and key not in keys:
            raise DataError(f"{path} has no array '{key}'{nearest(key, keys)}; it has {', '.join(keys)}")
    return {**form, **_EXTRA, "info": "info", **{name: key for name, key in asked.items() if key}}


def _units(archive: zipfile.ZipFile, keys: list[str], names: dict[str, str]) -> dict[Quantity, Declared]:
    if names["numbers"] == _RMD17["numbers"]:
        # The same four names occur in files of other origin; the old_... of MD17 do not.
        return dict(_RMD17_UNITS) if any(key.startswith("old_") for key in keys) else {}
    stated = {
        key: _text(read_member(archive, key))
        for key in ("e_unit", "r_unit", "stress_unit", "stress_sign")
        if key in keys
    }
    units: dict[Quantity, Declared] = {}
    if "r_unit" in stated:
        units["length"] = Declared(stated["r_unit"], "'r_unit' of the file")
    if "e_unit" in stated:
        units["energy"] = Declared(stated["e_unit"], "'e_unit' of the file")
    if {"e_unit", "r_unit"} <= stated.keys():
        units["forces"] = Declared(f"{stated['e_unit']}/{stated['r_unit']}", "'e_unit' and 'r_unit' of the file")
    if "stress_unit" in stated:
        units["stress"] = Declared(stated["stress_unit"], "'stress_unit' of the file")
    if "stress_sign" in stated:
        units["stress sign"] = Declared(stated["stress_sign"], "'stress_sign' of the file")
    return units


def _text(array: Array) -> str:
    value = array.reshape(-1)[0]
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _archive(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        raise DataError(f"{path} does not exist or is a directory; check the path")
    return zipfile.ZipFile(path)


def read_member(archive: zipfile.ZipFile, key: str) -> Array:
    """Return one array of an archive, its checksum verified.

    Raises
    ------
    DataError
        If it is shorter or longer than its header says, or holds Python objects.
    """
    with archive.open(f"{key}.npy") as member:
        header = read_npy_header(member, f"{archive.filename}: '{key}'")
        content = member.read(header.n_bytes)
        if len(content) != header.n_bytes or member.read(1):  # the checksum is compared when the end is reached
            raise DataError(f"{archive.filename}: '{key}' is not as long as its header says; restore it from a copy")
    return np.frombuffer(content, dtype=header.dtype).reshape(header.shape, order=header.order)


class NpyHeader(NamedTuple):
    """What the head of a npy stream says, and where the numbers begin."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    offset: int

    @property
    def n_bytes(self) -> int:
        """Size of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy_header(stream: IO[bytes], what: str) -> NpyHeader:
    """Return the header of a npy stream and leave the stream behind it.

    Raises
    ------
    DataError
        If the array holds Python objects, which could run code when read, or is impossible.

    Examples
    --------
    >>> import io
    >>> stream = io.BytesIO()
    >>> np.save(stream, [1, 2])
    >>> _ = stream.seek(0)
    >>> read_npy_header(stream, "an array").shape
    (2,)
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns of headers by Python 2 (MD17), Python of damaged ones
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise DataError(
            f"{what} holds Python objects, which run code when read; save it with numpy as plain numbers or texts"
        )
    if any(length < 0 for length in shape) or dtype.itemsize == 0:
        raise DataError(f"{what} has an impossible shape {shape} of {dtype}; restore it from a copy")
    return NpyHeader(dtype, shape, "F" if is_fortran else "C", stream.tell())
