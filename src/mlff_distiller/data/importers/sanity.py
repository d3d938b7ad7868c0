"""Sanity of a frame as its file holds it: shapes and finite numbers, before any unit is known."""

from typing import Any

import numpy as np

from mlff_distiller.data.importers.frame import Frame


def fault(frame: Frame) -> str:
    """Return what makes a frame impossible in every unit, or an empty string.

    A stress that is NaN in all components was never computed; the border leaves it out.

    Examples
    --------
    >>> fault(Frame("a", np.array([1]), np.array([[0.0, 0.0, np.nan]])))
    'the positions hold a number that is not finite (NaN or infinity)'
    """
    n = np.size(frame.numbers)
    if not n or np.ndim(frame.numbers) != 1:
        return "it has no atoms"
    shapes: dict[str, list[tuple[int, ...]]] = {
        "positions": [(n, 3)],
        "cell": [(3, 3)],
        "forces": [(n, 3)],
        "atomic_energies": [(n,)],
    }
    shapes |= {"energy": [(), (1,)], "stress": [(6,), (9,), (3, 3)], "virial": [(6,), (9,), (3, 3)]}
    arrays: dict[str, Any] = {"positions": frame.positions, "cell": frame.cell, **frame.values}
    for name, array in arrays.items():
        if array is None:
            continue
        words = name.replace("_", " ")
        if np.shape(array) not in shapes[name]:
            expected = " or ".join(map(str, shapes[name]))
            return f"the {words} must have shape {expected}, not {np.shape(array)}"
        if not np.isfinite(array).all() and not (name in ("stress", "virial") and np.isnan(array).all()):
            verb = "hold" if words.endswith("s") and words != "stress" else "holds"
            return f"the {words} {verb} a number that is not finite (NaN or infinity)"
    return ""
