"""Vibrations: the Hessian at a minimum, harmonic frequencies, and how far two geometries are apart."""

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import MASSES
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.observables.spectra import per_cm

Floats = NDArray[np.float64]

# Where products come from finite differences, an atom is moved by this many times their step: 0.005 Angstrom.
_LENGTH = 2.5
_INDEPENDENT = 1e-3  # a rotation with less than this of the largest one's size is none: the molecule is linear


def hessian(potential: Potential, structure: Structure) -> Floats:
    """Return the second derivatives of the energy (3 N, 3 N), symmetric, eV/Angstrom^2.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import harmonic
    >>> spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
    >>> hessian(spring, Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]]))[2, [2, 5]].round(6).tolist()
    [10.0, -10.0]
    """
    n = 3 * len(structure)
    directions = _LENGTH * np.eye(n).reshape(n, -1, 3).transpose(1, 0, 2)
    products = potential.hessian_products([structure], [directions])[0] / _LENGTH
    rows = products.transpose(1, 0, 2).reshape(n, n)
    return np.asarray((rows + rows.T) / 2)


def harmonic_frequencies(second: Floats, structure: Structure) -> Floats:
    """Return the wavenumbers of the vibrations (M,), rising, 1/cm; imaginary ones as negative numbers.

    Translations, and of molecules rotations, are projected out, so that M is 3 N - 6, or 3 N - 5 for linear ones, or
    3 N - 3 with periodic boundaries.

    Parameters
    ----------
    second : (3 N, 3 N)
        Hessian, eV/Angstrom^2.
    structure : Structure
        N atoms, at a minimum.

    Examples
    --------
    >>> import ase.units as u
    >>> from mlff_distiller.potentials.analytic import harmonic
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
    >>> spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
    >>> harmonic_frequencies(hessian(spring, h2), h2).round(1).tolist()
    [2322.8]
    """
    weights = np.repeat(np.sqrt(MASSES[structure.numbers]), 3)
    rigid = _rigid_motions(structure)
    inner = np.linalg.svd(rigid)[2][len(rigid) :]  # orthonormal to all rigid motions
    eigenvalues = np.linalg.eigvalsh(inner @ (second / np.outer(weights, weights)) @ inner.T)
    return np.asarray(np.sign(eigenvalues) * per_cm(np.sqrt(np.abs(eigenvalues))))


def _rigid_motions(structure: Structure) -> Floats:
    """Return mass-weighted translations and, of molecules, rotations (3 to 6, 3 N), orthonormal."""
    roots = np.sqrt(MASSES[structure.numbers])[:, None]
    translations = (np.eye(3)[:, None, :] * roots).reshape(3, -1) / np.linalg.norm(roots)
    if structure.pbc.any() or len(structure) == 1:
        return translations
    center = (roots**2 * structure.positions).sum(0) / (roots**2).sum()
    rotations = (np.cross(np.eye(3)[:, None, :], structure.positions - center) * roots).reshape(3, -1)
    _, sizes, motions = np.linalg.svd(rotations, full_matrices=False)
    return np.concatenate([translations, motions[sizes > _INDEPENDENT * sizes[0]]])


def rmsd(a: Structure, b: Structure) -> float:
    """Return the root mean square distance of two geometries, laid on each other, Angstrom.

    Molecules are moved and turned, never mirrored; periodic systems are only moved. Source: Kabsch 1976,
    doi:10.1107/S0567739476001873.

    Examples
    --------
    >>> bent = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    >>> rmsd(bent, bent.moved(bent.positions[:, [1, 2, 0]] + 3.0)) < 1e-12
    True
    """
    left, right = (s.positions - s.positions.mean(0) for s in (a, b))
    if not a.pbc.any():
        u, _, v = np.linalg.svd(left.T @ right)
        u[:, -1] *= np.sign(np.linalg.det(u @ v))
        left = left @ u @ v
    return float(np.sqrt(((left - right) ** 2).sum(1).mean()))
