"""MACE's HDF5 form: both layouts, absent labels, stress and virials."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers.border import convert
from mlff_distiller.data.importers.mace import MaceReader
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.importers.settle import settle
from mlff_distiller.potentials.analytic import lennard_jones

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def crystal() -> Structure:
    """Return a sheared, rattled argon cell whose stress has six different components."""
    rng = np.random.default_rng(0)
    cell = 5.3 * np.eye(3) + np.array([[0, 0.3, 0.1], [0, 0.2, -0.2], [0, 0, -0.1]])
    scaled = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]) + rng.normal(0, 0.02, (4, 3))
    return Structure([18] * 4, scaled @ cell, cell=cell, pbc=True)


def write(path: Path, structure: Structure, labels: dict[str, Any], *, nested: bool) -> None:
    """Write one structure as MACE's preprocess_data does, newer (nested) or older."""
    with h5py.File(path, "w") as file:
        group = file.create_group("config_batch_0/config_0")
        group["atomic_numbers"], group["positions"] = structure.numbers, structure.positions
        group["cell"], group["pbc"] = structure.cell, structure.pbc
        group["weight"], group["config_type"] = 1.0, "Default"
        holder = group.create_group("properties") if nested else group
        for name in ("energy", "forces", "stress", "virials", "dipole", "charges"):
            value = labels.get(name)
            holder[name] = "None" if value is None else value
            group[f"property_weights/{name}" if nested else f"{name}_weight"] = 0.0 if value is None else 1.0


def read(path: Path) -> Any:
    reader = MaceReader(path, ImportPlan())
    frames = list(reader.frames())
    units = settle(frames, reader.units, ImportPlan(), format_name="mace-hdf5", where="mace")
    return [convert(frame, units, ImportPlan()).labeled for frame in frames]


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("form", ["voigt", "matrix", "virials"])
def test_stress_and_virials_against_finite_differences(tmp_path: Path, form: str, nested: bool) -> None:
    """The derivative of the energy with respect to strain comes from energies alone."""
    structure = crystal()
    potential = lennard_jones(epsilon=0.0104, sigma=3.4, cutoff=8.5)
    derivative, h = np.zeros((3, 3)), 1e-4
    for i, k in np.ndindex(3, 3):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, k] += sign * h / 2
            strain[k, i] += sign * h / 2
            moved = structure.moved(structure.positions @ strain, cell=structure.cell @ strain)
            energies.append(potential.predict([moved])[0].energy)
        derivative[i, k] = (energies[0] - energies[1]) / (2 * h)
    stress = derivative / structure.volume  # ASE's sign
    labels = {"voigt": {"stress": np.array([stress[i] for i in VOIGT])}, "matrix": {"stress": stress}}
    labels["virials"] = {"virials": -derivative}
    energy = potential.predict([structure])[0].energy
    write(tmp_path / "train.h5", structure, {"energy": energy, **labels[form]}, nested=nested)
    read_labels = read(tmp_path / "train.h5")[0].labels
    np.testing.assert_allclose(read_labels.stress, stress, rtol=1e-10)
    np.testing.assert_allclose(read_labels.stress, potential.predict([structure], ("stress",))[0].stress, atol=1e-7)
    assert read_labels.energy == energy
    assert read_labels.forces is None


@pytest.mark.parametrize("nested", [True, False])
def test_absent_labels_stay_absent(tmp_path: Path, nested: bool) -> None:
    structure = crystal()
    write(tmp_path / "a.h5", structure, {"forces": np.zeros((4, 3))}, nested=nested)
    assert read(tmp_path / "a.h5")[0].labels.present == ("forces",)


def test_a_label_of_weight_zero_was_never_computed(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", crystal(), {"energy": -1.0, "stress": np.zeros(6)}, nested=True)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["config_batch_0/config_0/property_weights/stress"][...] = 0.0
    assert read(tmp_path / "a.h5")[0].labels.present == ("energy",)


def test_order_is_that_of_the_numbers_not_of_the_names(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for i in range(24):
            group = file.create_group(f"config_batch_{i // 12}/config_{i % 12}")
            group["atomic_numbers"], group["positions"] = [2], np.zeros((1, 3))
            group["properties/energy"] = float(i)
    reader = MaceReader(tmp_path / "a.h5", ImportPlan())
    assert [float(frame.values["energy"]) for frame in reader.frames()] == list(range(24))
    assert reader.n_frames == 24


def test_other_hdf5_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["water/positions"] = np.zeros((1, 3))
    with pytest.raises(DataError, match="holds water, not the groups config_batch_N"):
        MaceReader(tmp_path / "a.h5", ImportPlan())
    (tmp_path / "b.h5").write_text("text")
    with pytest.raises(DataError, match="no HDF5 file"):
        MaceReader(tmp_path / "b.h5", ImportPlan())
