"""The HDF5 form that MACE's ``preprocess_data`` writes: ``config_batch_N/config_M``, one group for each structure.

Sources: ``mace/data/utils.py`` and ``mace/data/hdf5_dataset.py`` of ACEsuit/mace (MIT). The file states no units: its
numbers are those of the extended XYZ file that was given to MACE, which means them as ASE does (eV, Angstrom, stress
with tension positive; virials are minus the stress times the volume) and converts nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers import hdf5
from mlff_distiller.data.importers.frame import Declared, Frame, Quantity
from mlff_distiller.data.importers.guard import guarded, translated
from mlff_distiller.data.importers.keys import is_gradient
from mlff_distiller.data.importers.plan import ImportPlan


class MaceReader:
    """Reader of MACE's HDF5 form, older (labels beside the positions) and newer (labels below ``properties``).

    A label that was not there is the text "None" in the file, or has weight zero; it comes out as absent.

    Parameters
    ----------
    path : Path
        The file.
    plan : ImportPlan
        The ``..._key`` settings name labels.

    Attributes
    ----------
    units : dict
        Empty: the form states none.
    n_frames : int
        Structures in all.

    Raises
    ------
    DataError
        If the file is damaged or not of this form.

    Examples
    --------
    >>> import h5py, tempfile
    >>> path = Path(tempfile.mkdtemp(), "train.h5")
    >>> with h5py.File(path, "w") as file:
    ...     he = file.create_group("config_batch_0/config_0")
    ...     he["atomic_numbers"], he["positions"], he["properties/energy"] = [2], [[0.0, 0.0, 0.0]], -79.0
    ...     he["properties/stress"] = "None"
    >>> [list(frame.values) for frame in MaceReader(path, ImportPlan()).frames()]
    [['energy']]
    """

    def __init__(self, path: Path, plan: ImportPlan) -> None:
        self.path = path
        self._keys = {
            "energy": plan.energy_key or "energy",
            "forces": plan.forces_key or "forces",
            "stress": plan.stress_key or "stress",
            "virial": plan.virial_key or "virials",
            "atomic_energies": plan.atomic_energies_key or "atomic_energies",
        }
        self._charge, self._spin = plan.charge_key or "total_charge", plan.spin_key or "total_spin"
        self._is_gradient = is_gradient(self._keys["forces"], plan)
        self.units: dict[Quantity, Declared] = {}
        with translated(path), hdf5.opened(path) as file:
            self.n_frames: int | None = sum(len(batch) for batch in _batches(file))
            if not self.n_frames:
                raise DataError(
                    f"{path} holds {', '.join(hdf5.names(file)[:6]) or 'nothing'}, not the groups "
                    "config_batch_N/config_M that MACE's preprocess_data writes; check the format"
                )

    def frames(self) -> Iterator[Frame]:
        """Yield all structures, in the order in which MACE reads them."""
        return guarded(self._frames(), self.path)

    def _frames(self) -> Iterator[Frame]:
        with hdf5.opened(self.path) as file:
            for batch in _batches(file):
                for i in range(len(batch)):
                    yield self._frame(batch[f"config_{i}"])

    def _frame(self, group: Any) -> Frame:
        place = hdf5.where(group)
        numbers = hdf5.atomic_numbers(hdf5.read(group, "atomic_numbers"), place)
        pbc, config_type = _optional(group, "pbc"), _text(group, "config_type")
        values = {name: value for name, key in self._keys.items() if (value := _label(group, key)) is not None}
        if "forces" in values and self._is_gradient:
            values["forces"] = -values["forces"]
        return Frame(
            where=place,
            numbers=numbers,
            positions=hdf5.read(group, "positions"),
            cell=_optional(group, "cell"),
            pbc=np.zeros(3, dtype=bool) if pbc is None else pbc.astype(bool),
            charge=_number(_label(group, self._charge)),
            spin=_number(_label(group, self._spin)),
            values=values,
            info={"config_type": config_type} if config_type else {},
        )


def _batches(file: Any) -> list[Any]:
    """Return the groups config_batch_0, config_batch_1, ... in the order of their numbers."""
    found: list[Any] = []
    while f"config_batch_{len(found)}" in file:
        found.append(file[f"config_batch_{len(found)}"])
    return found


def _label(group: Any, key: str) -> NDArray[Any] | None:
    """Return a label, of the newer place or the older one; None where it is absent or weighs nothing."""
    for holder, weight in (("properties", f"property_weights/{key}"), ("", f"{key}_weight")):
        place = group.get(holder) if holder else group
        if place is not None and key in place:
            weighs = _optional(group, weight)
            return _optional(place, key) if weighs is None or np.any(weighs != 0) else None
    return None


def _optional(group: Any, key: str) -> NDArray[Any] | None:
    """Return an array; None where there is none or the file says "None"."""
    if key not in group:
        return None
    value = hdf5.read(group, key)
    return None if value.dtype.kind in "OSU" else value


def _number(value: NDArray[Any] | None) -> float | None:
    return None if value is None else float(value)


def _text(group: Any, key: str) -> str:
    value = hdf5.texts(group, key)[0] if key in group else "None"
    return "" if value == "None" else value
