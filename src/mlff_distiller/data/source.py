"""Source: what stores, columns in memory and data sets have in common."""

from collections.abc import Collection
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labels import Widths
from mlff_distiller.data.columns import Columns

Rows = NDArray[np.int64]


class Source(Protocol):
    """Labeled structures that are read by row."""

    def __len__(self) -> int:
        """Return the number of structures S."""

    @property
    def sizes(self) -> Rows:
        """Number of atoms of each structure (S,)."""

    @property
    def properties(self) -> Collection[str]:
        """Properties that structures may be labeled with."""

    @property
    def widths(self) -> Widths:
        """K, the number of directions in which Hessians are known, and D, the number of features, if any."""

    def take(self, rows: Rows, *, only: Collection[str] | None = None) -> Columns:
        """Return the structures of rows, in their order; of some arrays only, if said."""
