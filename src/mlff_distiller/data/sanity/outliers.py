"""Outliers: energies and forces unlike those of all the other structures.

The center is the median, the standard deviation that of a normal distribution with the same inner 80 %: neither moves
while fewer than a tenth of the values are wrong, and structures of several temperatures are no outliers of each other.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_INNER: Final = 2.563  # width of the inner 80 % of a normal distribution, in standard deviations
_MEMBERS: Final = 10  # a composition with fewer structures has no median worth the name
_FLOOR_EV: Final = 1e-3  # energies per atom that agree better than this are all alike
_FLOOR_DECADES: Final = 0.05
_ROUNDS: Final = 20


def energy_deviations(energies: Floats, groups: NDArray[np.int64], fractions: Floats) -> Floats:
    """Return distances of energies from what is usual, in robust standard deviations (S,); NaN where nobody can say.

    Energies of a composition with ten or more structures are compared with their median; those of rarer compositions
    with the fit of one energy for each element to all rare ones (least absolute residuals), where there are at least
    ten more structures than elements.

    Parameters
    ----------
    energies : (S,)
        Per atom, eV; NaN where there is none.
    groups : (S,)
        Composition of each structure, 0 to G - 1.
    fractions : (G, M)
        Fraction of each of M elements in each composition.
    """
    deviations = np.full(len(energies), np.nan)
    known = np.isfinite(energies)
    counts = np.bincount(groups[known], minlength=len(fractions))
    order = np.argsort(groups, kind="stable")
    order = order[known[order] & (counts[groups[order]] >= _MEMBERS)]
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        deviations[rows] = np.abs(_standardized(energies[rows], _FLOOR_EV))
    rare = np.flatnonzero(known & (counts[groups] < _MEMBERS))
    shares = fractions[groups[rare]]
    shares = shares[:, shares.any(0)]
    if len(rare) >= shares.shape[1] + _MEMBERS:
        deviations[rare] = np.abs(_standardized(_residuals(shares, energies[rare]), _FLOOR_EV))
    return deviations


def force_deviations(forces: Floats) -> Floats:
    """Return the excess of the logarithm of largest forces (S,) over the median, in robust standard deviations.

    NaN where there are no forces, or they vanish; below the median it is negative.
    """
    deviations = np.full(len(forces), np.nan)
    known = np.isfinite(forces) & (forces > 0)
    if known.sum() >= _MEMBERS:
        deviations[known] = _standardized(np.log10(forces[known]), _FLOOR_DECADES)
    return deviations


def _standardized(values: Floats, floor: float) -> Floats:
    if not len(values):
        return values
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return np.asarray((values - middle) / max(floor, float(high - low) / _INNER), dtype=np.float64)


def _residuals(shares: Floats, energies: Floats) -> Floats:
    """Return what a fit of least absolute residuals leaves, by iteratively reweighted least squares."""
    weights = np.ones(len(energies))
    residuals = energies
    for _ in range(_ROUNDS):
        fit = np.linalg.lstsq(shares * weights[:, None], energies * weights, rcond=1e-10)[0]
        residuals = energies - shares @ fit
        weights = 1 / np.sqrt(np.maximum(np.abs(residuals), _FLOOR_EV))
    return residuals
