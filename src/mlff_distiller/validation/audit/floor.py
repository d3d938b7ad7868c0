"""The error floor: how close to the teacher's forces a student can come at all."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from mlff_distiller.core.measurement import Measurement

SYMMETRY: Final = tuple(f"{kind}_force_spread" for kind in ("rotation", "reflection", "translation", "permutation"))
NOISE: Final = ("repeat_force_spread", "batch_force_spread")
PARTS: Final = {"not conservative": ("force_residual",), "not symmetric": SYMMETRY, "not deterministic": NOISE}
"""What the floor is made of: measurements, in words."""


def error_floor(found: Mapping[str, Measurement]) -> Measurement:
    """Return the root of the sum of squares of what no student can follow, eV/Angstrom.

    A student gives forces that are a gradient, turn with the molecule and are the same each time. What of the
    teacher's forces is not remains as its error. The scatter of repeated calls is in every other number too, and is
    taken off there.

    Parameters
    ----------
    found : mapping
        All measurements of the audit by name. Parts that were not measured are named in the detail "missing"; the
        floor is then a lower bound.

    Examples
    --------
    >>> found = {"force_residual": Measurement("force_residual", 0.03, "eV/A", (0.02, 0.04)),
    ...          "rotation_force_spread": Measurement("rotation_force_spread", 0.04, "eV/A", (0.03, 0.05))}
    >>> floor = error_floor(found)
    >>> round(floor.value, 3), [round(end, 3) for end in floor.ci95], floor.detail["missing"]
    (0.05, [0.036, 0.064], ['not deterministic'])
    """
    repeat = found.get("repeat_force_spread")
    noise = 0.0 if repeat is None else repeat.value**2
    squares, ends, parts, missing = 0.0, np.zeros(2), {}, []
    for part, names in PARTS.items():
        known = [found[name] for name in names if name in found and np.isfinite(found[name].value)]
        if not known:
            missing.append(part)
        own = sum(_excess(m.value, m.name, noise) for m in known)
        squares += own
        ends += sum((np.array([_excess(end, m.name, noise) for end in _ends(m)]) for m in known), np.zeros(2))
        if known:
            parts[part] = own**0.5
    if not parts:
        return Measurement("error_floor", float("nan"), "eV/A", None, 0, {"parts": {}, "missing": missing})
    ci95 = (float(ends[0] ** 0.5), float(ends[1] ** 0.5))
    detail = {"parts": parts, "missing": missing}
    n_samples = max(m.n_samples for name, m in found.items() if any(name in names for names in PARTS.values()))
    return Measurement("error_floor", squares**0.5, "eV/A", ci95, n_samples, detail)


def _excess(value: float, name: str, noise: float) -> float:
    """Return the square of a number without the scatter of repeated calls."""
    return value**2 if name == "repeat_force_spread" else max(value**2 - noise, 0.0)


def _ends(measurement: Measurement) -> tuple[float, float]:
    return measurement.ci95 or (measurement.value, measurement.value)
