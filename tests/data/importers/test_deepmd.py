"""DeePMD-kit's directories: units, the sign of the virial, mixed types with padding, damage."""

from pathlib import Path

import numpy as np
import pytest

from mlff_distiller.atoms.labeled import LabeledStructure
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers.border import convert
from mlff_distiller.data.importers.deepmd import DeepmdReader
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.importers.settle import settle
from mlff_distiller.potentials.analytic import lennard_jones

POTENTIAL = lennard_jones(epsilon=0.0104, sigma=3.4, cutoff=8.5)


def read(path: Path) -> list[LabeledStructure]:
    reader = DeepmdReader(path, ImportPlan())
    frames = list(reader.frames())
    assert reader.n_frames == len(frames)
    units = settle(frames, reader.units, ImportPlan(), format_name="deepmd", where=str(path))
    return [convert(frame, units, ImportPlan()).labeled for frame in frames]


def write(path: Path, structures: list[Structure], *, set_name: str = "set.000") -> None:
    """Write a system of argon and krypton as DeePMD-kit does; the virial is -dE/d(strain), from energies alone."""
    (path / set_name).mkdir(parents=True)
    (path / "type_map.raw").write_text("Kr\nAr\n")
    (path / "type.raw").write_text("\n".join("0" if z == 36 else "1" for z in structures[0].numbers))
    labels = POTENTIAL.predict(structures)
    m = len(structures)
    arrays = {
        "coord": [s.positions.reshape(-1) for s in structures],
        "box": [s.cell.reshape(-1) for s in structures],
        "energy": [label.energy for label in labels],
        "force": [label.forces.reshape(-1) for label in labels],
        "virial": [-derivative(s).reshape(-1) for s in structures],
    }
    for name, values in arrays.items():
        np.save(path / set_name / f"{name}.npy", np.array(values).reshape(m, -1))
    np.save(path / set_name / "energy.npy", np.array(arrays["energy"]))


def derivative(structure: Structure, h: float = 1e-4) -> np.ndarray:
    """Return dE/d(strain), eV, by central differences."""
    found = np.zeros((3, 3))
    for i, k in np.ndindex(3, 3):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, k] += sign * h / 2
            strain[k, i] += sign * h / 2
            moved = structure.moved(structure.positions @ strain, cell=structure.cell @ strain)
            energies.append(POTENTIAL.predict([moved])[0].energy)
        found[i, k] = (energies[0] - energies[1]) / (2 * h)
    return found


def crystals(count: int = 2) -> list[Structure]:
    rng = np.random.default_rng(1)
    scaled = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    made = []
    for _ in range(count):
        cell = 5.3 * np.eye(3) + rng.normal(0, 0.2, (3, 3))
        made.append(Structure([18, 36, 18, 18], (scaled + rng.normal(0, 0.02, (4, 3))) @ cell, cell=cell, pbc=True))
    return made


def test_stress_has_the_sign_that_strain_gives_it(tmp_path: Path) -> None:
    structures = crystals()
    write(tmp_path, structures)
    expected = POTENTIAL.predict(structures, ("energy", "forces", "stress"))
    for (structure, labels), source, truth in zip(read(tmp_path), structures, expected, strict=True):
        np.testing.assert_array_equal(structure.numbers, source.numbers)
        np.testing.assert_array_equal(structure.positions, source.positions)
        np.testing.assert_array_equal(structure.cell, source.cell)
        assert labels.energy == truth.energy
        np.testing.assert_array_equal(labels.forces, truth.forces)
        np.testing.assert_allclose(labels.stress, derivative(source) / source.volume, atol=1e-9)
        np.testing.assert_allclose(labels.stress, truth.stress, atol=1e-7)


def test_nested_systems_and_sets_come_in_order(tmp_path: Path) -> None:
    structures = crystals(4)
    write(tmp_path / "b", structures[3:])
    write(tmp_path / "a", structures[:2])
    write(tmp_path / "a2", structures[2:3], set_name="set.001")
    (tmp_path / "a2" / "set.001").rename(tmp_path / "a" / "set.001")
    (tmp_path / "a2" / "type.raw").unlink()
    found = read(tmp_path)
    for (structure, _), source in zip(found, structures, strict=True):
        np.testing.assert_array_equal(structure.positions, source.positions)
    assert [item.structure.info["set"] for item in found] == ["set.000", "set.000", "set.001", "set.000"]


def test_molecules_without_box(tmp_path: Path) -> None:
    write(tmp_path, crystals(1))
    (tmp_path / "nopbc").touch()
    structure, labels = read(tmp_path)[0]
    assert not structure.pbc.any()
    assert labels.stress is None


def test_mixed_types_lose_their_padding(tmp_path: Path) -> None:
    (tmp_path / "set.000").mkdir()
    (tmp_path / "type_map.raw").write_text("H O")
    (tmp_path / "type.raw").write_text("0\n0\n0")
    (tmp_path / "nopbc").touch()
    coord = np.array([[0, 0, 0, 1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0.8, 0, 0, 0]], dtype=np.float32)
    for name, value in (("coord", coord), ("force", -coord), ("real_atom_types", [[1, 0, 0], [0, 0, -1]])):
        np.save(tmp_path / "set.000" / f"{name}.npy", value)
    np.save(tmp_path / "set.000" / "energy.npy", np.array([[-1.0], [-2.0]]))
    np.save(tmp_path / "set.000" / "atom_ener.npy", np.array([[-0.5, -0.25, -0.25], [-1.0, -1.0, 0.0]]))
    water, hydrogen = read(tmp_path)
    assert [water.structure.formula, hydrogen.structure.formula] == ["H2O", "H2"]
    assert hydrogen.labels.forces.shape == (2, 3)
    assert hydrogen.labels.atomic_energies.tolist() == [-1.0, -1.0]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no type\.raw"):
        DeepmdReader(tmp_path, ImportPlan())
    write(tmp_path / "a", crystals(1))
    (tmp_path / "a" / "set.000" / "box.npy").unlink()
    with pytest.raises(DataError, match=r"no box\.npy and .* no file nopbc"):
        read(tmp_path / "a")
    (tmp_path / "a" / "type_map.raw").unlink()
    with pytest.raises(DataError, match=r"no type_map\.raw, so its elements are unknown"):
        read(tmp_path / "a")


def test_types_beyond_the_map_and_torn_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, crystals(1))
    (tmp_path / "type_map.raw").write_text("Ar")
    with pytest.raises(DataError, match=r"types that type_map\.raw does not name"):
        read(tmp_path)
    force = tmp_path / "set.000" / "force.npy"
    force.write_bytes(force.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"force\.npy is not as long as its header says"):
        read(tmp_path)
