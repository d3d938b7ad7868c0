"""A structure with its labels: what importers yield and data sets hold."""

from typing import NamedTuple

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure


class LabeledStructure(NamedTuple):
    """A structure and what a potential says of it.

    Examples
    --------
    >>> structure, labels = LabeledStructure(Structure([1], [[0, 0, 0]]), Labels(energy=-13.6))
    >>> structure.formula, labels.energy
    ('H', -13.6)
    """

    structure: Structure
    labels: Labels
