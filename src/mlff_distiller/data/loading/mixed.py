"""Mixed: the teacher's labels and those of a reference method in one data set, on one scale of energy."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import names
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.blocks import owners
from mlff_distiller.data.columns import Columns, common_widths, concatenate
from mlff_distiller.data.schema import REFERENCE
from mlff_distiller.data.source import Source
from mlff_distiller.data.statistics import Statistics

Rows = NDArray[np.int64]


class Mixed:
    """A source that has the structures of reference data behind those of the teacher's data.

    Two methods count energy from different zeros, which differ by one energy for each atom of an element; so much is
    taken from the reference energies. Structures are numbered anew, by their row. Where one side has no label of a kind
    the other side has, it stays absent.

    Parameters
    ----------
    teacher, reference : Source
        Stores, columns or data sets.
    shifts : dict of int to float
        Energy by which an atom of each element (atomic number) is higher in the reference data, eV;
        :func:`energy_shifts` fits it.

    Raises
    ------
    DataError
        If Hessians are known in different numbers of directions, or embeddings have different numbers of features.

    Examples
    --------
    >>> from mlff_distiller.atoms.labels import Labels
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> xtb, dft = (pack([0], [h2], [Labels(energy=energy)]) for energy in (-26.0, -32.0))
    >>> mixed = Mixed(xtb, dft, {1: -3.0})
    >>> both = mixed.take(np.array([1, 0]))
    >>> both.arrays["energy"].tolist(), mixed.is_reference.tolist()
    ([-26.0, -26.0], [False, True])
    """

    def __init__(self, teacher: Source, reference: Source, shifts: Mapping[int, float]) -> None:
        self.teacher, self.reference, self.shifts = teacher, reference, dict(shifts)
        self.widths = common_widths({"the teacher's data": teacher.widths, "the reference data": reference.widths})
        self._by_element = np.full(256, np.nan)
        self._by_element[list(self.shifts)] = list(self.shifts.values())

    def __len__(self) -> int:
        return len(self.teacher) + len(self.reference)

    @property
    def sizes(self) -> Rows:
        """Number of atoms of each structure (S,)."""
        return np.concatenate([self.teacher.sizes, self.reference.sizes])

    @property
    def properties(self) -> frozenset[str]:
        """Properties that structures of either side may be labeled with."""
        return frozenset(self.teacher.properties) | frozenset(self.reference.properties)

    @property
    def is_reference(self) -> NDArray[np.bool_]:
        """Which structures have the labels of the reference method (S,)."""
        return np.arange(len(self)) >= len(self.teacher)

    def take(self, rows: Rows, *, only: Collection[str] | None = None) -> Columns:
        """Return the structures of rows, in their order; of some arrays only, if said.

        Raises
        ------
        DataError
            If there is an element whose shift is not known.
        """
        rows = np.asarray(rows, dtype=np.int64)
        is_reference = rows >= len(self.teacher)
        parts = []
        if not is_reference.all() or not len(rows):
            parts.append(self.teacher.take(rows[~is_reference], only=only))
        if is_reference.any():
            parts.append(self._shifted(rows[is_reference] - len(self.teacher), only))
        places = np.argsort(np.argsort(is_reference, kind="stable"))  # the teacher's lie in front, as they are read
        taken = concatenate(parts).take(places, only=only)
        if "ids" in taken.arrays:
            taken.arrays["ids"] = rows.copy()
        return taken

    def _shifted(self, rows: Rows, only: Collection[str] | None) -> Columns:
        """Return structures of the reference data, on the teacher's scale of energy and marked."""
        columns = self.reference.take(rows, only=None if only is None else {*only, "numbers"})
        shift = self._by_element[columns.arrays["numbers"]]
        if np.isnan(shift).any():
            unknown = set(columns.arrays["numbers"][np.isnan(shift)].tolist())
            raise DataError(f"the energy shift of {names(unknown)} in the reference data is not known; give it too")
        arrays = {
            name: array for name, array in columns.arrays.items() if name != "numbers" or name in (only or {name})
        }
        if "energy" in arrays:
            arrays["energy"] = arrays["energy"] - np.bincount(owners(columns), shift, minlength=len(columns))
        if "atomic_energies" in arrays:
            arrays["atomic_energies"] = arrays["atomic_energies"] - shift
        if "mask" in arrays:
            arrays["mask"] = arrays["mask"] | np.uint32(REFERENCE)
        return Columns(arrays)


def energy_shifts(teacher: Source, reference: Source) -> dict[int, float]:
    """Fit by how much an atom of each element is higher in the reference data than in the teacher's, eV.

    The difference of the reference energies that least squares gives for each side (see
    :meth:`~mlff_distiller.data.statistics.Statistics.reference_energies`). Both sides should hold similar compositions:
    what they differ in besides the method goes into the shifts too.

    Parameters
    ----------
    teacher, reference : Source
        Data with energies.

    Raises
    ------
    DataError
        If a side has no energies, or the reference data hold an element that the teacher's do not.

    Examples
    --------
    >>> from mlff_distiller.atoms.labels import Labels
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> xtb, dft = (pack([0], [h2], [Labels(energy=energy)]) for energy in (-26.0, -32.0))
    >>> energy_shifts(xtb, dft)
    {1: -3.0}
    """
    own, other = (Statistics.of(side).reference_energies() for side in (teacher, reference))
    unknown = other.keys() - own.keys()
    if unknown:
        raise DataError(
            f"the teacher's data hold no energies with {names(unknown)}, so the zero of the reference energies cannot "
            "be found; label such structures too, or leave them out of the reference data"
        )
    return {z: energy - own[z] for z, energy in other.items()}
