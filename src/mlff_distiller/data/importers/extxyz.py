"""Extended XYZ: read frame by frame, names and units settled by a first pass over all comment lines."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers.declarations import Declarations
from mlff_distiller.data.importers.frame import Array, Frame
from mlff_distiller.data.importers.keys import choose, fits
from mlff_distiller.data.importers.picking import pick
from mlff_distiller.data.importers.plan import ImportPlan

_NUMBER_OF: Final = {symbol.lower(): number for number, symbol in enumerate(SYMBOLS)}
_PLAIN: Final = "species:S:1:pos:R:3"
_SPECIES: Final = ("species", "symbols", "element", "elements", "Z", "numbers")
_POSITIONS: Final = ("pos", "positions")
_ESCAPED: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|[\\\"])")
_NAME: Final = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'[^']*'|[^\s="']+)\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*'|\{[^}]*\}|[^\s]*)"""
)


_SWITCHES: Final = {"T": True, "True": True, "true": True, "F": False, "False": False, "false": False}


class _Raw(NamedTuple):
    """The lines of one frame."""

    number: int
    comment: str
    atoms: list[str]


class ExtxyzReader:
    r"""An extended XYZ file, opened; see :class:`~mlff_distiller.data.importers.frame.Reader`.

    The first pass counts frames, collects all names and finds a truncated end before anything is imported.

    Parameters
    ----------
    path : Path
        The file.
    plan : ImportPlan
        Names of the labels, where the user gave them.

    Raises
    ------
    DataError
        If the file is no extended XYZ or truncated, names are ambiguous, or frames declare different units.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "h.xyz")
    >>> _ = file.write_text('1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-13.6\nH 0 0 0 0 0 0\n')
    >>> reader = ExtxyzReader(file, ImportPlan())
    >>> reader.n_frames, float(next(reader.frames()).values["energy"])
    (1, -13.6)
    """

    def __init__(self, path: Path, plan: ImportPlan) -> None:
        self._path, self._plan = path, plan
        names: Counter[str] = Counter()
        declarations = Declarations()
        self.n_frames = 0
        for raw in _frames_of(path):
            self.n_frames += 1
            info = _texts(raw.comment)
            columns = _columns(_value(info.get("Properties", _PLAIN)), raw.number, path)
            found = _labels_among(info, columns).keys()
            names.update(found)
            declarations.add({name: _value(text) for name, text in info.items() if "unit" in name.lower()}, found)
        if not self.n_frames:
            raise DataError(f"{path} holds no frames; check the path of the file")
        for ordinary in ("Lattice", "Properties", "pbc", *_SPECIES, *_POSITIONS):
            names.pop(ordinary, None)
        self._keys = choose(names, plan, where=str(path))
        self.units = declarations.agreed(self._keys, plan, where=str(path))

    def frames(self) -> Iterator[Frame]:
        """Yield all frames, in the order of the file."""
        for raw in _frames_of(self._path):
            yield self._frame(raw)

    def _frame(self, raw: _Raw) -> Frame:
        where = f"{self._path.name}, frame {raw.number}"
        info = {name: _value(text) for name, text in _texts(raw.comment).items()}
        columns = _read_columns(raw, info.pop("Properties", _PLAIN), where)
        species = _first(columns, _SPECIES, where)
        lattice = info.pop("Lattice", None)
        pbc = _switches(info.pop("pbc", lattice is not None), where)
        labels = {name: column for name, column in columns.items() if name in self._keys.values()}
        return Frame(
            where=where,
            numbers=_atomic_numbers(species),
            positions=_in_numbers(_first(columns, _POSITIONS, where), where),
            cell=None if lattice is None else _matrix(lattice, where),
            pbc=pbc,
            **pick(_labels_among(info, labels), self._keys, self._plan, where=where),
        )


def _labels_among(info: dict[str, Any], columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names that may be labels: those of a structure in the comment line, those of atoms in columns."""
    return {name: value for name, value in info.items() if fits(name, of_atoms=False)} | {
        name: value for name, value in columns.items() if fits(name, of_atoms=True)
    }


def _texts(comment: str) -> dict[str, str]:
    """Return the names and values of a comment line, as text."""
    return {_unquoted(name): value for name, value in _NAME.findall(comment)}


def _unquoted(text: str) -> str:
    r"""Return text without its quotes: what we write escapes backslashes, ASE only quotes and what JSON escapes."""
    if text[:1] == '"':
        return _ESCAPED.sub(lambda found: found[1] if len(found[1]) == 1 else chr(int(found[1][1:], 16)), text[1:-1])
    return text[1:-1] if text[:1] == "'" else text


def _value(text: str) -> Any:
    """Return a value as what it is: a switch, a number, a list of them, or text."""
    text = _unquoted(text)
    if text.startswith("_JSON"):
        return _json(text.removeprefix("_JSON"))
    if text.startswith("["):
        return _json(text)
    items = text.strip("{}").replace(",", " ").split()
    if items and all(item in _SWITCHES for item in items):
        switches = [_SWITCHES[item] for item in items]
        return switches[0] if len(items) == 1 else switches
    try:
        numbers = [int(item) if item.lstrip("+-").isdecimal() else float(item) for item in items]
    except ValueError:
        return text
    return numbers[0] if len(numbers) == 1 else numbers or text


def _json(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except ValueError:
        return text


def _frames_of(path: Path) -> Iterator[_Raw]:
    """Yield the lines of each frame; the file is never held as a whole."""
    try:
        with path.open(encoding="utf-8") as handle:
            number = 0
            while line := handle.readline():
                if not line.strip():
                    continue
                n_atoms = _count(line, number, path)
                comment = handle.readline()
                atoms = [handle.readline() for _ in range(n_atoms)]
                if not all(row.strip() for row in atoms) or _is_cut_short(atoms):
                    raise DataError(
                        f"{path} ends, or has an empty line, inside frame {number} of {n_atoms} atoms, so it is "
                        "truncated; restore it from a copy, or delete that frame"
                    )
                yield _Raw(number, comment, atoms)
                number += 1
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path of the file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error}); check the file and --format") from error


def _count(line: str, number: int, path: Path) -> int:
    try:
        n_atoms = int(line)
    except ValueError:
        n_atoms = 0
    if n_atoms < 1:
        raise DataError(
            f"{path}: frame {number} must begin with its number of atoms, found {line.strip()[:40]!r}; the frame "
            "before it may be truncated, or the file is no extended XYZ"
        )
    return n_atoms


def _is_cut_short(atoms: list[str]) -> bool:
    """Return whether a file that ends without a line end stops within its last number.

    Only certain where all numbers before are written with the same count of decimals.
    """
    if atoms[-1].endswith("\n"):
        return False
    decimals = [len(row.split()[-1].partition(".")[2]) for row in atoms]
    return len(atoms) > 2 and len(set(decimals[:-1])) == 1 and decimals[-1] < decimals[0]


def _columns(properties: str, number: int, path: Path) -> dict[str, slice]:
    """Return the columns of each per-atom property."""
    parts = properties.split(":")
    places: dict[str, slice] = {}
    first = 0
    try:
        for name, _, count in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            places[name] = slice(first, first + int(count))
            first += int(count)
    except ValueError:
        raise DataError(f"{path.name}, frame {number}: Properties={properties!r} cannot be understood") from None
    return places


def _read_columns(raw: _Raw, properties: str, where: str) -> dict[str, Array]:
    places = _columns(str(properties), raw.number, Path(where))
    n_columns = max(place.stop for place in places.values())
    rows = [row.split() for row in raw.atoms]
    is_plain = properties == _PLAIN  # plain XYZ may have columns that nobody named
    for atom, row in enumerate(rows):
        if len(row) < n_columns or (len(row) > n_columns and not is_plain):
            raise DataError(
                f"{where}: atom {atom} has {len(row)} columns, not the {n_columns} that Properties names; the file is "
                "truncated, or Properties leaves columns out"
            )
    table = np.array([row[:n_columns] for row in rows])
    kinds = str(properties).split(":")[1::3]
    return {name: _one_column(table[:, place], kind) for (name, place), kind in zip(places.items(), kinds, strict=True)}


def _one_column(text: Array, kind: str) -> Array:
    values = text if kind in ("S", "L") else _floats(text)
    return values[:, 0] if values.shape[1] == 1 else values


def _floats(text: Array) -> Array:
    """Return text as numbers; what is none ("****") becomes NaN, so that the border sets the frame aside."""
    try:
        return text.astype(np.float64)
    except ValueError:
        return np.array([_float(item) for item in text.ravel()]).reshape(text.shape)


def _float(item: str) -> float:
    try:
        return float(item.replace("D", "E").replace("d", "e"))
    except ValueError:
        return float("nan")


def _first(columns: dict[str, Array], names: tuple[str, ...], where: str) -> Array:
    for name in names:
        if name in columns:
            return columns.pop(name)
    raise DataError(f"{where}: Properties names no '{names[0]}'; this is no extended XYZ of structures")


def _in_numbers(positions: Array, where: str) -> Array:
    if positions.dtype.kind != "f":
        raise DataError(f"{where}: Properties says that the positions are text; they must be of kind R")
    return positions


def _matrix(lattice: Any, where: str) -> Array:
    try:
        return np.asarray(lattice, dtype=np.float64).reshape(3, 3)
    except (TypeError, ValueError):
        raise DataError(f"{where}: Lattice must be nine numbers, got {lattice!r:.60}") from None


def _switches(pbc: Any, where: str) -> Array:
    array = np.asarray(pbc)
    if array.shape not in ((), (1,), (3,)) or not np.isin(array, (0, 1)).all():
        raise DataError(f"{where}: pbc must be three switches T or F, got {pbc!r:.60}")
    return np.broadcast_to(array.astype(bool), 3)


def _atomic_numbers(species: Array) -> Array:
    """Return atomic numbers; 0 where a symbol is unknown, which the border refuses."""
    return np.array([_atomic_number(str(item)) for item in species.tolist()])


def _atomic_number(symbol: str) -> int:
    return _NUMBER_OF.get(symbol.lower(), int(float(symbol)) if symbol.replace(".0", "").isdecimal() else 0)
