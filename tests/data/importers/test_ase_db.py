"""ASE databases: calculator results, data and key-value pairs, and units that the file declares."""

from pathlib import Path
from typing import Any

import ase.build
import ase.db
import ase.units
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers.ase_db import AseDbReader
from mlff_distiller.data.importers.importing import import_data
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.storage.store import Store


def database(
    path: Path, rows: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]], length: float = 1, **metadata: Any
) -> Path:
    """Write rows of (calculator results, key-value pairs, data), in a unit of length."""
    with ase.db.connect(path) as handle:
        for seed, (results, pairs, data) in enumerate(rows):
            atoms = ase.build.molecule("H2O")
            atoms.rattle(0.02, seed=seed)
            atoms.positions /= length
            if results:
                atoms.calc = SinglePointCalculator(atoms, **results)
            handle.write(atoms, data=data, **pairs)
        if metadata:
            handle.metadata = metadata
    return path


FORCES = np.array([[0.0, 0.1, -0.2], [0.3, 0.0, 0.1], [-0.3, -0.1, 0.1]])
PLACES = {
    "results": ({"energy": -14.2, "forces": FORCES}, {}, {}),
    "data": ({}, {}, {"energy": np.array([-14.2]), "forces": FORCES}),
    "pairs": ({}, {"REF_energy": -14.2}, {"REF_forces": FORCES}),
}


@pytest.mark.parametrize("place", PLACES)
def test_labels_are_found_where_they_are(tmp_path: Path, place: str) -> None:
    path = database(tmp_path / "a.db", [PLACES[place]] * 3)
    done = import_data(path, ImportPlan(), tmp_path / "store")
    store = Store.open(tmp_path / "store")
    assert (done.format, len(store)) == ("ase-db", 3)
    assert store.labels(1).energy == pytest.approx(-14.2)
    np.testing.assert_allclose(store.labels(1).forces, FORCES)
    with ase.db.connect(path) as handle:
        np.testing.assert_array_equal(store.structure(1).positions, handle.get(2).positions)


def test_units_that_schnetpack_declares_are_used(tmp_path: Path) -> None:
    path = database(
        tmp_path / "a.db",
        [({}, {}, {"energy": np.array([-327.0]), "forces": FORCES})],
        length=ase.units.Bohr,
        _property_unit_dict={"energy": "kcal/mol", "forces": "kcal/mol/Ang"},
        _distance_unit="Bohr",
    )
    done = import_data(path, ImportPlan(), tmp_path / "store")
    kcal = ase.units.kcal / ase.units.mol
    labels, structure = Store.open(tmp_path / "store").labels(0), Store.open(tmp_path / "store").structure(0)
    assert labels.energy == pytest.approx(-327.0 * kcal)
    np.testing.assert_allclose(labels.forces, FORCES * kcal)
    with ase.db.connect(path) as handle:
        np.testing.assert_allclose(structure.positions, handle.get(1).positions * ase.units.Bohr)
    assert {row.why for row in done.units} == {
        "'_property_unit_dict' of the database",
        "'_distance_unit' of the database",
    }


def test_a_declared_length_that_the_bonds_contradict_stops(tmp_path: Path) -> None:
    units = {"energy": "eV", "forces": "eV/Ang"}
    path = database(tmp_path / "a.db", [PLACES["data"]] * 2, _property_unit_dict=units, _distance_unit="nm")
    with pytest.raises(DataError, match=r"bonds in Angstrom, which contradicts length nm.*--length-unit"):
        import_data(path, ImportPlan(), tmp_path / "store")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([({"energy": -1.0}, {}, {"REF_energy": -2.0})], r"energy \(1 frames\), REF_energy \(1 frames\).*--energy-key"),
        ([({"energy": -1.0}, {}, {"energy": -2.0})], "'energy' has two different values"),
        ([({}, {"gap": 0.3}, {})], r"no energies or forces.*gap.*--energy-key"),
        ([({}, {}, {"energy": "low"})], "'energy' is not made of numbers"),
    ],
)
def test_ambiguous_rows_are_refused(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(AseDbReader(database(tmp_path / "a.db", rows), ImportPlan()).frames())


def test_a_name_that_first_appears_late_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlff_distiller.data.importers.ase_db._SAMPLE", 1)
    path = database(tmp_path / "a.db", [({"energy": -1.0}, {}, {}), ({"energy": -1.0}, {}, {"dft_forces": FORCES})])
    with pytest.raises(DataError, match=r"row 2 has 'dft_forces'.*--forces-key"):
        list(AseDbReader(path, ImportPlan()).frames())


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_truncated_database_is_refused(tmp_path: Path, keep: float) -> None:
    path = database(tmp_path / "a.db", [PLACES["data"]] * 60)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=r"a\.db"):
        list(AseDbReader(path, ImportPlan()).frames())


def test_reading_changes_nothing(tmp_path: Path) -> None:
    path = database(tmp_path / "a.db", [PLACES["results"]])
    before = path.read_bytes()
    list(AseDbReader(path, ImportPlan()).frames())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.db"]


def test_units_in_rows_count_and_must_be_in_all_of_them(tmp_path: Path) -> None:
    tagged = ({"energy": -327.5}, {"energy_unit": "kcal/mol"}, {})
    assert AseDbReader(database(tmp_path / "a.db", [tagged] * 2), ImportPlan()).units["energy"].unit == "kcal/mol"
    for name, other in (("b", {}), ("c", {"energy_unit": "eV"})):
        path = database(tmp_path / f"{name}.db", [tagged, ({"energy": -14.2}, other, {})])
        with pytest.raises(DataError, match="--energy-unit"):
            AseDbReader(path, ImportPlan())
    path = database(tmp_path / "d.db", [tagged], _property_unit_dict={"energy": "eV"})
    with pytest.raises(DataError, match=r"_property_unit_dict.*eV.*energy_unit.*kcal/mol"):
        AseDbReader(path, ImportPlan())
