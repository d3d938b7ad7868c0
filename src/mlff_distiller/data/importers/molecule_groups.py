"""HDF5 with one group for each molecule or size: M conformations of N atoms behind each other (SPICE, ANI)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers import hdf5
from mlff_distiller.data.importers.frame import Declared, Frame, Quantity
from mlff_distiller.data.importers.units import canonical

Array = NDArray[Any]


@dataclass(frozen=True)
class Names:
    """Under which names a group holds what; None where the form knows no such thing.

    Attributes
    ----------
    numbers, positions : str
        (N,), (N, 1) or (M, N) atomic numbers or symbols; (M, N, 3).
    energy, forces, charge, spin : str or None
        (M,) or (M, 1); (M, N, 3); (M,) or one for all.
    is_gradient : bool
        What stands under ``forces`` is the gradient of the energy, the negative of the forces.
    """

    numbers: str
    positions: str
    energy: str | None = None
    forces: str | None = None
    charge: str | None = None
    spin: str | None = None
    is_gradient: bool = False

    @property
    def of_quantities(self) -> dict[Quantity, str | None]:
        """Names of what has a unit."""
        return {"length": self.positions, "energy": self.energy, "forces": self.forces}


@dataclass(frozen=True)
class Molecule:
    """What holds for all conformations of a group besides its arrays.

    Attributes
    ----------
    charge : float or None
        Total charge, e.
    info : dict
        Names of the molecule and the like.
    """

    charge: float | None = None
    info: dict[str, Any] = field(default_factory=dict)


def frames(
    file: Any, names: Names, units: dict[Quantity, Declared], describe: Callable[[Any], Molecule]
) -> Iterator[Frame]:
    """Yield the conformations of every group that has positions, read in blocks.

    Raises
    ------
    DataError
        If shapes do not fit each other, or a group states other units than the first one.
    """
    for group in hdf5.groups(file):
        if hdf5.holds(group, names.positions) and hdf5.holds(group, names.numbers):
            _check_units(group, names, units)
            yield from _conformations(group, names, describe(group))


def declared(group: Any, names: Names, definition: dict[Quantity, Declared] | None = None) -> dict[Quantity, Declared]:
    """Return the units that a group's attributes state, else those that the form defines."""
    units = dict(definition or {})
    for quantity, name in names.of_quantities.items():
        found = hdf5.unit(group, name) if name else None
        if found:
            units[quantity] = Declared(*found)
    return units


def n_frames(file: Any, names: Names) -> int:
    """Return the number of conformations in all groups."""
    return sum(
        len(group[names.positions])
        for group in hdf5.groups(file)
        if hdf5.holds(group, names.positions) and hdf5.holds(group, names.numbers)
    )


def _check_units(group: Any, names: Names, units: dict[Quantity, Declared]) -> None:
    for quantity, here in declared(group, names).items():
        if quantity in units and canonical(quantity, units[quantity].unit) != canonical(quantity, here.unit):
            raise DataError(
                f"{hdf5.where(group)} states {quantity} in {here.unit}, but the first group of the file in "
                f"{units[quantity].unit}; convert the file to one unit"
            )


def _conformations(group: Any, names: Names, molecule: Molecule) -> Iterator[Frame]:
    place, total = hdf5.where(group), len(group[names.positions])
    numbers = _numbers(group, names, place)
    for first in range(0, total, hdf5.BLOCK):
        rows = slice(first, min(first + hdf5.BLOCK, total))
        n = rows.stop - rows.start
        positions = hdf5.read(group, names.positions, rows)
        energy = _column(group, names.energy, rows, total)
        forces = _per_atom(group, names, rows, positions.shape)
        charges, spins = (_column(group, name, rows, total) for name in (names.charge, names.spin))
        for i in range(n):
            values = {"energy": energy, "forces": forces}
            yield Frame(
                where=f"{place}, conformation {first + i}",
                numbers=numbers[first + i] if numbers.ndim == 2 else numbers,
                positions=positions[i],
                charge=molecule.charge if charges is None else float(charges[i]),
                spin=None if spins is None else float(spins[i]),
                values={k: v[i] for k, v in values.items() if v is not None and not np.isnan(v[i]).all()},
                info=dict(molecule.info, conformation=first + i),
            )


def _numbers(group: Any, names: Names, place: str) -> Array:
    numbers = hdf5.atomic_numbers(hdf5.read(group, names.numbers), place)
    shape = group[names.positions].shape
    if len(shape) != 3 or shape[2] != 3:
        raise DataError(
            f"{place}: '{names.positions}' have shape {shape}, not conformations x atoms x 3; check the file"
        )
    if numbers.size == shape[1] and numbers.ndim <= 2:
        return numbers.reshape(shape[1])
    if numbers.size == shape[0] * shape[1] and numbers.shape[:2] == shape[:2]:
        return numbers.reshape(shape[:2])
    raise DataError(
        f"{place}: '{names.numbers}' have shape {numbers.shape}, but the positions have {shape[1]} atoms in each of "
        f"{shape[0]} conformations; check the file"
    )


def _column(group: Any, name: str | None, rows: slice, total: int) -> Array | None:
    """Return one number for each conformation, or None where the group has none."""
    if not hdf5.holds(group, name):
        return None
    n = rows.stop - rows.start
    is_shared = np.shape(group.get(name)) in ((), (1,)) and total != 1
    values = hdf5.read(group, str(name), None if is_shared else rows)
    if is_shared and values.size == 1:
        return np.full(n, float(values.reshape(-1)[0]))
    if values.size != n:
        raise DataError(
            f"{hdf5.where(group)}: '{name}' has {values.size} values where the positions have {n} conformations; "
            "check the file"
        )
    return values.reshape(n).astype(float)


def _per_atom(group: Any, names: Names, rows: slice, shape: tuple[int, ...]) -> Array | None:
    if not hdf5.holds(group, names.forces):
        return None
    forces = hdf5.read(group, str(names.forces), rows)
    if forces.shape != shape:
        raise DataError(
            f"{hdf5.where(group)}: '{names.forces}' have shape {forces.shape}, the positions {shape}; check the file"
        )
    return -forces if names.is_gradient else forces
