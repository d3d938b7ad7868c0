"""Distributions of bond lengths, angles and dihedrals, and distances of such distributions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.data.columns import pack
from mlff_distiller.data.similarity.connectivity import find_bonds

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_MOST = 300  # coordinates of a kind that are followed; of more, evenly spread ones
_LINEAR_DEGREES = 170.0
_N_QUANTILES = 100
_N_BINS = 120


@dataclass(frozen=True, eq=False)
class Topology:
    """Bonds of a structure, and the angles and dihedrals between them.

    Attributes
    ----------
    centers, neighbors : (E,) int64
        Bonds, each in both directions.
    images : (E, 3)
        Whole cell vectors added to the neighbor's position.
    cell : (3, 3)
        Angstrom.
    bonds : (B,) int64
        One direction of each bond.
    angles : (C, 2) int64
        Two bonds that begin at the same atom.
    dihedrals : (D, 3) int64
        Bonds from the second atom to the first, from the second to the third, and from the third to the fourth.
    """

    centers: Indices
    neighbors: Indices
    images: Floats
    cell: Floats
    bonds: Indices
    angles: Indices
    dihedrals: Indices

    @classmethod
    def of(cls, structure: Structure) -> "Topology":
        """Return the covalent bonds of a structure by distance, without those of metals.

        Examples
        --------
        >>> water = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
        >>> topology = Topology.of(water)
        >>> len(topology.bonds), len(topology.angles), len(topology.dihedrals)
        (2, 1, 0)
        """
        pairs = find_bonds(pack([0], [structure]))
        apart = structure.positions[pairs.neighbors] - structure.positions[pairs.centers]
        images = np.asarray(np.round((pairs.vectors - apart) @ np.linalg.pinv(structure.cell)), dtype=np.float64)
        rows = zip(pairs.centers.tolist(), pairs.neighbors.tolist(), pairs.vectors.tolist(), strict=True)
        first = [i < j or (i == j and v > [0.0, 0.0, 0.0]) for i, j, v in rows]
        around = [np.flatnonzero(pairs.centers == atom).tolist() for atom in range(len(structure))]
        bonds = np.flatnonzero(first)
        angles = [(a, b) for own in around for k, a in enumerate(own) for b in own[k + 1 :]]
        ends = [(around[pairs.centers[e]], int(e), around[pairs.neighbors[e]]) for e in bonds]
        dihedrals = [
            (a, e, d)
            for before, e, after in ends
            for a in before
            for d in after
            if _is_open(pairs.vectors[a], pairs.vectors[e]) and _is_open(-pairs.vectors[e], pairs.vectors[d])
        ]
        spread = [_spread(np.array(x, dtype=np.int64).reshape(-1, n)) for x, n in ((angles, 2), (dihedrals, 3))]
        return cls(pairs.centers, pairs.neighbors, images, structure.cell, _spread(bonds), *spread)

    def vectors(self, positions: Floats, edges: Indices) -> Floats:
        """Return the vectors of bonds (T, K, 3) in geometries (T, N, 3) that are not wrapped into the cell."""
        shifts = self.images[edges] @ self.cell
        return positions[:, self.neighbors[edges]] - positions[:, self.centers[edges]] + shifts

    def bond_lengths(self, positions: Floats) -> Floats:
        """Return the lengths of all bonds (T, B), Angstrom."""
        return np.asarray(np.linalg.norm(self.vectors(positions, self.bonds), axis=-1))

    def bond_angles(self, positions: Floats) -> Floats:
        """Return all bond angles (T, C), degrees."""
        return angle_between(*(self.vectors(positions, self.angles[:, k]) for k in range(2)))

    def dihedral_angles(self, positions: Floats) -> Floats:
        """Return all dihedrals (T, D), degrees in -180 to 180 (IUPAC's sign)."""
        before, along, after = (self.vectors(positions, self.dihedrals[:, k]) for k in range(3))
        return dihedral_between(-before, along, after)

    def kinds(self, numbers: Indices) -> list[str]:
        """Return which elements each bond joins, for instance "C-H" (B,)."""
        pairs = np.sort(np.stack([numbers[self.centers[self.bonds]], numbers[self.neighbors[self.bonds]]], 1), 1)
        return ["-".join(SYMBOLS[z] for z in pair[::-1]) for pair in pairs]

    def angle_kinds(self, numbers: Indices) -> list[str]:
        """Return which elements each bond angle joins, its center in the middle, for instance "H-C-H" (C,)."""
        ends = np.sort(numbers[self.neighbors[self.angles]], 1)[:, ::-1]
        centers = numbers[self.centers[self.angles[:, 0]]]
        return [f"{SYMBOLS[a]}-{SYMBOLS[m]}-{SYMBOLS[b]}" for (a, b), m in zip(ends, centers, strict=True)]


def angle_between(a: Floats, b: Floats) -> Floats:
    """Return the angles between vectors (..., 3) in degrees, right also where they are small."""
    return np.asarray(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1))))


def dihedral_between(a: Floats, b: Floats, c: Floats) -> Floats:
    """Return the dihedrals of three successive bond vectors (..., 3), degrees in -180 to 180.

    Source: Blondel and Karplus 1996, doi:10.1002/(SICI)1096-987X(19960715)17:9<1132::AID-JCC5>3.0.CO;2-T.

    Examples
    --------
    >>> x, y, z = np.eye(3)
    >>> dihedral_between(-x, z, x).round(6).tolist(), dihedral_between(-x, z, y).round(6).tolist()
    (0.0, 90.0)
    """
    left, right = np.cross(a, b), np.cross(b, c)
    sine = np.linalg.norm(b, axis=-1) * (a * right).sum(-1)
    return np.asarray(np.degrees(np.arctan2(sine, (left * right).sum(-1))))


def quantiles(values: Floats) -> Floats:
    """Return evenly spaced quantiles (K, Q) of the values that K coordinates took (T, K); NaN where there are none."""
    if not len(values):
        return np.full((values.shape[1], _N_QUANTILES), np.nan)
    levels = (np.arange(_N_QUANTILES) + 0.5) / _N_QUANTILES
    return np.asarray(np.quantile(values, levels, axis=0).T)


def circular_histograms(degrees: Floats) -> Floats:
    """Return shares (K, 120) of the bins from -180 to 180 degrees for values of K angles (T, K); NaN without any."""
    if not len(degrees):
        return np.full((degrees.shape[1], _N_BINS), np.nan)
    bins = np.floor((degrees + 180) / 360 * _N_BINS).astype(np.int64) % _N_BINS
    counts = [np.bincount(own, minlength=_N_BINS) for own in bins.T]
    return np.array(counts, dtype=np.float64).reshape(-1, _N_BINS) / len(degrees)


def wasserstein(a: Floats, b: Floats) -> float:
    """Return the mean Wasserstein-1 distance of distributions given by quantiles (K, Q), in their unit.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(size=(500, 1))
    >>> round(wasserstein(quantiles(values), quantiles(values + 0.25)), 6)
    0.25
    """
    return float(np.abs(a - b).mean())


def circular_wasserstein(a: Floats, b: Floats) -> float:
    """Return the mean Wasserstein-1 distance on the circle of histograms (K, bins) from -180 to 180 degrees, degrees.

    The shortest way leads round the circle or not: the median of the difference of the cumulative shares is taken off.
    Source: Werman et al. 1986, doi:10.1016/0734-189X(86)90147-3; Rabin et al. 2011, doi:10.1007/s10851-011-0284-0.

    Examples
    --------
    >>> east, west = (circular_histograms(np.array([[degrees]])) for degrees in (179.0, -178.0))
    >>> round(circular_wasserstein(east, west), 6)
    3.0
    """
    ahead = np.cumsum(a - b, axis=1)
    return float(np.abs(ahead - np.median(ahead, axis=1, keepdims=True)).mean() * 360)


def _is_open(a: Floats, b: Floats) -> bool:
    """Whether two bonds that begin at one atom are different and not on a line, so that dihedrals are defined."""
    return bool(180 - _LINEAR_DEGREES < angle_between(a, b) < _LINEAR_DEGREES)


def _spread(rows: Indices) -> Indices:
    """Return at most so many rows, evenly spread."""
    if len(rows) <= _MOST:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, _MOST).round().astype(np.int64)])
