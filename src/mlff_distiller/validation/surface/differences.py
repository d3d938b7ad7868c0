"""Derivatives of the energy along a line by finite differences, with the error of each."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STENCIL: Final = np.array([1.0, -1.0, 2.0, -2.0, 4.0, -4.0])
"""Where energies are taken, in steps."""

_NOISE: Final = 1.018  # standard deviation of the derivative over that of an energy, times the step


def derivative(energies: Floats, step: float) -> tuple[Floats, Floats]:
    """Return derivatives (...) from energies (..., 6) at the points of the stencil, and a bound on their truncation.

    Three central differences, extrapolated twice (Richardson 1911, doi:10.1098/rsta.1911.0009): the error is of
    sixth order in the step, and the difference to the fourth-order estimate bounds it.

    Examples
    --------
    >>> x = 0.1 * STENCIL
    >>> best, error = derivative(x + x**4 + x**5, 0.1)
    >>> round(float(best), 12), bool(error > 0)
    (1.0, True)
    """
    central = [
        (energies[..., 2 * k] - energies[..., 2 * k + 1]) / (2 * size * step) for k, size in enumerate((1, 2, 4))
    ]
    fine, coarse = (4 * central[0] - central[1]) / 3, (4 * central[1] - central[2]) / 3
    best = (16 * fine - coarse) / 15
    return best, np.abs(best - fine)


def noise_of_derivative(energy_noise: float, step: float) -> float:
    """Return the standard deviation of a derivative that the noise of the energy causes.

    Examples
    --------
    >>> noise_of_derivative(1e-4, 0.01)
    0.01018
    """
    return _NOISE * energy_noise / step


def step_for(energy_noise: float, *, wanted: float, low: float, high: float) -> float:
    """Return the shortest step at which noise leaves a derivative as sharp as wanted.

    Potentials have kinks in higher derivatives, at their cutoffs for instance, over which no extrapolation helps: a
    short step misses most of them, and noise alone keeps it from being shorter.

    Parameters
    ----------
    energy_noise : float
        Standard deviation, eV.
    wanted : float
        Standard deviation of the derivative that is good enough.
    low, high : float
        Bounds of the step.

    Examples
    --------
    >>> [round(step_for(noise, wanted=1e-4, low=0.001, high=0.03), 3) for noise in (1e-12, 1e-6, 1e-3)]
    [0.001, 0.01, 0.03]
    """
    return float(np.clip(_NOISE * energy_noise / wanted, low, high))


def correlation(one: Floats, other: Floats) -> float:
    """Return the cosine of the angle between two vectors (n,); zero where one of them is.

    Examples
    --------
    >>> correlation(np.array([1.0, 0.0]), np.array([-2.0, 0.0]))
    -1.0
    """
    sizes = float((one @ one) * (other @ other)) ** 0.5
    return float(one @ other) / sizes if sizes else 0.0
