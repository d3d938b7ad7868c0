"""Periodicity: images, supercells and the stress of a cell."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.html.words import number, quantity
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.audit.differences import STENCIL, correlation, derivative, noise_of_derivative, step_for
from mlff_distiller.validation.audit.rms import rms
from mlff_distiller.validation.audit.theme import Evidence, Found, Outcome, Skipped, Subject, Theme

Floats = NDArray[np.float64]

_MOST_CELLS: Final = 3
_WANTED: Final = 0.01  # eV, of the derivative by the strain
_SMALLEST, _LARGEST = 0.0002, 0.006
_STRAINS: Final = 6
_MOST_ATOMS: Final = 64
_ALIKE: Final = 0.9  # correlation beyond which a wrong stress is a wrong factor


def measure(subject: Subject) -> Evidence:
    """Move atoms by lattice vectors, repeat the cell, and strain it."""
    cells = [k for k, structure in enumerate(subject.structures) if structure.pbc.any()]
    cells = sorted(cells, key=lambda k: len(subject.structures[k]))[:_MOST_CELLS]
    if not cells:
        return Evidence(skipped=[Skipped("periodicity", "no structure of this recipe is periodic", applies=False)])
    stress, skipped = _stress(subject, [k for k in cells if subject.structures[k].is_periodic])
    return Evidence([*_images(subject, cells), *_supercells(subject, cells), *stress], skipped)


def _images(subject: Subject, cells: list[int]) -> list[Measurement]:
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


def _supercells(subject: Subject, cells: list[int]) -> list[Measurement]:
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


def _stress(subject: Subject, cells: list[int]) -> tuple[list[Measurement], list[Skipped]]:
    """Compare the stress with the derivative of the energy by the strain, along random strains."""
    if "stress" not in subject.probe.potential.properties or not cells:
        why = "the teacher gives no stress" if cells else "no cell is periodic in three directions"
        return [], [Skipped("stress_residual", why, applies=False)]
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
            return [], [Skipped("stress_residual", "the teacher gave no stress although it says that it does")]
        given.append(np.einsum("mij,ij->m", strains, stress))
        found.append(slopes / structure.volume)
        noise.append((noise_of_derivative(sigma, step) / structure.volume) ** 2)
    return [_compared(given, found, float(np.mean(noise)))], []


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


def _say(found: Found, outcome: Outcome) -> str:
    images, cells = found["image_force_spread"], found["supercell_force_spread"]
    stress = found.get("stress_residual")
    parts = [
        f"moving atoms by lattice vectors changes forces by {quantity(images.value, 'eV/A', 2)}",
        f"describing the crystal by a larger cell by {quantity(cells.value, 'eV/A', 2)}"
        + (
            f" and energies by {quantity(1000 * found['supercell_energy_spread'].value, 'meV/atom', 2)}"
            if cells.value > 0.01 or found["supercell_energy_spread"].value > 0.001
            else ""
        ),
    ]
    if stress is not None:
        parts.append(
            f"the stress differs from the derivative of the energy by {quantity(stress.value, 'eV/A^3', 2)}"
            f"{_fault(stress, outcome)}"
        )
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _fault(stress: Measurement, outcome: Outcome) -> str:
    """Return what the wrong stress looks like."""
    factor = stress.detail["given_over_found"]
    if outcome != "FAIL" or factor is None or stress.value < 0.1 * stress.detail["typical_stress_eV_per_A3"]:
        return ""
    if abs(stress.detail["correlation"]) < _ALIKE:
        return f" (they are correlated by {number(stress.detail['correlation'], 2)} only)"
    if factor < 0:
        return f" (its sign is reversed: it is {factor:.3g} times the derivative of the energy)"
    return f" (it is {factor:.3g} times the derivative of the energy)"


THEME: Final = Theme("periodicity", "Periodicity and stress", measure, _say)
