"""Velocity autocorrelation and vibrational density of states, weighted by mass."""

from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.units import FEMTOSECOND

Floats = NDArray[np.float64]

SPEED_OF_LIGHT_CM_PER_FS = 2.99792458e-5
_STEP_PER_CM = 5.0
_HIGHEST_PER_CM = 4500.0
_ATOMS_AT_ONCE = 64
_LINEAR = 0.02  # moments of inertia below this part of the largest one are taken as none


def per_cm(angular_frequency: Floats) -> Floats:
    """Return wavenumbers, 1/cm, of angular frequencies in radians per ASE time unit.

    Examples
    --------
    >>> round(float(per_cm(np.array(1.0))), 2)
    521.47
    """
    return np.asarray(angular_frequency * FEMTOSECOND / (2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS))


def wavenumbers() -> Floats:
    """Return the wavenumbers (K,) at which spectra are given, 1/cm."""
    return np.arange(0.0, _HIGHEST_PER_CM + _STEP_PER_CM / 2, _STEP_PER_CM)


def velocity_autocorrelation(velocities: Floats, masses: Floats) -> Floats:
    """Return the autocorrelation of mass-weighted velocities (T / 2,), 1 at time zero.

    Parameters
    ----------
    velocities : (T, N, 3)
        At even intervals.
    masses : (N,)
        amu.

    Examples
    --------
    >>> times = np.arange(200.0)
    >>> velocities = np.cos(2 * np.pi * times / 20)[:, None, None] * np.ones((1, 1, 3))
    >>> velocity_autocorrelation(velocities, np.ones(1))[[0, 10]].round(2).tolist()
    [1.0, -1.0]
    """
    n = len(velocities)
    weighted = _internal(velocities, masses)
    power = _power(weighted, 2 * n)
    counts = n - np.arange(n)
    correlation = np.fft.irfft(power)[:n] / counts
    return np.asarray(correlation[: max(n // 2, 1)] / max(correlation[0], 1e-300))


def density_of_states(velocities: Floats, masses: Floats, *, interval_fs: float, width_per_cm: float) -> Floats:
    """Return the vibrational density of states at :func:`wavenumbers`, of area 1; NaN for fewer than two times.

    The power spectrum of the mass-weighted velocities, with Hann's window, smoothed by a Gaussian. Translation of the
    whole is taken off first.

    Parameters
    ----------
    velocities : (T, N, 3)
        Angstrom per ASE time unit.
    masses : (N,)
        amu.
    interval_fs : float
        Time between velocities.
    width_per_cm : float
        Standard deviation of the Gaussian.
    """
    grid = wavenumbers()
    n = len(velocities)
    if n < 2:
        return np.full(len(grid), np.nan)
    window = np.hanning(n + 2)[1:-1, None, None]
    length = 8 * n  # zeros behind, so that the spectrum is smooth between its points
    power = _power(_internal(velocities, masses) * window, length)
    known = np.fft.rfftfreq(length, interval_fs) / SPEED_OF_LIGHT_CM_PER_FS
    smooth = _smoothed(power, width_per_cm / float(known[1]))
    spectrum = np.interp(grid, known, smooth, right=0.0)
    return np.asarray(spectrum / max(float(spectrum.sum() * _STEP_PER_CM), 1e-300))


def spectral_distance(a: Floats, b: Floats) -> float:
    """Return the area between two spectra of area 1: 0 for the same, 2 for those that share nothing."""
    return float(np.abs(a - b).sum() * _STEP_PER_CM)


def without_rotation(positions: Floats, velocities: Floats, masses: Floats, interval_fs: float) -> Floats:
    """Return the velocities of a molecule (T, N, 3) seen from a frame that turns with it, its own motion taken off.

    A molecule that turns smears every line into branches as wide as the rotation is fast. The frame follows the angular
    velocity that the angular momentum stands for; turning about the axis of a linear molecule is left out.

    Parameters
    ----------
    positions, velocities : (T, N, 3)
        Angstrom, and Angstrom per ASE time unit.
    masses : (N,)
        amu.
    interval_fs : float
        Time between them.
    """
    from scipy.spatial.transform import Rotation

    share = masses / masses.sum()
    x, v = (a - np.einsum("tic,i->tc", a, share)[:, None] for a in (positions, velocities))
    momentum = np.einsum("i,tic->tc", masses, np.cross(x, v))
    squares = np.einsum("i,tia,tib->tab", masses, x, x)
    inertia = np.trace(squares, axis1=1, axis2=2)[:, None, None] * np.eye(3) - squares
    turning = np.einsum("tab,tb->ta", np.linalg.pinv(inertia, rcond=_LINEAR, hermitian=True), momentum)
    inner = v - np.cross(turning[:, None], x)
    steps = Rotation.from_rotvec(-(turning[1:] + turning[:-1]) / 2 * interval_fs * FEMTOSECOND).as_matrix()
    frames = [np.eye(3), *accumulate(steps, np.matmul)]
    return np.asarray(np.einsum("tab,tib->tia", np.array(frames[: len(x)]), inner))


def _internal(velocities: Floats, masses: Floats) -> Floats:
    """Return velocities without translation of the whole, times the roots of the masses; one atom keeps its own."""
    share = masses / masses.sum()
    mean = np.einsum("tic,i->tc", velocities, share)[:, None] if len(masses) > 1 else 0.0
    return np.asarray((velocities - mean) * np.sqrt(masses)[:, None])


def _power(series: Floats, length: int) -> Floats:
    """Return the power spectrum of series (T, N, 3), summed, a few atoms at a time: zeros behind take memory."""
    pieces = np.array_split(series, max(series.shape[1] // _ATOMS_AT_ONCE, 1), axis=1)
    return np.asarray(sum((np.abs(np.fft.rfft(own, length, axis=0)) ** 2).sum((1, 2)) for own in pieces))


def _smoothed(values: Floats, width: float) -> Floats:
    if width < 0.1:
        return values
    from scipy.ndimage import gaussian_filter1d  # here, because it is slow to import

    return np.asarray(gaussian_filter1d(values, width, mode="reflect"))
