"""Velocities: drawn at a temperature, without translation or rotation, and what they say of the temperature.

Velocities are in Angstrom per ASE time unit (Angstrom * sqrt(amu / eV), about 10.18 fs), so that m a = F needs no
factor.
"""

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import MASSES
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.units import BOLTZMANN

Floats = NDArray[np.float64]

# Atoms that leave a line by less than this part of its length count as linear: the coordinates of builders and
# files are no better, and a rotation about the axis would hold no energy.
_LINEAR = 1e-3


def maxwell_boltzmann(structure: Structure, temperature_K: float, rng: np.random.Generator) -> Floats:
    """Draw velocities from the Maxwell-Boltzmann distribution, at exactly the temperature asked for.

    Total momentum is removed, and for structures without periodic boundaries the angular momentum about the center
    of mass too; the rest is scaled so that :func:`temperature` returns ``temperature_K``. A single atom stays at
    rest.

    Parameters
    ----------
    structure : Structure
        N atoms.
    temperature_K : float
        Not negative.
    rng : numpy.random.Generator
        Where the random numbers come from.

    Returns
    -------
    (N, 3) array
        Angstrom per ASE time unit.

    Raises
    ------
    ValueError
        If the temperature is negative.

    Examples
    --------
    >>> from mlff_distiller.core.randomness import generator
    >>> water = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    >>> velocities = maxwell_boltzmann(water, 300.0, generator(0, "velocities"))
    >>> round(temperature(water, velocities), 6)
    300.0
    """
    if temperature_K < 0:
        raise ValueError(f"a temperature cannot be negative, got {temperature_K} K")
    weights = _root_masses(structure)
    freedom = degrees_of_freedom(structure)
    drawn = rng.standard_normal((len(structure), 3))
    if freedom == 0 or temperature_K == 0:
        return np.zeros_like(drawn)
    modes = _rigid_modes(structure)
    momenta = drawn.ravel() - modes.T @ (modes @ drawn.ravel())
    momenta *= np.sqrt(freedom * BOLTZMANN * temperature_K) / np.linalg.norm(momenta)
    return momenta.reshape(-1, 3) / weights


def degrees_of_freedom(structure: Structure) -> int:
    """Return how many motions hold kinetic energy once translation (and rotation, for molecules) is removed.

    3N - 3 with any periodic boundary; otherwise 3N - 6, or 3N - 5 for linear molecules, or 0 for one atom.

    Examples
    --------
    >>> degrees_of_freedom(Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]]))
    1
    """
    return 3 * len(structure) - len(_rigid_modes(structure))


def kinetic_energy(structure: Structure, velocities: Floats) -> float:
    """Return the kinetic energy, eV, of velocities (N, 3) in Angstrom per ASE time unit.

    Examples
    --------
    >>> round(kinetic_energy(Structure([1], [[0, 0, 0]]), np.array([[1.0, 0, 0]])), 3)
    0.504
    """
    return float(0.5 * np.sum(MASSES[structure.numbers][:, None] * velocities**2))


def temperature(structure: Structure, velocities: Floats) -> float:
    """Return the temperature, K: twice the kinetic energy per degree of freedom; 0 where there is none.

    Examples
    --------
    >>> temperature(Structure([2], [[0, 0, 0]]), np.zeros((1, 3)))
    0.0
    """
    return 2 * kinetic_energy(structure, velocities) / (BOLTZMANN * max(degrees_of_freedom(structure), 1))


def _root_masses(structure: Structure) -> Floats:
    return np.sqrt(MASSES[structure.numbers])[:, None]


def _rigid_modes(structure: Structure) -> Floats:
    """Return orthonormal mass-weighted translations and, without periodicity, rotations: (3 to 6, 3N)."""
    weights = _root_masses(structure)
    translations = (np.eye(3)[:, None, :] * weights).reshape(3, -1) / np.linalg.norm(weights)
    if structure.pbc.any() or len(structure) == 1:
        return translations
    center = (weights**2 * structure.positions).sum(0) / (weights**2).sum()
    axes = np.cross(np.eye(3)[:, None, :], structure.positions - center)
    rotations = (axes * weights).reshape(3, -1)
    _, sizes, modes = np.linalg.svd(rotations, full_matrices=False)
    return np.concatenate([translations, modes[sizes > _LINEAR * sizes[0]]])
