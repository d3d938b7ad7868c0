"""The error floor: how close to the teacher's forces a student can come at all."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from mlff_distiller.core.measurement import Measurement

SYMMETRY: Final = tuple(f"{kind}_force_spread" for kind in ("rotation", "reflection", "translation", "permutation"))
NOISE: Final = ("repeat_force_spread", "batch_force_spread")
PARTS: Final = {"not conservative": ("force_residual",), "not symmetric": SYMMETRY, "not deterministic": NOISE}
"""What the floor is made of: measurements, in words."""

_WITHOUT_ENERGIES: Final = {**PARTS, "not conservative": ("loop_force",)}


def error_floor(found: Mapping[str, Measurement]) -> Measurement:
    """Return how far a student that follows the teacher's energies stays from its forces, eV/Angstrom.

    Such a student gives forces that are the gradient of that energy, turn with the molecule and are the same each
    time. Its error is at least the largest of what of the teacher's forces is not so: one force may break two rules
    at once, so these do not add up. Chance does, since nothing follows it; the scatter of repeated calls is in every
    other number too, and is taken off there.

    Parameters
    ----------
    found : mapping
        All measurements of the audit by name. Parts that were not measured are named in the detail "missing"; the
        floor is then a lower bound. The detail "without_energies" is that of a student that may choose its energies
        freely: the work on loops takes the place of the difference from the energies.

    Examples
    --------
    >>> found = {"force_residual": Measurement("force_residual", 0.04, "eV/A", (0.03, 0.05)),
    ...          "rotation_force_spread": Measurement("rotation_force_spread", 0.03, "eV/A", (0.02, 0.04))}
    >>> floor = error_floor(found)
    >>> floor.value, floor.ci95, floor.detail["missing"]
    (0.04, (0.03, 0.05), ['not deterministic'])
    """
    known = {name: m for name, m in found.items() if np.isfinite(m.value)}
    values, lows, highs = ({name: _ends(m)[k] for name, m in known.items()} for k in range(3))
    noise = values.get("repeat_force_spread", 0.0) ** 2
    squares = _squares(PARTS, values, noise)
    missing = [part for part in PARTS if part not in squares]
    detail: dict[str, Any] = {"parts": {part: square**0.5 for part, square in squares.items()}, "missing": missing}
    if not squares:
        return Measurement("error_floor", float("nan"), "eV/A", None, 0, detail)
    if "loop_force" in known:
        detail["without_energies"] = _root(_squares(_WITHOUT_ENERGIES, values, noise))
    ci95 = _root(_squares(PARTS, lows, noise)), _root(_squares(PARTS, highs, noise))
    n_samples = max(known[name].n_samples for names in PARTS.values() for name in names if name in known)
    return Measurement("error_floor", _root(squares), "eV/A", ci95, n_samples, detail)


def _squares(parts: Mapping[str, tuple[str, ...]], values: Mapping[str, float], noise: float) -> dict[str, float]:
    """Return the square of each part that was measured, that of chance taken off from the others."""
    found = {}
    for part, names in parts.items():
        own = [values[name] ** 2 for name in names if name in values]
        if own:
            found[part] = max(own) if names is NOISE else max(max(own) - noise, 0.0)
    return found


def _root(squares: Mapping[str, float]) -> float:
    faults = [square for part, square in squares.items() if part != "not deterministic"]
    return float((squares.get("not deterministic", 0.0) + max(faults, default=0.0)) ** 0.5)


def _ends(measurement: Measurement) -> tuple[float, float, float]:
    return measurement.value, *(measurement.ci95 or (measurement.value, measurement.value))
