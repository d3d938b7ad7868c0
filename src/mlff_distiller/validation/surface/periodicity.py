"""Periodicity: images, supercells and the stress of a cell."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.surface.differences import (
    STENCIL,
    correlation,
    derivative,
    noise_of_derivative,
    step_for,
)
from mlff_distiller.validation.surface.rms import rms
from mlff_distiller.validation.surface.subject import Subject

Floats = NDArray[np.float64]

_WANTED: Final = 0.01  # eV, of the derivative by the strain
_SMALLEST, _LARGEST = 0.0002, 0.006
_STRAINS: Final = 6
_MOST_ATOMS: Final = 64


def images(subject: Subject, cells: list[int]) -> list[Measurement]:
    """Compare with atoms moved by whole lattice vectors."""
    energies, forces = [], []
    for k in cells:
        structure = subject.structures[k]
        whole = subject.rng("images", k).integers(-1, 2, size=(len(structure), 3)) * structure.pbc
        energy, force = subject.probe.labels([structure, structure.moved(structure.positions + whole @ structure.cell)])
        energies.append(np.array([((energy[1] - energy[0]) / len(structure)) ** 2]))
        forces.append(((force[1] - force[0]) ** 2).ravel())
    return [
        rms("image_force_spread", "eV/A", forces),
        rms("image_energy_spread", "eV/atom", energies),
    ]


def supercells(subject: Subject, cells: list[int]) -> list[Measurement]:
    """Compare with the same crystal described by a cell several times as large."""
    energies, forces, widths = [], [], []
    for k in cells:
        structure = subject.structures[k]
        times = _times(structure)
        large = repeated(structure, times)
        n = len(large) // len(structure)
        energy, force = subject.probe.labels([structure, large])
        energies.append(np.array([(energy[1] / len(large) - energy[0] / len(structure)) ** 2]))
        forces.append(((force[1] - np.tile(force[0], (n, 1))) ** 2).ravel())
        widths.append(float(_widths(structure)[structure.pbc].min()))
    detail = {"narrowest_cell_A": min(widths), "cutoff_A": subject.probe.potential.cutoff}
    return [
        rms("supercell_force_spread", "eV/A", forces, detail=detail),
        rms("supercell_energy_spread", "eV/atom", energies, detail=dict(detail)),
    ]


def _times(structure: Structure) -> list[int]:
    """Return how often a cell is repeated: twice in each periodic direction, or along the narrowest alone."""
    n_periodic = int(structure.pbc.sum())
    if len(structure) * 2**n_periodic <= _MOST_ATOMS:
        return [2 if periodic else 1 for periodic in structure.pbc]
    narrowest = int(np.argmin(np.where(structure.pbc, _widths(structure), np.inf)))
    return [2 if axis == narrowest else 1 for axis in range(3)]


def _widths(structure: Structure) -> Floats:
    """Return the lengths of the cell vectors (3,), Angstrom."""
    return np.asarray(np.linalg.norm(structure.cell, axis=1))


def repeated(structure: Structure, times: list[int]) -> Structure:
    """Return a supercell, one copy of all atoms after the other.

    Examples
    --------
    >>> cell = Structure([29], [[0, 0, 0]], cell=2.5 * np.eye(3), pbc=True)
    >>> len(repeated(cell, [2, 2, 1]))
    4
    """
    shifts = np.array([[i, j, k] for i in range(times[0]) for j in range(times[1]) for k in range(times[2])])
    positions = (structure.positions[None] + (shifts @ structure.cell)[:, None]).reshape(-1, 3)
    return Structure(
        np.tile(structure.numbers, len(shifts)),
        positions,
        cell=structure.cell * np.array(times)[:, None],
        pbc=structure.pbc,
        charge=structure.charge * len(shifts),
        spin=len(shifts) * (structure.spin - 1) + 1,
    )


def stress_residual(subject: Subject, cells: list[int]) -> Measurement | None:
    """Return how far the stress is from the derivative of the energy by the strain; None where none is given.

    Parameters
    ----------
    subject : Subject
        Whose potential says that it gives stress.
    cells : list of int
        Which of its structures are strained; all periodic in three directions.
    """
    given, found, noise = [], [], []
    for k in cells:
        structure = subject.structures[k]
        sigma = float(subject.energy_noise[k])
        strains = _strains(subject.rng("strain", k))
        step = step_for(sigma, wanted=_WANTED, low=_SMALLEST, high=_LARGEST)
        strained = [_strained(structure, step * x * strain) for strain in strains for x in STENCIL]
        slopes, _ = derivative(subject.probe.energies(strained).reshape(len(strains), -1), step)
        stress = subject.probe.predict([structure], ("energy", "forces", "stress"))[0].stress
        if stress is None:
            return None
        given.append(np.einsum("mij,ij->m", strains, stress))
        found.append(slopes / structure.volume)
        noise.append((noise_of_derivative(sigma, step) / structure.volume) ** 2)
    return _compared(given, found, float(np.mean(noise)))


def _compared(given: list[Floats], found: list[Floats], noise: float) -> Measurement:
    squares = [(a - b) ** 2 for a, b in zip(given, found, strict=True)]
    one, other = np.concatenate(given), np.concatenate(found)
    detail = {
        "typical_stress_eV_per_A3": float(np.sqrt((other**2).mean())),
        "given_over_found": float(one @ other / (other @ other)) if (other != 0).any() else None,
        "correlation": correlation(one, other),
        "noise_floor_eV_per_A3": noise**0.5,
    }
    return rms("stress_residual", "eV/A^3", squares, noise=noise, detail=detail)


def _strains(rng: np.random.Generator) -> Floats:
    """Return random symmetric matrices of unit length (6, 3, 3)."""
    drawn = rng.standard_normal((_STRAINS, 3, 3))
    symmetric = (drawn + drawn.transpose(0, 2, 1)) / 2
    return np.asarray(symmetric / np.linalg.norm(symmetric, axis=(1, 2), keepdims=True))


def _strained(structure: Structure, strain: Floats) -> Structure:
    deformation = np.eye(3) + strain
    return structure.moved(structure.positions @ deformation, cell=structure.cell @ deformation)
