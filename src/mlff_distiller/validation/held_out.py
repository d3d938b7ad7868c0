"""Held-out frames: labeled structures that no student was trained or selected on."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Labeled frames that no student was trained or selected on.

    Parameters
    ----------
    structures : sequence of Structure
        F frames.
    labels : sequence of Labels
        Their reference labels.
    segments : sequence of str
        Which trajectory segment each frame comes from; frames of one segment are taken as correlated.
    systems : sequence of str, optional
        Which molecule or material each frame is; by its formula unless given.
    trained : sequence of str
        Systems that were trained on, isolated atoms left out; a student is held to having been tested on all.

    Raises
    ------
    DataError
        If there are no frames or the lengths differ.

    Examples
    --------
    >>> HeldOut([Structure([1], [[0, 0, 0]])], [Labels(energy=-1.0)], ["h/0"]).systems
    ('H',)
    """

    structures: Sequence[Structure]
    labels: Sequence[Labels]
    segments: Sequence[str]
    systems: Sequence[str] = ()
    trained: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.structures:
            raise DataError("there are no held-out frames to validate on; label more structures or enlarge the split")
        if not self.systems:
            object.__setattr__(self, "systems", tuple(structure.formula for structure in self.structures))
        sizes = {len(self.structures), len(self.labels), len(self.segments), len(self.systems)}
        if len(sizes) > 1:
            raise DataError(
                f"held-out frames do not match: {len(self.structures)} structures, {len(self.labels)} labels, "
                f"{len(self.segments)} segments and {len(self.systems)} systems; give one of each per frame"
            )
