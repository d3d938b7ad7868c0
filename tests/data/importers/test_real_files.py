"""Every text and ASE file of the shared reference data: right numbers, or a clear refusal.

What must come out is stated here file by file; the numbers are compared with ASE's own reading of one frame.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import ase.units
import numpy as np
import pytest

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers.importing import import_data
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.storage.store import Store

KCAL = ase.units.kcal / ase.units.mol
NO_LABELS = "no energies or forces under a known name.*--energy-key"


@dataclass(frozen=True)
class Good:
    """A file that imports: how many frames, with how many of each label, by which names."""

    n_frames: int
    n_forces: int = 0
    n_stress: int = 0
    energy: str = "energy"
    forces: str = "forces"
    options: dict[str, Any] = field(default_factory=dict)
    scale: tuple[float, float] = (1.0, 1.0)


DFT = {"energy": "dft_energy", "forces": "dft_forces"}
IN_KCAL = {"energy_unit": "kcal/mol", "force_unit": "kcal/mol/Angstrom"}
NAMED = {"energy_key": "energy", "forces_key": "forces", "stress_key": "stress"}

GOOD = {
    "formats/aimnet/caffeine.xyz": Good(1, 1),
    "formats/graph-pes/test.xyz": Good(10, 10, 10),
    "formats/janus-core/LiFePO4-neb-band.xyz": Good(7, 5, 5, options=NAMED),
    "formats/janus-core/NaCl-1040.extxyz": Good(1, 1, 1, options=NAMED),
    "formats/janus-core/NaCl-set.xyz": Good(11, 11, 11, **DFT),
    "formats/janus-core/lj-traj.xyz": Good(11, 11),
    "formats/janus-core/mlip_test.xyz": Good(1, 1, 1, **DFT),
    "formats/janus-core/mlip_train.xyz": Good(22, 22, 18, **DFT),
    "formats/janus-core/mlip_valid.xyz": Good(1, 1, 1, **DFT),
    "formats/janus-core/precomputed_NaCl-traj.xyz": Good(101, 0, 101),
    "formats/mace-jax/simple.xyz": Good(2, 2, 2),
    "formats/metatrain/carbon_reduced_100.xyz": Good(100, 100, 100, forces="force"),
    "formats/metatrain/ethanol_reduced_100.xyz": Good(100, 100, options=IN_KCAL, scale=(KCAL, KCAL)),
    "formats/metatrain/flashmd.xyz": Good(10, 10, 10),
    "formats/metatrain/qm9_reduced_100.xyz": Good(
        100, energy="U0", options={"energy_key": "U0", "energy_unit": "Hartree"}, scale=(ase.units.Hartree, 1.0)
    ),
    "formats/mlip/SPICE_small_with_charges.xyz": Good(5, 5),
    "formats/mlip/small_aspirin_test.xyz": Good(7, 7),
    "formats/mlip/small_aspirin_test_unseen_atoms.xyz": Good(2, 2),
    "formats/mlip/small_aspirin_with_charge_spin.xyz": Good(2, 2),
    "formats/mlip/small_materials_test.extxyz": Good(8, 8, 8),
    "formats/sevennet/hfo2.extxyz": Good(2, 2, 2),
    "liquids/solvent_train.xyz": Good(203, 203),
    "liquids/solvent_test.xyz": Good(200, 200),
    "liquids/volumeScan.xyz": Good(20, 20),
    "periodic/Ge_train.extxyz": Good(228, 228, 228),
    "periodic/Ge_test.extxyz": Good(25, 25, 25),
    "periodic/Mo_train.extxyz": Good(194, 194, 194),
    "periodic/Mo_test.extxyz": Good(23, 23, 23),
    "periodic/mattersim/high_level_water.xyz": Good(10, 10),
    "periodic/mattersim/mpf-alkali-TP.xyz": Good(460, 460, 460),
    "periodic/mattersim/random-TP.xyz": Good(693, 693, 693),
}

REFUSED = {
    "formats/aimnet/mols_size_36.xyz": NO_LABELS,
    "formats/aimnet/mols_size_var.xyz": NO_LABELS,
    "formats/aimnet/taxol.xyz": NO_LABELS,
    "formats/janus-core/LiFePO4-neb-band.xyz": r"mace_mp_energy \(5 frames\), energy \(5 frames\).*--energy-key",
    "formats/janus-core/NaCl-1040.extxyz": r"mace_mp_energy \(1 frames\), energy \(1 frames\).*--energy-key",
    "formats/janus-core/mlip_fine_tune_train.xyz": "atom 0 has 10 columns, not the 7",
    "formats/metatrain/carbon_allotropes.xyz": NO_LABELS,
    "formats/metatrain/ethanol_reduced_100.xyz": "total energies in kcal/mol.*--energy-unit",
    "formats/metatrain/periodic_water.data": "--format",
    "formats/metatrain/qm7x_reduced_100.xyz": NO_LABELS,
    "formats/metatrain/qm9_reduced_100.xyz": r"no energies or forces.*U0.*--energy-key",
    "formats/mlip/Dimethyl_sulfoxide.xyz": NO_LABELS,
    "formats/mlip/alanine_dipeptide_vacuum.xyz": NO_LABELS,
    "formats/orb/NaClWater.xyz": NO_LABELS,
    "formats/orb/phononDB_test.db": NO_LABELS,
    "formats/orb/test_dataset.db": NO_LABELS,
    "formats/schnetpack/md_ethanol.xyz": NO_LABELS,
    "formats/schnetpack/test_qm9.db": r"no energies or forces.*energy_U0.*--energy-key",
    "periodic/mattersim/mp-149_Si2.cif": "--format",
}

ROWS = {
    "formats/graph-pes/schnetpack_data.db": (5, {}, lambda row: (row.data["energy"], row.data["forces"])),
    "formats/orb/10_mptraj_systems.db": (10, {}, lambda row: (row.energy, row.forces)),
    "formats/orb/test_with_target.db": (6, {}, lambda row: (row.data["energy"], None)),
    "formats/schnetpack/test_qm9.db": (
        20,
        {"energy_key": "energy_U0"},
        lambda row: (row.data["energy_U0"][0] * ase.units.Hartree, None),
    ),
}


@pytest.fixture
def bring(shared: Path) -> Callable[..., tuple[Any, Store]]:
    def imported(name: str, out: Path, options: dict[str, Any]) -> tuple[Any, Store]:
        done = import_data(shared / "data" / name, ImportPlan(**options), out)
        return done, Store.open(out)

    return imported


def test_every_file_is_stated(shared: Path) -> None:
    folder = shared / "data"
    places = [
        *(folder / "formats").glob("*/*"),
        *folder.glob("liquids/*"),
        *folder.glob("periodic/*"),
        *folder.glob("periodic/mattersim/*"),
    ]
    found = {p.relative_to(folder).as_posix() for p in places if p.suffix in (".xyz", ".extxyz", ".db", ".traj")}
    assert found <= GOOD.keys() | REFUSED.keys() | ROWS.keys()


@pytest.mark.parametrize("name", GOOD)
def test_text_files_import_with_ases_numbers(
    name: str, tmp_path: Path, shared: Path, bring: Callable[..., Any]
) -> None:
    good = GOOD[name]
    done, store = bring(name, tmp_path / "store", good.options)
    counts = done.counts
    assert (len(store), counts["with forces"], counts["with stress"]) == (good.n_frames, good.n_forces, good.n_stress)
    last = ase.io.read(shared / "data" / name, index=-1, format="extxyz")
    structure, labels = store.structure(len(store) - 1), store.labels(len(store) - 1)
    np.testing.assert_array_equal(structure.numbers, last.numbers)
    np.testing.assert_allclose(structure.positions, last.positions, atol=1e-12)
    np.testing.assert_array_equal(structure.pbc, last.pbc)
    np.testing.assert_allclose(structure.cell, last.cell.array, atol=1e-12)
    results = last.calc.results if last.calc else {}
    energy = last.info.get(good.energy, results.get(good.energy))
    forces = last.arrays.get(good.forces, results.get(good.forces))
    assert (labels.energy is None, labels.forces is None) == (energy is None, forces is None)
    if energy is not None:
        assert labels.energy == pytest.approx(energy * good.scale[0], rel=1e-12)
    if forces is not None:
        np.testing.assert_allclose(labels.forces, forces * good.scale[1], rtol=1e-12)
    if "stress" in results and labels.stress is not None:
        np.testing.assert_allclose(labels.stress, last.get_stress(voigt=False), atol=1e-9)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_certain_is_refused(name: str, tmp_path: Path, bring: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=REFUSED[name]) as caught:
        bring(name, tmp_path / "store", {})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ROWS)
def test_databases_import_with_the_numbers_of_their_rows(
    name: str, tmp_path: Path, shared: Path, bring: Callable[..., Any]
) -> None:
    n_rows, options, expected = ROWS[name]
    _, store = bring(name, tmp_path / "store", options)
    assert len(store) == n_rows
    with ase.db.connect(shared / "data" / name) as database:
        for i, row in enumerate(database.select()):
            energy, forces = expected(row)
            labels = store.labels(i)
            assert labels.energy == pytest.approx(float(energy), rel=1e-12)
            np.testing.assert_allclose(store.structure(i).positions, row.positions)
            if forces is not None:
                np.testing.assert_allclose(labels.forces, forces)
            if "stress" in row:
                np.testing.assert_allclose(labels.stress, row.toatoms().get_stress(voigt=False))


def test_units_that_a_file_declares_are_in_the_table(tmp_path: Path, bring: Callable[..., Any]) -> None:
    done, _ = bring("periodic/mattersim/random-TP.xyz", tmp_path / "store", {})
    assert {row.quantity: row.why for row in done.units if row.quantity in ("energy", "forces", "stress")} == {
        "energy": "'energy_unit' of the file",
        "forces": "'forces_unit' of the file",
        "stress": "'stress_unit' of the file",
    }


def test_the_virials_of_a_gap_set_are_turned_around(tmp_path: Path, shared: Path, bring: Callable[..., Any]) -> None:
    name = "formats/metatrain/carbon_reduced_100.xyz"
    _, store = bring(name, tmp_path / "store", {})
    for i, atoms in enumerate(ase.io.read(shared / "data" / name, index=":5")):
        np.testing.assert_allclose(store.labels(i).stress, -atoms.info["virial"] / atoms.get_volume(), atol=1e-9)


def test_charge_and_spin_of_a_file_are_kept(tmp_path: Path, bring: Callable[..., Any]) -> None:
    _, store = bring("formats/mlip/small_aspirin_with_charge_spin.xyz", tmp_path / "store", {})
    assert [(s.charge, s.spin) for s in store.structures()] == [(0, 1), (1, 2)]


def test_isolated_atoms_of_a_training_set_keep_their_tag(tmp_path: Path, bring: Callable[..., Any]) -> None:
    _, store = bring("liquids/solvent_train.xyz", tmp_path / "store", {})
    tagged = [s.formula for s in store.structures() if s.info.get("config_type") == "IsolatedAtom"]
    assert sorted(tagged) == ["C", "H", "O"]
