"""Every trap that was seen in real label files: each ends in a refusal that names the way out, or in right numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.build
import ase.units
import numpy as np
import pytest
from numpy.typing import NDArray

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers.importing import Imported, import_data
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.storage.store import Store
from mlff_distiller.potentials.analytic import morse

KCAL = ase.units.kcal / ase.units.mol
KBAR = 0.1 * ase.units.GPa
POTENTIAL = morse(depth=1.0, width=1.8, distance=1.4, cutoff=6.0)
CRYSTAL = morse(depth=0.6, width=1.4, distance=2.6, cutoff=5.0)


def molecules(n: int = 16) -> list[ase.Atoms]:
    """Return a bent molecule shaken a little, with exact energies and forces in eV and eV/Angstrom."""
    rng = np.random.default_rng(11)
    start = ase.build.molecule("CH3CH2OH")
    frames = []
    for _ in range(n):
        atoms = start.copy()
        atoms.positions += rng.normal(0, 0.05, (len(atoms), 3))
        labels = POTENTIAL.predict([from_ase(atoms)])[0]
        atoms.info["energy"], atoms.arrays["forces"] = labels.energy, labels.forces
        frames.append(atoms)
    return frames


def crystals(n: int = 4) -> list[ase.Atoms]:
    """Return strained crystals with exact energies, forces and stress."""
    rng = np.random.default_rng(12)
    frames = []
    for _ in range(n):
        atoms = ase.build.bulk("Cu", cubic=True) * (1, 1, 2)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.08, (len(atoms), 3))
        labels = CRYSTAL.predict([from_ase(atoms)], ["energy", "forces", "stress"])[0]
        atoms.info["energy"], atoms.arrays["forces"], atoms.info["stress"] = labels.energy, labels.forces, labels.stress
        frames.append(atoms)
    return frames


def write(path: Path, frames: list[ase.Atoms]) -> Path:
    """Write extended XYZ by hand: names, numbers and order exactly as given."""
    lines = []
    for atoms in frames:
        columns = {name: array for name, array in atoms.arrays.items() if name not in ("numbers", "positions")}
        properties = "species:S:1:pos:R:3" + "".join(f":{name}:R:{np.size(a[0])}" for name, a in columns.items())
        comment = [f"Properties={properties}"]
        if atoms.pbc.any():
            comment.append(f'Lattice="{_text(atoms.cell.array)}" pbc="T T T"')
        comment += [
            f'{name}="{_text(value)}"' if np.ndim(value) else f"{name}={value}" for name, value in atoms.info.items()
        ]
        lines += [str(len(atoms)), " ".join(comment)]
        for i, symbol in enumerate(atoms.symbols):
            numbers = [_text(atoms.positions[i]), *(_text(a[i]) for a in columns.values())]
            lines.append(f"{symbol} {' '.join(numbers)}")
    path.write_text("\n".join(lines) + "\n")
    return path


def _text(value: Any) -> str:
    return " ".join(f"{number:.12g}" for number in np.ravel(value))


def bring(path: Path, **options: Any) -> tuple[Imported, Store]:
    out = path.with_name("store")
    return import_data(path, ImportPlan(**options), out), Store.open(out)


def scaled(frames: list[ase.Atoms], *, energy: float = 1, forces: float = 1, length: float = 1) -> list[ase.Atoms]:
    for atoms in frames:
        atoms.info["energy"] *= energy
        atoms.arrays["forces"] = atoms.arrays["forces"] * forces
        atoms.positions *= length
    return frames


def renamed(frames: list[ase.Atoms], old: str, new: str) -> list[ase.Atoms]:
    for atoms in frames:
        for holder in (atoms.info, atoms.arrays):
            if old in holder:
                holder[new] = holder.pop(old)
    return frames


def agree(store: Store, i: int, atoms: ase.Atoms) -> None:
    labels = store.labels(i)
    assert labels.energy == pytest.approx(atoms.info["energy"], abs=1e-8)
    np.testing.assert_allclose(labels.forces, atoms.arrays["forces"], atol=1e-8)


TOGETHER = "the numbers fit each other, but do not say in which unit"


def test_a_file_in_ases_convention_imports_without_any_option(tmp_path: Path) -> None:
    done, store = bring(write(tmp_path / "a.xyz", molecules()))
    assert [(row.quantity, row.unit, row.why) for row in done.units] == [
        ("length", "Angstrom", "ASE's convention, confirmed by the numbers"),
        ("energy", "eV", f"ASE's convention, {TOGETHER}"),
        ("forces", "eV/Angstrom", f"ASE's convention, {TOGETHER}"),
    ]
    for i, atoms in enumerate(molecules()):
        agree(store, i, atoms)
        np.testing.assert_allclose(store.structure(i).positions, atoms.positions, atol=1e-10)


# kcal/mol without a tag


def test_kcal_energies_with_ev_forces_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xyz", scaled(molecules(), energy=1 / KCAL))
    with pytest.raises(DataError, match=r"energies look like kcal/mol.*--energy-unit"):
        bring(path)
    assert not (tmp_path / "store").exists(), "a refusal leaves nothing behind"


def test_hartree_energies_with_ev_forces_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xyz", scaled(molecules(), energy=1 / ase.units.Hartree))
    with pytest.raises(DataError, match="energies look like Hartree"):
        bring(path)


def test_ev_energies_with_atomic_unit_forces_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xyz", scaled(molecules(), forces=ase.units.Bohr / ase.units.Hartree))
    with pytest.raises(DataError, match="forces look like Hartree/Bohr"):
        bring(path)


def test_a_whole_file_in_kcal_is_refused_by_the_heat_of_its_forces(tmp_path: Path) -> None:
    """Energies and forces agree with each other here, so only their size speaks."""
    path = write(tmp_path / "a.xyz", scaled(molecules(), energy=1 / KCAL, forces=1 / KCAL))
    with pytest.raises(DataError, match=r"more than any hot sample.*--force-unit"):
        bring(path)


def test_all_electron_energies_in_hartree_are_refused_as_ev(tmp_path: Path) -> None:
    atoms = ase.build.molecule("H2O")
    atoms.info["energy"] = -76.42
    path = write(tmp_path / "a.xyz", [atoms])
    with pytest.raises(DataError, match=r"all-electron total energies in Hartree.*--energy-unit"):
        bring(path)
    _, store = bring(path, energy_unit="Hartree")
    assert store.labels(0).energy == pytest.approx(-76.42 * ase.units.Hartree)


@pytest.mark.parametrize("force_option", [{}, {"force_unit": "kcal/mol/Angstrom"}])
def test_the_options_give_right_numbers(tmp_path: Path, force_option: dict[str, str]) -> None:
    """The unit of the forces may be left to the numbers: only one unit makes them the slope of the energies."""
    path = write(tmp_path / "a.xyz", scaled(molecules(), energy=1 / KCAL, forces=1 / KCAL))
    done, store = bring(path, energy_unit="kcal/mol", **force_option)
    row = next(row for row in done.units if row.quantity == "forces")
    assert row.unit == "kcal/mol/Angstrom"
    assert row.why.startswith("option" if force_option else "detected")
    agree(store, 3, molecules()[3])


def test_one_foreign_unit_ends_ases_convention(tmp_path: Path) -> None:
    """Far-apart frames: the numbers cannot say what the forces are in, so the importer must not."""
    frames = scaled(molecules(2), energy=1 / KCAL, forces=1 / KCAL)
    with pytest.raises(DataError, match=r"does not follow ASE's convention.*--force-unit"):
        bring(write(tmp_path / "a.xyz", frames), energy_unit="kcal/mol")


def test_an_option_against_the_numbers_is_followed_and_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xyz", molecules())
    done, store = bring(path, energy_unit="kcal/mol", force_unit="eV/Angstrom", length_unit="Angstrom")
    assert "the forces look like" in done.doubts[0]
    assert store.labels(0).energy == pytest.approx(molecules()[0].info["energy"] * KCAL)


# Energies per atom called total


def test_energies_per_atom_called_total_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xyz", scaled(molecules(), energy=1 / 9))
    with pytest.raises(DataError, match=r"energies per atom \(--energy-per-atom\)"):
        bring(path)
    _, store = bring(path, energy_per_atom=True)
    agree(store, 5, molecules()[5])


def test_totals_called_energies_per_atom_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="totals, not per atom"):
        bring(write(tmp_path / "a.xyz", molecules()), energy_per_atom=True)


# Gradients called forces


def test_gradients_called_forces_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xyz", scaled(molecules(), forces=-1))
    with pytest.raises(DataError, match=r"gradients, of the opposite sign \(--forces-are-gradients\)"):
        bring(path)
    _, store = bring(path, forces_are_gradients=True)
    agree(store, 4, molecules()[4])


@pytest.mark.parametrize("name", ["gradient", "Gradients", "total_gradient", "grad"])
@pytest.mark.parametrize("is_asked", [False, True])
def test_what_is_named_a_gradient_is_turned_once(tmp_path: Path, name: str, *, is_asked: bool) -> None:
    path = write(tmp_path / "a.xyz", renamed(scaled(molecules(2), forces=-1), "forces", name))
    options = {"forces_key": name, "forces_are_gradients": True} if is_asked or name == "grad" else {}
    _, store = bring(path, **options)
    agree(store, 1, molecules(2)[1])


# Lengths in Bohr


def test_positions_in_bohr_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xyz", scaled(molecules(), length=1 / ase.units.Bohr))
    with pytest.raises(DataError, match=r"bonds in Bohr.*--length-unit"):
        bring(path)
    _, store = bring(path, length_unit="Bohr", energy_unit="eV", force_unit="eV/Angstrom")
    np.testing.assert_allclose(store.structure(0).positions, molecules()[0].positions, atol=1e-8)


# Virials in kbar with the opposite sign; stress in bar read as eV/Angstrom^3; shear order

VASP = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2))
PRESSURES = {"bar": KBAR / 1000, "kbar": KBAR, "GPa": ase.units.GPa}


@pytest.mark.parametrize("unit", PRESSURES)
def test_a_stress_in_a_unit_of_pressure_is_never_read_as_ev(tmp_path: Path, unit: str) -> None:
    frames = crystals()
    for atoms in frames:
        atoms.info["stress"] = atoms.info["stress"] / PRESSURES[unit]
    path = write(tmp_path / "a.xyz", frames)
    with pytest.raises(DataError, match=r"looks like GPa, kbar or bar.*--stress-unit"):
        bring(path)
    with pytest.raises(DataError, match="--stress-sign"):
        bring(path, stress_unit=unit)
    _, store = bring(path, stress_unit=unit, stress_sign="tension-positive")
    np.testing.assert_allclose(store.labels(1).stress, crystals()[1].info["stress"], atol=1e-8)


def test_a_stress_as_vasp_prints_it(tmp_path: Path) -> None:
    frames = crystals()
    for atoms in frames:
        atoms.info["stress"] = np.array([-atoms.info["stress"][place] / KBAR for place in VASP])
    path = write(tmp_path / "a.xyz", frames)
    options = {"stress_unit": "kbar", "stress_sign": "compression-positive"}
    with pytest.raises(DataError, match="--stress-order"):
        bring(path, **options)
    _, store = bring(path, **options, stress_order="xx,yy,zz,xy,yz,zx")
    np.testing.assert_allclose(store.labels(2).stress, crystals()[2].info["stress"], atol=1e-8)


def test_a_virial_has_the_opposite_sign_and_a_volume_in_it(tmp_path: Path) -> None:
    frames = crystals()
    for atoms in frames:
        atoms.info["virial"] = -atoms.info.pop("stress") * atoms.get_volume()
    _, store = bring(write(tmp_path / "a.xyz", frames))
    np.testing.assert_allclose(store.labels(0).stress, crystals()[0].info["stress"], atol=1e-8)


def test_six_numbers_called_virial_have_no_order_by_convention(tmp_path: Path) -> None:
    """A stress in kbar in VASP's order, called virial: 1,600 / volume is no unit that its size could betray."""
    frames = crystals()
    for atoms in frames:
        atoms.info["virial"] = np.array([-atoms.info["stress"][place] / KBAR for place in VASP])
        del atoms.info["stress"]
    path = write(tmp_path / "a.xyz", frames)
    with pytest.raises(DataError, match="--stress-order"):
        bring(path)
    options = {"stress_key": "virial", "stress_unit": "kbar", "stress_sign": "compression-positive"}
    _, store = bring(path, **options, stress_order="xx,yy,zz,xy,yz,zx")
    np.testing.assert_allclose(store.labels(2).stress, crystals()[2].info["stress"], atol=1e-8)


def test_a_virial_of_an_impossible_pressure_is_refused(tmp_path: Path) -> None:
    frames = crystals()
    for atoms in frames:
        atoms.info["virial"] = -atoms.info.pop("stress") / (KBAR / 1000) * atoms.get_volume()
    path = write(tmp_path / "a.xyz", frames)
    with pytest.raises(DataError, match=r"virial over the volume reaches.*--stress-key.*--energy-unit"):
        bring(path)
    done, _ = bring(path, energy_unit="eV")
    assert any("virial over the volume" in doubt for doubt in done.doubts)


def test_a_stress_of_nan_was_never_computed(tmp_path: Path) -> None:
    frames = crystals()
    for atoms in frames[1:]:
        atoms.info["stress"] = np.full((3, 3), np.nan)
    done, store = bring(write(tmp_path / "a.xyz", frames))
    assert [store.labels(i).stress is not None for i in range(4)] == [True, False, False, False]
    assert done.left_out == {"stress left out: not a number in any component, so it was never computed": 3}
    assert "set aside" not in done.counts


def test_zero_stress_that_was_never_computed_is_absent(tmp_path: Path) -> None:
    frames = crystals()
    for atoms in frames[1:]:
        atoms.info["stress"] = np.zeros((3, 3))
    done, store = bring(write(tmp_path / "a.xyz", frames))
    assert [store.labels(i).stress is not None for i in range(4)] == [True, False, False, False]
    assert done.left_out == {"stress left out: exactly zero while forces are not, so it was never computed": 3}
    assert done.counts["with stress"] == 1


def test_a_file_of_nothing_but_zero_stress_has_no_stress(tmp_path: Path) -> None:
    frames = crystals()
    for atoms in frames:
        atoms.info["stress"] = np.zeros(6)
    done, store = bring(write(tmp_path / "a.xyz", frames))
    assert "stress" not in store.properties
    assert sum(done.left_out.values()) == 4


def test_a_switch_named_like_a_label_is_no_label(tmp_path: Path) -> None:
    """CASTEP's `calculate_stress=T` was once read as a stress of 1."""
    frames = molecules(2)
    for atoms in frames:
        atoms.info["calculate_stress"] = "T"
    done, store = bring(write(tmp_path / "a.xyz", frames))
    assert store.properties == {"energy", "forces"}
    assert done.counts["imported"] == 2


# Mixed keys

MIXED: list[tuple[Callable[[list[ase.Atoms]], Any], str]] = [
    (
        lambda f: [a.info.update(MACE_energy=1.0) for a in f],
        r"energy \(3 frames\), MACE_energy \(3 frames\).*--energy-key",
    ),
    (lambda f: renamed(f[:1], "energy", "Energy"), r"energy \(2 frames\).*--energy-key"),
    (lambda f: renamed(f[:1], "forces", "REF_forces"), r"forces \(2 frames\).*--forces-key"),
    (lambda f: renamed(f, "forces", "MACE_forces"), r"of two methods.*--energy-key and --forces-key"),
    (lambda f: renamed(renamed(f, "energy", "E1"), "forces", "pull"), r"no energies or forces.*pull.*--energy-key"),
]


@pytest.mark.parametrize(("change", "message"), MIXED)
def test_mixed_keys_are_listed_and_never_mixed(
    tmp_path: Path, change: Callable[[list[ase.Atoms]], Any], message: str
) -> None:
    frames = molecules(3)
    change(frames)
    with pytest.raises(DataError, match=message):
        bring(write(tmp_path / "a.xyz", frames))


@pytest.mark.parametrize(
    ("energy", "forces"), [("REF_energy", "REF_forces"), ("Energy", "force"), ("dft_energy", "dft_force")]
)
def test_one_set_of_keys_needs_no_option(tmp_path: Path, energy: str, forces: str) -> None:
    path = write(tmp_path / "a.xyz", renamed(renamed(molecules(2), "energy", energy), "forces", forces))
    _, store = bring(path)
    agree(store, 1, molecules(2)[1])


def test_the_options_choose_among_keys(tmp_path: Path) -> None:
    frames = molecules(2)
    for atoms in frames:
        atoms.info["MACE_energy"], atoms.arrays["MACE_forces"] = 1.0, np.ones((9, 3))
    _, store = bring(write(tmp_path / "a.xyz", frames), energy_key="energy", forces_key="forces")
    agree(store, 0, molecules(2)[0])


def test_a_key_that_is_not_there_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing named 'enrgy' \(did you mean 'energy'\?\).*--energy-key"):
        bring(write(tmp_path / "a.xyz", molecules(2)), energy_key="enrgy")


# Energy-only frames inside a force set


def test_frames_without_forces_keep_their_energy_and_no_zero_forces(tmp_path: Path) -> None:
    frames = molecules(5)
    for atoms in frames[1:3]:
        del atoms.arrays["forces"]
    del frames[4].info["energy"], frames[4].arrays["forces"]
    done, store = bring(write(tmp_path / "a.xyz", frames))
    assert [store.labels(i).present for i in range(5)] == [
        ("energy", "forces"),
        ("energy",),
        ("energy",),
        ("energy", "forces"),
        (),
    ]
    assert (done.counts["with energy"], done.counts["with forces"], done.counts["without any label"]) == (4, 2, 1)


def test_isolated_atoms_are_kept_with_their_tag(tmp_path: Path) -> None:
    atom = ase.Atoms("H")
    atom.info.update(energy=-13.6, config_type="IsolatedAtom")
    atom.arrays["forces"] = np.zeros((1, 3))
    _, store = bring(write(tmp_path / "a.xyz", [atom, *molecules(2)]))
    assert store.structure(0).info["config_type"] == "IsolatedAtom"
    assert len(store) == 3


# A PDB with MODEL records is no label file


def test_a_pdb_is_refused_by_format_and_not_read_as_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.pdb"
    path.write_text("MODEL        1\nATOM      1  C   ALA A   1      11.104   6.134  -6.504\nENDMDL\nEND\n")
    with pytest.raises(DataError, match=r"--format.*extxyz"):
        bring(path)


# Two sources in one file: the second does not hide behind the first


def test_a_contradiction_in_a_later_block_stops_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlff_distiller.data.importers.importing._BLOCK", 16)
    frames = [*molecules(), *scaled(molecules(), energy=1 / KCAL)]
    with pytest.raises(DataError, match="energies look like kcal/mol"):
        bring(write(tmp_path / "a.xyz", frames))


def test_a_label_that_first_appears_late_is_settled_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlff_distiller.data.importers.importing._BLOCK", 4)
    done, store = bring(write(tmp_path / "a.xyz", [*molecules(4), *crystals()]))
    assert ("stress", "eV/Angstrom^3") in [(row.quantity, row.unit) for row in done.units]
    np.testing.assert_allclose(store.labels(5).stress, crystals()[1].info["stress"], atol=1e-8)


Numbers = NDArray[np.float64]


def spoil(name: str) -> Callable[[ase.Atoms], None]:
    def change(atoms: ase.Atoms) -> None:
        if name == "nan force":
            atoms.arrays["forces"][3, 1] = np.nan
        elif name == "nan energy":
            atoms.info["energy"] = float("nan")
        elif name == "coincident":
            atoms.positions[1] = atoms.positions[0]
        elif name == "huge force":
            atoms.arrays["forces"][0] = 1e9
        elif name == "charge":
            atoms.info["charge"] = 0.5
        elif name == "spin":
            atoms.info["spin"] = 0
        elif name == "far":
            atoms.positions[0] = 1e9

    return change


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nan force", "forces hold a number that is not finite"),
        ("nan energy", "energy holds a number that is not finite"),
        ("coincident", "atoms 0 and 1 are only 0 Angstrom apart"),
        ("huge force", r"a force of 1e\+09 eV/Angstrom is impossible"),
        ("charge", "charge must be a whole number, got 0.5"),
        ("spin", "multiplicity 2S"),
        ("far", "from the origin"),
    ],
)
def test_an_impossible_frame_stops_or_is_set_aside_by_name(tmp_path: Path, name: str, message: str) -> None:
    frames = molecules(4)
    spoil(name)(frames[2])
    path = write(tmp_path / "a.xyz", frames)
    options = {"force_unit": "eV/Angstrom"}  # a huge force is otherwise seen before, in the whole file
    with pytest.raises(DataError, match=rf"a\.xyz, frame 2: .*{message}.*--skip-bad-frames"):
        bring(path, **options)
    done, store = bring(path, **options, skip_bad_frames=True)
    assert store.ids.tolist() == [0, 1, 3]
    assert done.counts == {"frames": 4, "imported": 3, "set aside": 1, "with energy": 3, "with forces": 3}
    assert len(done.set_aside) == 1
    assert done.set_aside[0].startswith("a.xyz, frame 2: ")
    agree(store, 2, molecules(4)[3])
