"""What the pictures are drawn from: labels of every structure, gathered in one pass."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.blocks import blocks, has, owners
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.curation.diversity import FORCE_EDGES
from mlff_distiller.data.sanity.geometry import volume_per_atom
from mlff_distiller.data.sanity.labels import largest_force
from mlff_distiller.data.similarity.hashes import compositions
from mlff_distiller.data.source import Source
from mlff_distiller.data.statistics import Statistics

Floats = NDArray[np.float64]

_N_ELEMENTS: Final = 119
_N_BINS: Final = len(FORCE_EDGES)


@dataclass(frozen=True, eq=False)
class Numbers:
    """Labels of S structures; some 40 bytes are kept for each.

    Attributes
    ----------
    energies : (S,)
        Energies per atom less the reference energies of the elements, eV; NaN where there is none.
    has_reference : bool
        Whether there are reference energies; else ``energies`` are those of the labels.
    systems : (S,) uint64
        A hash of composition, charge and spin.
    largest_forces : (S,)
        Longest force on an atom, eV/Angstrom; NaN without forces.
    volumes : (S,)
        Volume per atom of cells periodic in three directions, Angstrom^3; else NaN.
    pressures : (S,)
        Minus a third of the trace of the stress, eV/Angstrom^3; NaN without stress.
    forces : (119, 81)
        Histograms of the lengths of forces on atoms by element: those below the first of
        :data:`~mlff_distiller.data.curation.diversity.FORCE_EDGES`, zeros included, then those between them.

    Examples
    --------
    >>> from mlff_distiller.atoms.labels import Labels
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> columns = pack([0, 1], [h2, h2], [Labels(energy=-26.0), Labels(energy=-28.0)])
    >>> Numbers.of(columns, Statistics.of(columns)).energies.tolist()
    [0.5, -0.5]
    """

    energies: Floats
    has_reference: bool
    systems: NDArray[np.uint64]
    largest_forces: Floats
    volumes: Floats
    pressures: Floats
    forces: NDArray[np.int64]

    @classmethod
    def of(cls, source: Source, statistics: Statistics) -> "Numbers":
        """Return the numbers of a store or of columns, read once in blocks."""
        reference = _reference(statistics)
        n = len(source)
        energies, largest, volumes, pressures = (np.full(n, np.nan) for _ in range(4))
        systems, forces = np.empty(n, dtype=np.uint64), np.zeros((_N_ELEMENTS, _N_BINS), dtype=np.int64)
        for rows, columns in blocks(source):
            energies[rows] = _energies(columns, reference)
            systems[rows] = compositions(columns, electrons=True)
            largest[rows], pressures[rows] = largest_force(columns), _pressures(columns)
            volumes[rows] = volume_per_atom(columns)
            forces += _forces(columns)
        return cls(energies, bool(reference.any()), systems, largest, volumes, pressures, forces)


def _reference(statistics: Statistics) -> Floats:
    """Return the reference energy of each atomic number (119,), zero where there is none."""
    reference = np.zeros(_N_ELEMENTS)
    try:
        found = statistics.reference_energies()
    except DataError:  # no energies, or one that is not finite: what there is, is shown as it is
        return reference
    reference[list(found)] = list(found.values())
    return reference


def _energies(columns: Columns, reference: Floats) -> Floats:
    if "energy" not in columns.arrays:
        return np.full(len(columns), np.nan)
    expected = np.bincount(owners(columns), reference[columns.arrays["numbers"]], minlength=len(columns))
    energies = np.where(has(columns, "energy"), columns.arrays["energy"], np.nan)
    return np.asarray((energies - expected) / columns.sizes)


def _pressures(columns: Columns) -> Floats:
    if "stress" not in columns.arrays:
        return np.full(len(columns), np.nan)
    return np.where(has(columns, "stress"), -np.trace(columns.arrays["stress"], axis1=1, axis2=2) / 3, np.nan)


def _forces(columns: Columns) -> NDArray[np.int64]:
    """Return histograms (119, 81) of the lengths of forces by element; the longest of all are in the last interval."""
    if "forces" not in columns.arrays:
        return np.zeros((_N_ELEMENTS, _N_BINS), dtype=np.int64)
    lengths = np.linalg.norm(columns.arrays["forces"], axis=1)
    known = has(columns, "forces")[owners(columns)] & np.isfinite(lengths)
    places = np.minimum(np.searchsorted(FORCE_EDGES, lengths[known], side="right"), _N_BINS - 1)
    flat = columns.arrays["numbers"][known].astype(np.int64) * _N_BINS + places
    return np.bincount(flat, minlength=_N_ELEMENTS * _N_BINS).reshape(_N_ELEMENTS, _N_BINS)
