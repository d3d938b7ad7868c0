"""Names of labels in foreign files: which name stands for which quantity, and when that is not certain."""

from collections.abc import Collection, Mapping
from typing import Any, Final, TypedDict

import numpy as np

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.registry import nearest
from mlff_distiller.data.importers.frame import Array
from mlff_distiller.data.importers.plan import ImportPlan, option

_WORDS: Final = {
    "energy": ("total_energy", "potential_energy", "energy", "etot"),
    "forces": ("forces", "force"),
    "stress": ("stress", "stresses"),
    "virial": ("virial", "virials"),
    "atomic_energies": ("atomic_energies", "energies", "local_energy", "node_energy"),
    "charge": ("total_charge", "charge"),
    "spin": ("spin_multiplicity", "multiplicity", "spin"),
}
_PART: Final = (  # an energy with one of these before it is a part of the energy, or another one
    *("free", "kinetic", "homo", "lumo", "fermi", "gap", "nl", "zero_point", "dispersion", "vdw", "d3", "d4"),
    *("corrected", "correction", "cut_off", "cutoff", "formation", "atomization", "interaction", "binding", "cohesive"),
    *(
        "adsorption",
        "hull",
        "solvation",
        "coulomb",
        "nuclear_repulsion",
        "relaxed",
        "reorganization",
        "strain",
        "calculate",
        "compute",
    ),
)
_OF_ATOMS: Final = ("forces", "atomic_energies")
_PLAN_FIELDS: Final = {name: f"{name}_key" for name in _WORDS}


def meaning(name: str) -> tuple[str, str] | None:
    """Return the quantity that a name stands for and the prefix before it, or None.

    Examples
    --------
    >>> meaning("REF_energy"), meaning("Force"), meaning("homo_energy"), meaning("mulliken_charges")
    (('energy', 'ref'), ('forces', ''), None, None)
    """
    lower = name.lower().replace("-", "_")
    for quantity, words in _WORDS.items():
        for word in words:
            prefix = lower.removesuffix(word).rstrip("_")
            if lower == word or (lower.endswith(f"_{word}") and quantity not in ("charge", "spin")):
                return None if any(part in prefix for part in _PART) else (quantity, prefix)
    return None


def fits(name: str, *, of_atoms: bool) -> bool:
    """Return whether a name may stand for a label where it is found, beside the atoms or beside the structure.

    A column ``charge`` of atoms is no total charge.

    Examples
    --------
    >>> fits("charge", of_atoms=True), fits("REF_forces", of_atoms=True), fits("energy", of_atoms=False)
    (False, True, True)
    """
    known = meaning(name)
    return known is None or (known[0] in _OF_ATOMS) == of_atoms


def choose(names: Mapping[str, int], plan: ImportPlan, *, where: str) -> dict[str, str]:
    """Return quantity to the name it has in a file, one set of names for the whole file.

    Parameters
    ----------
    names : mapping of str to int
        Names in the file, and how many frames have them.
    plan : ImportPlan
        Names that the user gave win over everything.
    where : str
        What an error message calls the file.

    Raises
    ------
    DataError
        If a given name is not there, two names could be meant, or the file has neither energies nor forces.

    Examples
    --------
    >>> choose({"REF_energy": 3, "REF_forces": 3, "Nmols": 3}, ImportPlan(), where="train.xyz")
    {'energy': 'REF_energy', 'forces': 'REF_forces'}
    >>> choose({"energy": 3, "MACE_energy": 3}, ImportPlan(), where="train.xyz")
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.DataError: train.xyz has more than one name for the energy: energy (3 frames),
    MACE_energy (3 frames); say which one is meant with --energy-key
    """
    chosen = {}
    for quantity in _WORDS:
        name = _one(quantity, names, plan, where)
        if name is not None:
            chosen[quantity] = name
    if "energy" not in chosen and "forces" not in chosen:
        found = ", ".join(sorted(names)[:30]) or "none"
        raise DataError(
            f"{where} has no energies or forces under a known name (names found: {found}); name them with "
            "--energy-key and --forces-key"
        )
    _refuse_mixed(chosen, plan, where)
    return chosen


def _one(quantity: str, names: Mapping[str, int], plan: ImportPlan, where: str) -> str | None:
    field = _PLAN_FIELDS[quantity]
    given: str | None = getattr(plan, field)
    if given is not None:
        if given not in names:
            raise DataError(
                f"{where} has nothing named '{given}'{nearest(given, list(names))}; give another {option(field)}"
            )
        return given
    found = [name for name in names if (known := meaning(name)) and known[0] == quantity]
    if len(found) > 1:
        listed = ", ".join(f"{name} ({names[name]} frames)" for name in found)
        raise DataError(
            f"{where} has more than one name for the {quantity.replace('_', ' ')}: {listed}; "
            f"say which one is meant with {option(field)}"
        )
    return found[0] if found else None


def _refuse_mixed(chosen: dict[str, str], plan: ImportPlan, where: str) -> None:
    """Refuse energies of one method beside forces of another."""
    if plan.energy_key is not None or plan.forces_key is not None or not {"energy", "forces"} <= chosen.keys():
        return
    prefixes = {known[1] for name in ("energy", "forces") if (known := meaning(chosen[name]))}
    if len(prefixes) > 1:
        raise DataError(
            f"{where} names its energies '{chosen['energy']}' but its forces '{chosen['forces']}', so they may be of "
            "two methods; if they belong together, say so with --energy-key and --forces-key"
        )


_DECLARATIONS: Final = {
    "length": ("length_unit", "distance_unit", "position_unit", "positions_unit", "pos_unit"),
    "energy": ("energy_unit", "energies_unit"),
    "forces": ("force_unit", "forces_unit"),
    "stress": ("stress_unit", "stresses_unit"),
    "virial": ("virial_unit", "virials_unit"),
}


def declared_units(info: Mapping[str, object]) -> dict[str, tuple[str, str]]:
    """Return quantity to (unit, who says so) as the free information of a frame or file declares it.

    Understands ``energy_unit=eV`` and the like, and a dictionary ``units`` by names of quantities.

    Examples
    --------
    >>> declared_units({"forces_unit": "eV/A", "units": {"energy": "eV"}})
    {'forces': ('eV/A', "'forces_unit' of the file"), 'energy': ('eV', "'units' of the file")}
    """
    found = {}
    for quantity, spellings in _DECLARATIONS.items():
        for spelling in spellings:
            unit = info.get(spelling, info.get(f"{spelling}s"))
            if isinstance(unit, str):
                found[quantity] = (unit, f"'{spelling}' of the file")
    table = info.get("units")
    if isinstance(table, Mapping):
        for name, unit in table.items():
            known = meaning(str(name))
            if known and known[0] in _DECLARATIONS and isinstance(unit, str):
                found.setdefault(known[0], (unit, "'units' of the file"))
    return found


class Picked(TypedDict):
    """What of a frame comes from named values."""

    values: dict[str, Array]
    charge: float | None
    spin: float | None
    info: dict[str, Any]


def pick(found: Mapping[str, Any], keys: Mapping[str, str], *, where: str) -> Picked:
    """Return labels, charge, spin and the information worth keeping, from everything a frame holds by name.

    Parameters
    ----------
    found : mapping
        Name to value.
    keys : mapping
        Quantity to name, as :func:`choose` settled it.
    where : str
        What an error message calls the frame.

    Raises
    ------
    DataError
        If a label is not made of numbers.

    Examples
    --------
    >>> pick({"E": -1.5, "name": "water", "gap": 0.3}, {"energy": "E"}, where="row 1")
    {'values': {'energy': array(-1.5)}, 'charge': None, 'spin': None, 'info': {'name': 'water'}}
    """
    values = {q: _numbers(found[name], name, where) for q, name in keys.items() if found.get(name) is not None}
    charge, spin = (None if (v := values.pop(q, None)) is None else _one_number(v, q, where) for q in _SCALARS)
    return {"values": values, "charge": charge, "spin": spin, "info": _worth_keeping(found, keys.values())}


_SCALARS: Final = ("charge", "spin")
_TEXT_LENGTH: Final = 120


def _numbers(value: Any, name: str, where: str) -> Array:
    try:
        if np.asarray(value).dtype != np.bool_:
            return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        pass
    raise DataError(f"{where}: '{name}' is not made of numbers ({value!r:.60}); name another key")


def _one_number(value: Array, quantity: str, where: str) -> float:
    if value.size != 1:
        raise DataError(
            f"{where}: the {quantity} of a structure is one number, but this one has {value.size}; name another key "
            f"with {option(_PLAN_FIELDS[quantity])}"
        )
    return float(value.reshape(()))


def _worth_keeping(found: Mapping[str, Any], labels: Collection[str]) -> dict[str, Any]:
    """Return names, tags and counts; numbers without a unit are left behind."""
    kept: dict[str, Any] = {}
    for name, value in found.items():
        if name in labels:
            continue
        if isinstance(value, bool | np.bool_):
            kept[name] = bool(value)
        elif isinstance(value, int | np.integer):
            kept[name] = int(value)
        elif isinstance(value, str) and len(value) <= _TEXT_LENGTH:
            kept[name] = value
    return kept
