"""Noise of the energy: what is left of a very short line once a smooth curve is taken off."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.validation.surface.probe import Probe

Floats = NDArray[np.float64]

_REACH: Final = 2e-3  # Angstrom; a fourth-order term is below 1e-9 eV there
_POINTS: Final = np.linspace(-1.0, 1.0, 9)
_DEGREE: Final = 3
_LINES: Final = 2


def energy_noise(probe: Probe, structure: Structure, *, rng: np.random.Generator) -> float:
    """Return the standard deviation of the noise of a structure's energy, eV.

    Energies along short lines are fitted by cubics; what is left is rounding, unfinished self-consistency or chance.
    Energies that are all single-precision numbers are no better than rounding to them.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import harmonic
    >>> probe = Probe(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), budget_s=60)
    >>> energy_noise(probe, Structure([1, 1], [[0, 0, 0], [0, 0, 1.2]]), rng=np.random.default_rng(0)) < 1e-9
    True
    """
    lines = directions(len(structure), _LINES, rng=rng)
    moved = [structure.moved(structure.positions + _REACH * x * line) for line in lines for x in _POINTS]
    energies = probe.energies(moved).reshape(_LINES, -1)
    powers = np.vander(_POINTS, _DEGREE + 1)
    centered = energies - energies.mean(1, keepdims=True)
    left = centered.T - powers @ np.linalg.lstsq(powers, centered.T, rcond=None)[0]
    freedom = _LINES * (len(_POINTS) - _DEGREE - 1)
    return max(float(np.sqrt((left**2).sum() / freedom)), rounding_error(energies.ravel()))


def rounding_error(energies: Sequence[float] | Floats) -> float:
    """Return the standard deviation of the rounding of energies: that of single precision if all are such numbers.

    Examples
    --------
    >>> rounding_error(np.float64(np.float32([-2000.1, -2000.2]))) > 1e-5 > rounding_error([-2000.1, -2000.2])
    True
    """
    values = np.asarray(energies, dtype=np.float64)
    single = values.astype(np.float32)
    step = np.spacing(np.abs(single).max()) if (single == values).all() else np.spacing(np.abs(values).max())
    return float(step) / 12**0.5


def directions(n_atoms: int, n: int, *, rng: np.random.Generator) -> Floats:
    """Return random unit vectors in the space of all coordinates (n, N, 3)."""
    drawn = rng.standard_normal((n, n_atoms, 3))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=(1, 2), keepdims=True))
