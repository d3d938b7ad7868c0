"""Labels of single structures: sums of forces that should vanish, stress that was never computed, no numbers."""

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labels import OF_ATOMS
from mlff_distiller.data.blocks import has, owners
from mlff_distiller.data.columns import Columns

Floats = NDArray[np.float64]


def not_finite(columns: Columns) -> Floats:
    """Return how many numbers of the labels are not finite (S,); NaN where there are no labels."""
    counts = np.zeros(len(columns))
    for name in columns.properties:
        array = columns.arrays[name]
        bad = (~np.isfinite(array)).reshape(len(array), -1).sum(1)
        per_structure = bad if len(array) == len(columns) and name not in OF_ATOMS else _summed(columns, bad)
        counts += np.where(has(columns, name), per_structure, 0)
    return np.where(columns.arrays["mask"] != 0, counts, np.nan)


def net_force(columns: Columns) -> Floats:
    """Return the length of the sum of forces over the number of atoms (S,), eV/Angstrom; NaN without forces."""
    if "forces" not in columns.arrays:
        return np.full(len(columns), np.nan)
    totals = np.linalg.norm(_vectors(columns, columns.arrays["forces"]), axis=1) / columns.sizes
    return _judged(totals, has(columns, "forces") & (columns.sizes > 1))


def net_torque(columns: Columns) -> Floats:
    """Return the torque about the center over the number of atoms (S,), eV; NaN without forces or with periodicity."""
    if "forces" not in columns.arrays:
        return np.full(len(columns), np.nan)
    positions, forces = columns.arrays["positions"], columns.arrays["forces"]
    centers = _vectors(columns, positions) / columns.sizes[:, None]
    torques = _vectors(columns, np.cross(positions - centers[owners(columns)], forces))
    free = ~(columns.arrays["pbc"] != 0).any(1)
    return _judged(np.linalg.norm(torques, axis=1) / columns.sizes, has(columns, "forces") & free & (columns.sizes > 1))


def zero_stress(columns: Columns) -> Floats:
    """Return the largest force where the stress of a cell is exactly zero, else 0 (S,); NaN without one of the two."""
    if "stress" not in columns.arrays or "forces" not in columns.arrays:
        return np.full(len(columns), np.nan)
    vanishes = (columns.arrays["stress"] == 0).all((1, 2))
    periodic = (columns.arrays["pbc"] != 0).all(1)
    judged = has(columns, "stress") & has(columns, "forces") & periodic
    return _judged(np.where(vanishes, largest_force(columns), 0.0), judged)


def largest_force(columns: Columns) -> Floats:
    """Return the longest force on an atom (S,), eV/Angstrom; NaN without forces."""
    if "forces" not in columns.arrays:
        return np.full(len(columns), np.nan)
    lengths = np.linalg.norm(columns.arrays["forces"], axis=1)
    return _judged(np.maximum.reduceat(lengths, columns.arrays["offsets"][:-1]), has(columns, "forces"))


def _summed(columns: Columns, values: NDArray[np.generic]) -> Floats:
    return np.bincount(owners(columns), values, minlength=len(columns)).astype(np.float64)


def _vectors(columns: Columns, values: Floats) -> Floats:
    """Return sums of vectors of atoms (A, 3) over structures (S, 3)."""
    sums: Floats = np.add.reduceat(values, columns.arrays["offsets"][:-1], axis=0)
    return sums


def _judged(values: Floats, judged: NDArray[np.bool_]) -> Floats:
    return np.where(judged, values, np.nan)
