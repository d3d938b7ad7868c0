"""Export to extended XYZ, as ASE reads it (https://github.com/libAtoms/extxyz)."""

import json
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.data.exporters.target import UNITS, Indices, labeled, without, write_new
from mlff_distiller.data.source import Source

_OURS: Final = ("Lattice", "Properties", "pbc", "energy", "stress", "charge", "spin", "forces", "energies")
_BARE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/+-]*")
_SPECIAL: Final = {"t", "f", "true", "false", "nan", "inf", "infinity", "_json"}  # ASE takes these for something else


def write(source: Source, rows: Indices | None, path: Path, *, overwrite: bool = False) -> None:
    """Write structures and labels to an extended XYZ file.

    Energies (``energy``, eV), forces (``forces``, eV/Angstrom), stress (``stress``, nine numbers, eV/Angstrom^3,
    tension positive), energies of atoms (``energies``, eV), total charge, spin multiplicity and the free information of
    each structure; absent labels are absent. Units stand beside the labels (``energy_unit`` and so on). Numbers are
    written such that they read back exactly.

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
    >>> import tempfile
    >>> from mlff_distiller.data.columns import pack
    >>> path = Path(tempfile.mkdtemp(), "h.xyz")
    >>> write(pack([0], [Structure([1], [[0, 0, 0.5]])], [Labels(energy=-13.6)]), None, path)
    >>> print(path.read_text().strip())
    1
    Properties=species:S:1:pos:R:3 energy=-13.6 energy_unit="eV" charge=0 spin=1 pbc="F F F"
    H 0.0 0.0 0.5
    """

    def fill(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            for structure, labels in labeled(source, rows):
                file.write(frame(structure, labels))

    write_new(path, fill, overwrite=overwrite)


def frame(structure: Structure, labels: Labels) -> str:
    """Return the lines of one structure."""
    columns = {"pos": structure.positions}
    if labels.forces is not None:
        columns["forces"] = labels.forces
    if labels.atomic_energies is not None:
        columns["energies"] = labels.atomic_energies[:, None]
    if labels.force_std is not None:
        columns["force_std"] = labels.force_std[:, None]
    properties = ":".join(["species:S:1", *(f"{name}:R:{array.shape[1]}" for name, array in columns.items())])
    table = np.concatenate(list(columns.values()), axis=1).tolist()
    symbols = [SYMBOLS[z] for z in structure.numbers]
    lines = [f"{symbol} {' '.join(map(repr, row))}" for symbol, row in zip(symbols, table, strict=True)]
    return "\n".join([str(len(structure)), _comment(structure, labels, properties), *lines]) + "\n"


def _comment(structure: Structure, labels: Labels, properties: str) -> str:
    parts = [f"Lattice={_list(structure.cell)}"] if structure.cell.any() else []
    parts.append(f"Properties={properties}")
    if labels.energy is not None:
        parts.append(f"energy={labels.energy!r}")
    if labels.energy_std is not None:
        parts.append(f"energy_std={labels.energy_std!r}")
    if labels.stress is not None:
        parts.append(f"stress={_list(labels.stress)}")
    present = {"energy" if name == "atomic_energies" else name for name in labels.present}
    parts += [f'{name}_unit="{unit}"' for name, unit in UNITS.items() if name in present]
    pbc = " ".join("T" if periodic else "F" for periodic in structure.pbc)
    parts += [f"charge={structure.charge}", f"spin={structure.spin}", f'pbc="{pbc}"']
    parts += [f"{_name(name)}={_value(value)}" for name, value in without(structure.info, *_OURS).items()]
    return " ".join(parts)


def _list(matrix: NDArray[np.float64]) -> str:
    return f'"{" ".join(map(repr, matrix.reshape(-1).tolist()))}"'


def _name(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _value(value: Any) -> str:
    """Return a value as ASE reads it back: bare, or JSON where it could be taken for something else."""
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str) and _BARE.fullmatch(value) and value.lower() not in _SPECIAL:
        return value
    if isinstance(value, list) and not _is_regular(value):
        value = json.dumps(value)  # ASE makes arrays of lists, which must then be regular
    return _quoted(f"_JSON {json.dumps(value)}")


def _is_regular(value: list[Any]) -> bool:
    try:
        np.array(value)
    except ValueError:
        return False
    return True


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
