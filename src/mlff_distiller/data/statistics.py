"""Statistics of structures and labels: what a student starts from, and what a report tells."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError

Floats = NDArray[np.float64]


def fit_reference_energies(structures: Sequence[Structure], energies: Sequence[float]) -> dict[int, float]:
    """Fit one energy for each element, so that their sum over a structure is close to its energy.

    Least squares of the error per atom over all compositions. Often the compositions do not determine every element
    (one molecule only, say); then, of all best fits, the one nearest to "the same energy for every atom" is taken:
    the mean energy per atom plus the correction of minimum norm. One molecule of N atoms thus gives energy / N to
    each of its elements.

    Parameters
    ----------
    structures : sequence of Structure
        S structures.
    energies : sequence of float
        Total energies (S,), eV.

    Returns
    -------
    dict
        Atomic number to energy, eV.

    Raises
    ------
    DataError
        If there are no structures, or an energy is not finite.

    Examples
    --------
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> h2o = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    >>> fit = fit_reference_energies([h2, h2o], [-26.0, -138.0])
    >>> {number: round(energy, 6) for number, energy in fit.items()}
    {1: -13.0, 8: -112.0}
    """
    if not structures or len(structures) != len(energies):
        raise DataError(
            f"{len(structures)} structures and {len(energies)} energies: reference energies need at least one of each"
        )
    totals = np.asarray(energies, dtype=np.float64)
    if not np.isfinite(totals).all():
        raise DataError(f"the energy of structure {int(np.argmin(np.isfinite(totals)))} is not finite; remove it")
    elements = sorted({int(z) for s in structures for z in np.unique(s.numbers)})
    fractions = _fractions(structures, elements)
    per_atom = totals / np.array([len(s) for s in structures])
    mean = float(per_atom.mean())
    correction = np.linalg.lstsq(fractions, per_atom - mean, rcond=1e-10)[0]
    return {z: float(mean + c) for z, c in zip(elements, correction, strict=True)}


def force_rms(labels: Sequence[Labels]) -> float:
    """Return the root mean square of all force components, eV/Angstrom.

    Raises
    ------
    DataError
        If no label has forces.

    Examples
    --------
    >>> force_rms([Labels(forces=np.array([[2.0, 2.0, -2.0]])), Labels(energy=-1.0)])
    2.0
    """
    return float(np.sqrt(np.mean(_forces(labels) ** 2)))


def mean_neighbors(structures: Sequence[Structure], cutoff: float) -> float:
    """Return the mean number of neighbors of an atom within the cutoff (Angstrom).

    Examples
    --------
    >>> mean_neighbors([Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])], cutoff=5.0)
    1.0
    """
    from mlff_distiller.atoms.neighbors import find_edges  # loads torch

    return sum(len(find_edges(s, cutoff)) for s in structures) / max(1, sum(len(s) for s in structures))


def summary(structures: Sequence[Structure], labels: Sequence[Labels]) -> dict[str, Any]:
    """Return plain data about a data set, for reports and ``mlffd info``.

    ``energy_per_atom_eV`` (minimum, mean, maximum), ``force_rms_eV_per_A`` and ``force_max_eV_per_A`` (longest force
    on an atom) are None where nothing has that label. Counts of elements are atoms, counts of formulas structures.

    Raises
    ------
    DataError
        If structures and labels are not as many.

    Examples
    --------
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> found = summary([h2], [Labels(energy=-26.0)])
    >>> found["elements"], found["formulas"], found["energy_per_atom_eV"]
    ({'H': 2}, {'H2': 1}, {'min': -13.0, 'mean': -13.0, 'max': -13.0})
    """
    if len(structures) != len(labels):
        raise DataError(f"got {len(structures)} structures and {len(labels)} labels; give one of each")
    elements: Counter[int] = Counter(z for s in structures for z in s.numbers.tolist())
    formulas = Counter(s.formula for s in structures)
    pairs = zip(structures, labels, strict=True)
    energies = np.array([label.energy / len(s) for s, label in pairs if label.energy is not None])
    has_forces = any(label.forces is not None for label in labels)
    return {
        "n_structures": len(structures),
        "n_atoms": sum(elements.values()),
        "n_periodic": sum(s.is_periodic for s in structures),
        "elements": {SYMBOLS[z]: n for z, n in sorted(elements.items())},
        "formulas": dict(sorted(formulas.items())),
        "properties": dict(Counter(name for label in labels for name in label.present)),
        "energy_per_atom_eV": _range(energies) if len(energies) else None,
        "force_rms_eV_per_A": force_rms(labels) if has_forces else None,
        "force_max_eV_per_A": float(np.linalg.norm(_forces(labels), axis=1).max()) if has_forces else None,
    }


def _fractions(structures: Sequence[Structure], elements: list[int]) -> Floats:
    counts = np.array([np.bincount(s.numbers, minlength=elements[-1] + 1)[elements] for s in structures])
    return np.asarray(counts / counts.sum(1, keepdims=True), dtype=np.float64)


def _forces(labels: Sequence[Labels]) -> Floats:
    forces = [label.forces for label in labels if label.forces is not None]
    if not forces:
        raise DataError("no structure has forces; label the structures with forces")
    return np.concatenate(forces)


def _range(values: Floats) -> dict[str, float]:
    return {"min": float(values.min()), "mean": float(values.mean()), "max": float(values.max())}
