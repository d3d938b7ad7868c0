"""Export to an ASE database (sqlite)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlff_distiller.atoms.conversion import to_ase
from mlff_distiller.atoms.labeled import LabeledStructure
from mlff_distiller.atoms.labels import FIXED
from mlff_distiller.data.exporters.target import UNITS, Indices, labeled, without, write_new
from mlff_distiller.data.source import Source

_RESULTS: Final = ("energy", "forces", "stress")
_APART: Final = tuple(name for name in FIXED if name not in _RESULTS)
METADATA: Final = {
    "_property_unit_dict": {**UNITS, "atomic_energies": UNITS["energy"]},
    "_distance_unit": "Angstrom",
}
"""The units, as SchNetPack declares them."""


def write(source: Source, rows: Indices | None, path: Path, *, overwrite: bool = False) -> None:
    """Write structures and labels to an ASE database.

    Labels are results of a calculator, so that ``row.energy`` (eV), ``row.forces`` (eV/Angstrom) and ``row.stress``
    (Voigt's six, eV/Angstrom^3, tension positive) give them; total charge, spin multiplicity, energies of atoms
    (``atomic_energies``, eV) and the free information are in ``row.data``. Units are declared in the
    metadata, as SchNetPack does.

    Parameters
    ----------
    source : Source
        A store or columns.
    rows : (R,) int64 or None
        Which structures, in which order; None for all.
    path : Path
        The file.
    overwrite : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    DataError
        If there is nothing to write, or the file exists.

    Examples
    --------
    >>> import tempfile, ase.db
    >>> from mlff_distiller.atoms.labels import Labels
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> path = Path(tempfile.mkdtemp(), "h.db")
    >>> write(pack([0], [Structure([1], [[0, 0, 0]])], [Labels(energy=-13.6)]), None, path)
    >>> with ase.db.connect(path) as database:
    ...     print([row.energy for row in database.select()])
    [-13.6]
    """

    def fill(temporary: Path) -> None:
        import sqlite3

        from ase.db import connect

        target = connect(temporary, type="db", append=False, use_lock_file=False)
        with failing_as_os_error(sqlite3.Error), target as database:
            for item in labeled(source, rows):
                database.write(with_results(item), data=data(item))
            database.metadata = METADATA

    write_new(path, fill, overwrite=overwrite)


def with_results(item: LabeledStructure) -> Any:
    """Return ASE Atoms whose calculator holds the labels."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    structure, labels = item
    atoms = to_ase(structure)
    results: dict[str, Any] = {"energy": labels.energy, "forces": labels.forces}
    if labels.stress is not None:
        results["stress"] = np.asarray(full_3x3_to_voigt_6_stress(labels.stress))
    present = {name: value for name, value in results.items() if value is not None}
    if present:
        atoms.calc = SinglePointCalculator(atoms, **present)
    return atoms


def data(item: LabeledStructure) -> dict[str, Any]:
    """Return what a row holds besides structure and results."""
    structure, labels = item
    ours: dict[str, Any] = {"charge": structure.charge, "spin": structure.spin}
    # ASE's tables have no columns for these.
    ours |= {name: getattr(labels, name) for name in _APART if getattr(labels, name) is not None}
    return {**ours, **without(structure.info, "charge", "spin", *_APART, *_RESULTS)}


@contextmanager
def failing_as_os_error(kind: type[Exception]) -> Iterator[None]:
    """Report a failure of a database library, such as a full disk, as the operating system's."""
    try:
        yield
    except kind as error:
        raise OSError(str(error)) from error
