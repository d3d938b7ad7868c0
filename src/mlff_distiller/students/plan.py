"""StudentPlan: the settings that every student architecture has."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlff_distiller.core.plan import Plan

if TYPE_CHECKING:
    from torch import nn


class StudentPlan(Plan):
    """Base of the settings of all architectures; a subclass has a field ``kind`` and builds the network.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> isinstance(PaiNNPlan(), StudentPlan)
    True
    """

    kind: str
    cutoff: float = Field(5.0, gt=0.5, le=20, description="Range of a message, Angstrom.")
    repulsion: Literal["zbl", "none"] = Field(
        "zbl", description="Repulsion between atoms much closer than bonded, so that they never fuse: zbl or none."
    )

    shortest_distance: float | None = Field(
        None,
        gt=0,
        le=3,
        description="Distance below which messages level off, Angstrom, so that the repulsion rules where there are no "
        "data; the shortest in the training set unless given.",
    )

    @abstractmethod
    def build(self, n_elements: int, *, neighbor_norm: float = 1.0) -> "nn.Module":
        """Return an untrained network, with torch's current random state.

        Parameters
        ----------
        n_elements : int
            Number of different elements.
        neighbor_norm : float
            Divisor of messages, usually the square root of the mean number of neighbors.

        Returns
        -------
        Module
            Called with the index of each atom's element (N,) and a Graph, it gives energies of atoms (N,) in units of
            the training set's scale.
        """
