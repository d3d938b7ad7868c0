"""ASE databases (sqlite): rows with calculator results, key-value pairs or data, and SchNetPack's declared units."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers.declarations import Declarations, declared_units, spelled
from mlff_distiller.data.importers.frame import Declared, Frame, Quantity
from mlff_distiller.data.importers.keys import choose, meaning
from mlff_distiller.data.importers.picking import pick
from mlff_distiller.data.importers.plan import ImportPlan

_SAMPLE: Final = 1000
_RESULTS: Final = ("energy", "forces", "stress", "energies")


class AseDbReader:
    """An ASE database, opened; see :class:`~mlff_distiller.data.importers.frame.Reader`.

    Names of labels are chosen from the first 1,000 rows; a later row with another name for the same quantity is an
    error, not a guess. SchNetPack's units (``_property_unit_dict``, ``_distance_unit``) count as declared.

    Parameters
    ----------
    path : Path
        The ``.db`` file.
    plan : ImportPlan
        Names of the labels, where the user gave them.

    Raises
    ------
    DataError
        If the file is no ASE database, damaged or empty, or names are ambiguous.

    Examples
    --------
    >>> import tempfile, ase.build, ase.db
    >>> file = Path(tempfile.mkdtemp(), "water.db")
    >>> with ase.db.connect(file) as database:
    ...     _ = database.write(ase.build.molecule("H2O"), data={"REF_energy": -76.4})
    >>> next(AseDbReader(file, ImportPlan()).frames()).values
    {'energy': array(-76.4)}
    """

    def __init__(self, path: Path, plan: ImportPlan) -> None:
        self._path, self._plan = path, plan
        metadata, self.n_frames = self._opened()
        names: Counter[str] = Counter()
        declarations = Declarations()
        for number, (found, _) in enumerate(self._rows()):
            if number < _SAMPLE:
                names.update(found.keys())
            declarations.add({k: v for k, v in found.items() if isinstance(v, str | dict)}, found)
        self._keys = choose(names, plan, where=str(path))
        self.units = self._declared(metadata)
        for quantity, said in declarations.agreed(self._keys, plan, where=str(path)).items():
            other = self.units.setdefault(quantity, said)
            if spelled(quantity, other.unit) != spelled(quantity, said.unit):
                raise DataError(
                    f"{path}: {other.why} says {quantity} in {other.unit}, but {said.why} in {said.unit}, in its rows; "
                    "remove the one that is wrong"
                )

    def frames(self) -> Iterator[Frame]:
        """Yield all rows, in the order of their ids."""
        for found, row in self._rows():
            where = f"{self._path.name}, row {row.id}"
            self._refuse_others(found, where)
            yield Frame(
                where=where,
                numbers=row.numbers,
                positions=row.positions,
                cell=row.cell if np.any(row.cell) else None,
                pbc=row.pbc,
                **pick(found, self._keys, self._plan, where=where),
            )

    def _opened(self) -> tuple[dict[str, Any], int]:
        if not self._path.is_file():
            raise DataError(f"{self._path} does not exist; check the path of the database")
        try:
            with self._connect() as database:
                return dict(database.metadata), len(database)
        except Exception as error:  # sqlite, JSON and ASE each raise their own
            raise DataError(f"{self._path} cannot be read as an ASE database ({error}); check the file") from error

    def _connect(self) -> Any:
        import ase.db

        return ase.db.connect(self._path, type="db", append=True, use_lock_file=False)

    def _rows(self) -> Iterator[tuple[dict[str, Any], Any]]:
        with self._connect() as database:
            rows = iter(database.select(include_data=True))
            number = 0
            while True:
                try:
                    row = next(rows, None)
                    found = None if row is None else _flat(row)
                except DataError as error:
                    raise DataError(f"{self._path.name}, row {number + 1}: {error}") from None
                except Exception as error:
                    raise DataError(
                        f"{self._path} is damaged behind row {number} ({type(error).__name__}: {error}); restore it "
                        "from a copy"
                    ) from error
                if found is None:
                    return
                number += 1
                yield found, row

    def _refuse_others(self, found: dict[str, Any], where: str) -> None:
        for name in found:
            known = meaning(name)
            if known and known[0] not in self._keys and known[0] in ("energy", "forces"):
                raise DataError(
                    f"{where} has '{name}', which no row among the first {_SAMPLE} has; name the labels with "
                    "--energy-key and --forces-key"
                )

    def _declared(self, metadata: dict[str, Any]) -> dict[Quantity, Declared]:
        units: dict[Quantity, Declared] = {}
        for quantity, said in declared_units(metadata).items():
            units[quantity] = Declared(*said)
        table = metadata.get("_property_unit_dict") or {}
        for quantity, name in self._keys.items():
            if table.get(name) and quantity in ("energy", "forces", "stress", "virial"):
                units[quantity] = Declared(table[name], "'_property_unit_dict' of the database")
        if metadata.get("_distance_unit"):
            units["length"] = Declared(metadata["_distance_unit"], "'_distance_unit' of the database")
        return units


def _flat(row: Any) -> dict[str, Any]:
    """Return calculator results, key-value pairs and data of a row under their names."""
    parts = [{k: row.get(k) for k in _RESULTS if k in row}, row.key_value_pairs, dict(row.data)]
    found: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name in found and not np.array_equal(np.squeeze(found[name]), np.squeeze(value)):
                raise DataError(f"'{name}' has two different values, in its data and beside; remove one of them")
            found.setdefault(name, value)
    return found
