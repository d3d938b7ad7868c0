"""Geometry: atoms on top of each other, lost atoms, cells without volume."""

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.data.blocks import owners
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.similarity.connectivity import relative_lengths
from mlff_distiller.data.similarity.pairs import Pairs

Floats = NDArray[np.float64]


def closest_ratio(columns: Columns, pairs: Pairs) -> Floats:
    """Return the least distance over the sum of covalent radii (S,); NaN where no two atoms are near."""
    least = np.full(len(columns), np.inf)
    np.minimum.at(least, owners(columns)[pairs.centers], relative_lengths(columns, pairs))
    return np.where(np.isfinite(least), least, np.nan)


def isolated_atoms(columns: Columns, pairs: Pairs, distance: float) -> Floats:
    """Return the number of atoms without a neighbor (S,); NaN for a single atom, which is a reference atom."""
    has_neighbor = np.zeros(columns.n_atoms, dtype=bool)
    has_neighbor[pairs.centers[pairs.distances < distance]] = True
    lost = np.bincount(owners(columns), ~has_neighbor, minlength=len(columns))
    return np.where(columns.sizes > 1, lost, np.nan)


def volume_per_atom(columns: Columns) -> Floats:
    """Return the cell volume per atom (S,), Angstrom^3; NaN where the structure is not periodic in three directions."""
    volumes = np.abs(np.linalg.det(columns.arrays["cells"])) / columns.sizes
    return np.where((columns.arrays["pbc"] != 0).all(1), volumes, np.nan)
