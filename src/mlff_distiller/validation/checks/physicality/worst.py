"""The worst of several measurements as one measurement, and the first structure of each system."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.surface.subject import Subject, name_of


def first_of_each(subject: Subject) -> list[Structure]:
    """Return the first structure of each system."""
    first: dict[str, Structure] = {}
    for structure in subject.structures:
        first.setdefault(name_of(structure), structure)
    return list(first.values())


def worst(
    name: str, unit: str, kinds: Mapping[str, Measurement], *, detail: dict[str, Any] | None = None
) -> Measurement:
    """Return the largest of several numbers, with an interval for that largest one.

    Its ends are the largest lower and the largest upper end of all: below a limit only if every one is, above it as
    soon as one is.

    Parameters
    ----------
    name, unit : str
        Of the result.
    kinds : mapping
        The measurements, by what they are of.
    detail : dict, optional
        More for the detail, which names the worst and lists all.

    Examples
    --------
    >>> turned, moved = Measurement("a", 1.0, "eV/A", (0.5, 4.0)), Measurement("b", 2.0, "eV/A", (1.5, 2.5))
    >>> found = worst("force_spread", "eV/A", {"turned": turned, "moved": moved})
    >>> found.value, found.ci95, found.detail["worst"]
    (2.0, (1.5, 4.0), 'moved')
    """
    values = {kind: m.value for kind, m in kinds.items()}
    largest = max(values, key=lambda kind: np.nan_to_num(values[kind], nan=np.inf))
    ends = [m.ci95 for m in kinds.values()]
    known = [own for own in ends if own is not None]
    ci95 = (max(low for low, _ in known), max(high for _, high in known)) if len(known) == len(ends) else None
    rows = {kind: {**m.detail, "value": m.value, "ci95": list(m.ci95) if m.ci95 else None} for kind, m in kinds.items()}
    facts = {"worst": largest, "kinds": rows, **(detail or {})}
    return Measurement(name, values[largest], unit, ci95, min(m.n_samples for m in kinds.values()), facts)
