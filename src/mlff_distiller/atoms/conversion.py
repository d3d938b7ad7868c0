"""Conversion to and from ASE's Atoms, and reading of any file that ASE reads."""

from pathlib import Path
from typing import Any

import ase
import numpy as np

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import StructureError


def from_ase(atoms: ase.Atoms) -> Structure:
    """Return a Structure from ASE Atoms.

    Charge and spin multiplicity come from ``atoms.info["charge"]`` and ``atoms.info["spin"]``; without the
    former the sum of the initial charges is taken.

    Raises
    ------
    StructureError
        If the atoms are empty, hold dummy atoms or are otherwise impossible, or charge or spin are not whole numbers.

    Examples
    --------
    >>> import ase.build
    >>> from_ase(ase.build.molecule("H2O")).formula
    'H2O'
    """
    charge = atoms.info.get("charge")
    if charge is None:
        charge = np.rint(atoms.get_initial_charges().sum())
    return Structure(
        atoms.numbers,
        atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        charge=_whole("charge", charge, atoms),
        spin=_whole("spin", atoms.info.get("spin", 1), atoms),
    )


def _whole(name: str, value: Any, atoms: ase.Atoms) -> int:
    """Return a number that must be whole; rounding 0.5 e would label another molecule than the one meant."""
    try:
        if float(value) == int(float(value)):
            return int(float(value))
    except (TypeError, ValueError, OverflowError):
        pass
    raise StructureError(f"{atoms.get_chemical_formula()}: the {name} must be a whole number, got {value!r:.60}")


def to_ase(structure: Structure) -> ase.Atoms:
    """Return ASE Atoms; charge and spin multiplicity go to ``atoms.info``.

    Examples
    --------
    >>> to_ase(Structure([1], [[0, 0, 0]])).get_chemical_formula()
    'H'
    """
    info: dict[str, Any] = {"charge": structure.charge, "spin": structure.spin}
    return ase.Atoms(
        numbers=structure.numbers, positions=structure.positions, cell=structure.cell, pbc=structure.pbc, info=info
    )


def read_structures(path: Path, *, index: str = ":") -> list[Structure]:
    """Read structures from any file that ASE knows.

    Parameters
    ----------
    path : Path
        The file.
    index : str
        Which frames, as in ASE (":" all, "0" the first, "::10" every tenth).

    Raises
    ------
    StructureError
        If the file is missing, not readable, or holds no atoms; the message names the file.
    """
    import ase.io  # a second of imports that only readers of files should wait for
    from ase.io.formats import UnknownFileTypeError

    if not path.is_file():
        raise StructureError(f"{path} does not exist; check the path of the structure file")
    try:
        frames = ase.io.read(path, index=index)
    except UnknownFileTypeError:
        raise StructureError(f"{path} is of no format that ASE reads; convert it to extended XYZ (.xyz)") from None
    except (IndexError, StopIteration):
        raise StructureError(f"{path} has no frame '{index}'; correct the frame index") from None
    except Exception as error:  # ASE's readers raise whatever their parser hits first
        raise StructureError(f"{path} cannot be read ({type(error).__name__}: {error}); check the file") from error
    frames = frames if isinstance(frames, list) else [frames]
    frames = [atoms for atoms in frames if len(atoms)]  # ASE reads a PDB's END after its last MODEL as a frame
    if not frames:
        raise StructureError(f"{path} holds no atoms in frames '{index}'; check the file and the frame index")
    return [from_ase(atoms) for atoms in frames]
