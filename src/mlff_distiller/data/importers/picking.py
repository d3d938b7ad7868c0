"""What a frame holds by name becomes labels, charge, spin and the information worth keeping."""

import json
from collections.abc import Mapping
from typing import Any, Final, TypedDict

import numpy as np

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.plan import option
from mlff_distiller.data.importers.declarations import is_declaration
from mlff_distiller.data.importers.frame import Array
from mlff_distiller.data.importers.keys import PLAN_FIELDS, is_gradient, meaning
from mlff_distiller.data.importers.plan import ImportPlan


class Picked(TypedDict):
    """What of a frame comes from named values."""

    values: dict[str, Array]
    charge: float | None
    spin: float | None
    info: dict[str, Any]
    left_out: tuple[str, ...]


def pick(found: Mapping[str, Any], keys: Mapping[str, str], plan: ImportPlan, *, where: str) -> Picked:
    """Return labels, charge, spin and the information worth keeping, from everything a frame holds by name.

    Parameters
    ----------
    found : mapping
        Name to value.
    keys : mapping
        Quantity to name, as :func:`~mlff_distiller.data.importers.keys.choose` settled it; a gradient becomes forces.
    plan : ImportPlan
        Whether forces are gradients.
    where : str
        What an error message calls the frame.

    Raises
    ------
    DataError
        If a label is not made of numbers.

    Examples
    --------
    >>> pick({"E": -1.5, "name": "water", "gap": 0.3}, {"energy": "E"}, ImportPlan(), where="row 1")["info"]
    {'name': 'water', 'gap': 0.3}
    """
    values = {q: _numbers(found[name], name, where) for q, name in keys.items() if found.get(name) is not None}
    charge, spin = (None if (v := values.pop(q, None)) is None else _one_number(v, q, where) for q in _SCALARS)
    if "forces" in values and is_gradient(keys["forces"], plan):
        values["forces"] = -values["forces"]
    free = {name: value for name, value in found.items() if name not in keys.values() and not is_declaration(name)}
    info, left_out = _worth_keeping(free)
    return {"values": values, "charge": charge, "spin": spin, "info": info, "left_out": left_out}


_SCALARS: Final = ("charge", "spin")
_INFO_LENGTH: Final = 1024  # characters of one piece of information, as JSON


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
            f"with {option(PLAN_FIELDS[quantity])}"
        )
    return float(value.reshape(()))


def _worth_keeping(free: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return free information that is short plain data, and the names of the rest.

    What is named like a label is no information: exported, it would be taken for the label.
    """
    kept: dict[str, Any] = {}
    left_out = []
    for name, value in free.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if meaning(name) is None and _is_short(plain):
            kept[name] = plain
        elif value is not None:
            left_out.append(f"info '{name}'")
    return kept, tuple(left_out)


def _is_short(value: Any) -> bool:
    try:
        return len(json.dumps(value, allow_nan=False, ensure_ascii=False)) <= _INFO_LENGTH
    except (TypeError, ValueError):  # arrays and other objects; NaN and infinity
        return False
