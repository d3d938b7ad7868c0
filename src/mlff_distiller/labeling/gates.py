"""Gates: labels and structures that must not reach a data set, each refusal with a name."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from pydantic import Field

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.plan import Plan


@dataclass(frozen=True)
class Refusal:
    """Why a structure has no label.

    Parameters
    ----------
    id : int
        Of the structure.
    reason : str
        "min_distance", "max_force", "non_finite", or what the teacher said.
    detail : str
        The number that was out of bounds.

    Examples
    --------
    >>> Refusal(7, "max_force", "41.3 eV/Angstrom").to_json()["reason"]
    'max_force'
    """

    id: int
    reason: str
    detail: str = ""

    def to_json(self) -> dict[str, int | str]:
        """Return plain data."""
        return asdict(self)


class GatesPlan(Plan):
    """Bounds of what is accepted; numbers that are not finite are always refused.

    Examples
    --------
    >>> gates = GatesPlan(min_distance=0.6)
    >>> gates.fault(Structure([1, 1], [[0, 0, 0], [0, 0, 0.55]]))
    ('min_distance', '0.550 Angstrom')
    >>> gates.label_fault(Labels(energy=float("nan")))
    ('non_finite', '')
    """

    max_force: float = Field(
        30.0, gt=0, description="Largest force on any atom, eV/Angstrom; beyond it a geometry is of no use for MD."
    )
    max_force_std: float | None = Field(
        None,
        gt=0,
        description="Largest standard deviation of the force on any atom over the members of a committee, "
        "eV/Angstrom; beyond it the teacher does not know what it says; none: no bound.",
    )
    min_distance: float = Field(
        0.5, ge=0, description="Smallest distance of two atoms, Angstrom; checked before the teacher is called."
    )

    def fault(self, structure: Structure) -> tuple[str, str] | None:
        """Return why a structure is refused before it is labeled (reason, detail), or None."""
        from mlff_distiller.atoms.neighbors import find_edges

        if not self.min_distance:
            return None
        close = find_edges(structure, self.min_distance)
        if not len(close):
            return None
        return "min_distance", f"{np.linalg.norm(close.vectors, axis=1).min():.3f} Angstrom"

    def label_fault(self, labels: Labels) -> tuple[str, str] | None:
        """Return why labels are refused (reason, detail), or None."""
        if not labels.is_finite:
            return "non_finite", ""
        largest = {
            "max_force": 0.0 if labels.forces is None else float(np.linalg.norm(labels.forces, axis=1).max()),
            "max_force_std": 0.0 if labels.force_std is None else float(labels.force_std.max()),
        }
        bounds = {name: getattr(self, name) for name in largest}
        beyond = (name for name, value in largest.items() if bounds[name] is not None and value > bounds[name])
        return next(((name, f"{largest[name]:.3g} eV/Angstrom") for name in beyond), None)

    def screen(
        self, ids: Sequence[int], structures: Sequence[Structure]
    ) -> tuple[list[tuple[int, Structure]], list[Refusal]]:
        """Return the structures (with their ids) that may be labeled, and the refusals of the others."""
        accepted: list[tuple[int, Structure]] = []
        refused: list[Refusal] = []
        for number, structure in zip(ids, structures, strict=True):
            fault = self.fault(structure)
            if fault:
                refused.append(Refusal(number, *fault))
            else:
                accepted.append((number, structure))
        return accepted, refused
