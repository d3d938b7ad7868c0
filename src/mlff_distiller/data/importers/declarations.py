"""Units that a file declares in names and values of its own: ``energy_unit=kcal/mol``, ``units={"forces": "eV/A"}``."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from mlff_distiller.core.errors import DataError, UnknownNameError
from mlff_distiller.data.importers.frame import Declared, Quantity
from mlff_distiller.data.importers.keys import meaning
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.importers.units import canonical

_LENGTHS: Final = ("length", "distance", "position", "positions", "pos")
_QUANTITIES: Final = ("length", "energy", "forces", "stress", "virial")
_FIELDS: Final = {"length": "length_unit", "energy": "energy_unit", "forces": "force_unit", "stress": "stress_unit"}
_HOLDERS: Final = {"energy": ("energy", "atomic_energies")}
_TABLES: Final = ("units", "_property_unit_dict", "_distance_unit")
_TAG: Final = re.compile(r"(.+)_units?")


def is_declaration(name: str) -> bool:
    """Return whether a name declares units; what it says is true of its file only, and is never carried along.

    Examples
    --------
    >>> is_declaration("Energy_unit"), is_declaration("units"), is_declaration("united_atoms")
    (True, True, False)
    """
    return name.lower() in _TABLES or _quantity(name) is not None


def declared_units(info: Mapping[str, object]) -> dict[str, tuple[str, str]]:
    """Return quantity to (unit, who says so) as the free information of a frame or file declares it.

    Understands ``energy_unit=eV`` and the like, whatever their case, and ``units``: a dictionary by names of
    quantities, or a text of units ("kcal/mol, Angstrom"). Units that are unknown are returned too, and refused later.

    Raises
    ------
    DataError
        If it declares two units of one quantity.

    Examples
    --------
    >>> declared_units({"Forces_unit": "eV/A", "units": {"energy": "eV"}})
    {'forces': ('eV/A', "'Forces_unit' of the file"), 'energy': ('eV', "'units' of the file")}
    """
    found: dict[str, tuple[str, str]] = {}
    for name, value in info.items():
        quantity = _quantity(name)
        said = {quantity: str(value)} if quantity else _table(value) if name.lower() == "units" else {}
        for one, unit in said.items():
            other = found.setdefault(one, (unit, f"'{name}' of the file"))
            if spelled(one, other[0]) != spelled(one, unit):
                raise DataError(f"{other[1]} says {one} in {other[0]}, but '{name}' in {unit}; remove one of them")
    return found


class Declarations:
    """The units that frames or rows of a file declare, collected one by one; all must say the same.

    Examples
    --------
    >>> said = Declarations()
    >>> said.add({"energy": -1.0, "energy_unit": "kcal/mol"}, ["energy"])
    >>> said.agreed({"energy": "energy"}, ImportPlan(), where="a.xyz")["energy"].unit
    'kcal/mol'
    >>> said.add({"energy": -1.0}, ["energy"])
    >>> said.agreed({"energy": "energy"}, ImportPlan(), where="a.xyz")
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.DataError: a.xyz declares the unit of energy in only 1 of 2 frames ('energy_unit' of the
    file: kcal/mol); if it holds for all of them, say so with --energy-unit
    """

    def __init__(self) -> None:
        self._seen: Counter[tuple[tuple[tuple[str, tuple[str, str]], ...], frozenset[str]]] = Counter()

    def add(self, info: Mapping[str, object], names: Any) -> None:
        """Note what a frame declares, and the names of all that it holds."""
        self._seen[tuple(sorted(declared_units(info).items())), frozenset(names)] += 1

    def agreed(self, keys: Mapping[str, str], plan: ImportPlan, *, where: str) -> dict[Quantity, Declared]:
        """Return the units that every frame declares which has the quantity; an option of the user settles the rest.

        Raises
        ------
        DataError
            If only some frames declare a unit, or frames declare different ones, and no option says which holds.
        """
        agreed: dict[Quantity, Declared] = {}
        for quantity in _QUANTITIES:
            said = self._of(quantity, keys)
            declared = [one for one in said if one is not None]
            if not declared:
                continue
            is_asked = getattr(plan, _FIELDS.get(quantity, "energy_unit")) is not None
            if not is_asked:
                _refuse_disagreement(quantity, said, where)
            agreed[quantity] = Declared(*declared[0])
        return agreed

    def _of(self, quantity: str, keys: Mapping[str, str]) -> Counter[tuple[str, str] | None]:
        """Return what frames that hold a quantity declare of it, and how many of them."""
        holders = {keys[name] for name in _HOLDERS.get(quantity, (quantity,)) if name in keys}
        said: Counter[tuple[str, str] | None] = Counter()
        for (declared, names), count in self._seen.items():
            if quantity == "length" or holders & names:
                said[dict(declared).get(quantity)] += count
        return said


def _refuse_disagreement(quantity: str, said: Counter[tuple[str, str] | None], where: str) -> None:
    option = "--" + _FIELDS.get(quantity, "energy_unit").replace("_", "-")
    declared = [one for one in said if one is not None]
    units = sorted({unit for unit, _ in declared})
    if len({spelled(quantity, unit) for unit in units}) > 1:
        raise DataError(
            f"{where} declares more than one unit of {quantity} ({', '.join(units)}); split it by unit, then import "
            f"each part, or say which one holds for all of it with {option}"
        )
    if said[None]:
        total = sum(said.values())
        raise DataError(
            f"{where} declares the unit of {quantity} in only {total - said[None]} of {total} frames "
            f"({declared[0][1]}: {declared[0][0]}); if it holds for all of them, say so with {option}"
        )


def _quantity(name: str) -> str | None:
    """Return the quantity whose unit a name stands for."""
    tag = _TAG.fullmatch(name.lower().replace("-", "_"))
    if tag is None:
        return None
    known = meaning(tag[1])
    return "length" if tag[1] in _LENGTHS else _of_atoms(known[0]) if known else None


def _of_atoms(quantity: str) -> str | None:
    quantity = "energy" if quantity == "atomic_energies" else quantity
    return quantity if quantity in _QUANTITIES else None


def _table(value: object) -> dict[str, str]:
    """Return quantity to unit of a dictionary by names, or of a text that names units."""
    if isinstance(value, Mapping):
        return {q: str(unit) for name, unit in value.items() if (q := _quantity(f"{name}_unit"))}
    if not isinstance(value, str):
        return {}
    parts = [part for part in re.split(r"[,;\s]+", value) if part]
    said = {q: part for part in parts for q in _QUANTITIES[:-1] if _is_known(q, part)}
    is_clear = parts and all(part in said.values() for part in parts)
    return said if is_clear else dict.fromkeys(("length", "energy", "forces"), value)


def _is_known(quantity: str, unit: str) -> bool:
    try:
        return bool(canonical(quantity, unit))
    except UnknownNameError:
        return False


def spelled(quantity: str, unit: str) -> str:
    """Return the usual spelling of a unit, and an unknown one as it is.

    Examples
    --------
    >>> spelled("energy", "ev"), spelled("energy", "foo")
    ('eV', 'foo')
    """
    return canonical(quantity, unit) if _is_known(quantity, unit) else unit
