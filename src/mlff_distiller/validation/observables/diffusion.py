"""Diffusion: mean squared displacements of each element, and Einstein's slope."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_MOBILE_A2 = 1.0  # vibrations in solids stay well below, liquids pass it within a picosecond


def mean_squared_displacements(positions: Floats, numbers: NDArray[np.int64], masses: Floats) -> Floats:
    """Return the mean squared displacement of each element (K, T // 2), Angstrom^2, over all time origins.

    Elements by rising atomic number; the motion of the center of mass is taken off. NaN where there are no positions.
    By Fourier transforms, so that long runs cost little; source: Calandrini et al. 2011, doi:10.1051/sfn/201112010.

    Parameters
    ----------
    positions : (T, N, 3)
        Not wrapped into the cell, Angstrom.
    numbers : (N,)
        Atomic numbers.
    masses : (N,)
        amu.

    Examples
    --------
    >>> times = np.arange(10.0)
    >>> moving = np.zeros((10, 2, 3)); moving[:, 0, 0], moving[:, 1, 0] = times, -times
    >>> mean_squared_displacements(moving, np.array([1, 1]), np.ones(2))[0].round(6).tolist()
    [0.0, 1.0, 4.0, 9.0, 16.0]
    """
    n = len(positions)
    elements = np.unique(numbers)
    if n < 2:
        return np.full((len(elements), 1), np.nan)
    center = np.einsum("tic,i->tc", positions, masses / masses.sum())[:, None]
    moved = positions - center
    moved = moved - moved[0]
    squares = (moved**2).sum(-1)
    spectrum = (np.abs(np.fft.rfft(moved, 2 * n, axis=0)) ** 2).sum(-1)
    products = np.fft.irfft(spectrum, axis=0)[:n]
    total = np.concatenate([np.zeros((1, squares.shape[1])), np.cumsum(squares, axis=0)])
    lags = np.arange(n // 2)
    sums = total[n - lags] + total[n] - total[lags]
    found = (sums - 2 * products[lags]) / (n - lags)[:, None]
    return np.array([np.maximum(found[:, numbers == z], 0.0).mean(1) for z in elements])


def diffusion_coefficients(displacements: Floats, interval_fs: float) -> Floats:
    """Return Einstein's diffusion coefficients (K,), Angstrom^2/ps: a sixth of the slope of the second half of lags.

    Examples
    --------
    >>> round(float(diffusion_coefficients(np.arange(100.0)[None], interval_fs=1000.0)[0]), 6)
    0.166667
    """
    n = displacements.shape[1]
    if n < 4:
        return np.full(len(displacements), np.nan)
    lags = np.arange(n // 2, n) * interval_fs / 1000
    centered = lags - lags.mean()
    return np.asarray(displacements[:, n // 2 :] @ centered / (centered**2).sum() / 6)


def is_mobile(displacements: Floats) -> bool:
    """Whether atoms of an element leave their places: any of (R, K, L) passes 1 Angstrom^2 at the longest lag."""
    last = displacements[..., -1]
    return bool((last[np.isfinite(last)] > _MOBILE_A2).any())
