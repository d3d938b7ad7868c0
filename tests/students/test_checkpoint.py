"""Student files: exact round trips, and one clear sentence for every kind of damage."""

import json

import ase
import ase.build
import numpy as np
import pytest
import torch
from ase.calculators.calculator import PropertyNotImplementedError
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mlff_distiller import StudentCalculator
from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.core.errors import CheckpointError, UnsupportedStructureError
from mlff_distiller.potentials.base import Identity
from mlff_distiller.students.checkpoint import load, read_header, save
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.record import Domain, TrainingRecord
from mlff_distiller.students.student import Student


@pytest.fixture
def student() -> Student:
    references = {1: -10.7, 8: -102.123456789}
    return Student(
        PaiNNPlan(preset="ultra-tiny", cutoff=4.5), references, charges=(0, 1), scale=1.4, neighbor_norm=1.7, seed=2
    )


@pytest.fixture
def file(student, tmp_path):
    path = tmp_path / "student.safetensors"
    save(student, path, training={"recipe": "water"})
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_is_exact(student, tmp_path, dtype):
    path = tmp_path / "s.safetensors"
    save(student.to(dtype), path)
    water = from_ase(ase.build.molecule("H2O"))
    here, there = (StudentPotential(s).predict([water])[0] for s in (student, load(path)))
    assert load(path).dtype == dtype
    assert here.energy == there.energy
    np.testing.assert_array_equal(here.forces, there.forces)
    assert (load(path).charges, load(path).cutoff) == ((0, 1), 4.5)


def test_header_tells_what_it_is(file):
    header = read_header(file)
    assert header["training"] == {"recipe": "water"}
    assert header["elements"] == [1, 8]
    assert header["versions"]["torch"] == torch.__version__


def test_precision_can_be_raised_on_loading(file):
    assert load(file, dtype=torch.float64).dtype == torch.float64


def resave(file, **changes):
    header = read_header(file)
    metadata = {"format": "mlffd-student", "version": "2", "header": json.dumps(header)} | changes
    save_file(load_file(file), file, metadata=metadata)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: f.unlink(), "does not exist"),
        (lambda f: f.write_bytes(b""), "cut short"),
        (lambda f: f.write_bytes(f.read_bytes()[:1000]), "cut short"),
        (lambda f: f.write_bytes(b"PK" + bytes(4000)), "cut short"),
        (lambda f: resave(f, version="3"), "install a newer"),
        (lambda f: resave(f, format="other"), "not a student"),
        (lambda f: resave(f, header="{"), "header is damaged"),
        (lambda f: resave(f, header="{}"), "damaged"),
        (lambda f: resave(f, header=json.dumps(read_header(f) | {"elements": [1]})), "damaged"),
        (lambda f: resave(f, header=json.dumps(read_header(f) | {"plan": {"kind": "other"}})), "damaged"),
    ],
)
def test_damage_is_said_in_one_sentence(file, damage, sentence):
    damage(file)
    with pytest.raises(CheckpointError, match=sentence) as caught:
        StudentCalculator(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def tampered(file, **changes):
    tensors = load_file(file)
    for name, change in changes.items():
        tensors[name.replace("__", ".")] += change
    with safe_open(file, framework="pt") as reader:
        metadata = reader.metadata()
    save_file(tensors, file, metadata=metadata)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "change", [{"network__readout__2__bias": 1e-2}, {"reference__energies": 1e-2}, {"network__scalars__weight": np.nan}]
)
def test_a_file_that_gives_something_else_than_when_it_was_written_is_refused(file, dtype, change):
    tampered(file, **change)
    with pytest.raises(
        CheckpointError, match=r"gives .* eV for its reference H2O2 in float.* on cpu, expected"
    ) as caught:
        load(file, dtype=dtype)
    assert "mlff-distiller" in str(caught.value)
    assert load(file, dtype=dtype, check=False).dtype == dtype


def test_a_repulsion_of_other_strength_is_noticed(file, monkeypatch):
    monkeypatch.setattr("mlff_distiller.students.priors.COULOMB", 14.5)
    with pytest.raises(CheckpointError, match="expected within"):
        load(file)


def test_references_of_the_training_set_are_kept_and_checked(student, tmp_path):
    path = tmp_path / "student.safetensors"
    rng = np.random.default_rng(0)
    waters = [from_ase(ase.build.molecule("H2O")) for _ in range(5)]
    box = ase.build.molecule("H2O", cell=[3.0, 3.5, 4.0], pbc=True)
    frames = [s.moved(s.positions + rng.normal(scale=0.05, size=(3, 3))) for s in [*waters, from_ase(box)]]
    save(student, path, references=[*frames[3:], from_ase(ase.build.molecule("H2O2"))])
    kept = read_header(path)["references"]
    assert [len(entry["numbers"]) for entry in kept] == [4, 3, 3, 3]
    assert kept[3]["pbc"] == [True] * 3
    found = StudentPotential(load(path, dtype=torch.float64)).predict(frames[3:])
    for entry, labels in zip(kept[1:], found, strict=True):
        assert entry["float64"]["energy"] == pytest.approx(labels.energy, abs=1e-10)
        np.testing.assert_allclose(entry["float64"]["forces"], labels.forces, atol=1e-10)


@pytest.mark.parametrize("stored", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_precision_passes_the_check_whatever_is_stored(student, tmp_path, stored, dtype):
    path = tmp_path / "student.safetensors"
    save(student.to(stored), path)
    assert load(path, dtype=dtype).dtype == dtype
    assert student.dtype == stored


def test_the_check_does_not_depend_on_the_default_precision(file):
    try:
        torch.set_default_dtype(torch.float64)
        assert load(file).dtype == torch.float32
        assert load(file, dtype=torch.float64).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.gpu
def test_a_gpu_passes_the_check(file):
    for dtype in (torch.float32, torch.float64):
        assert load(file, dtype=dtype, device="cuda").device.type == "cuda"


def test_states_and_record_come_back(tmp_path):
    path = tmp_path / "student.safetensors"
    states = {"H2O": (0, 1), "HO": (-1, 1)}
    student = Student(PaiNNPlan(preset="ultra-tiny"), {1: 0.0, 8: 0.0}, states=states)
    domain = Domain(n_structures=7, n_atoms={"H": 12}, shortest_distances={"H-O": 0.91}, energy_per_atom_range=(-9, -8))
    record = TrainingRecord(
        data_digest="ab", teacher=Identity("xtb", "GFN2", "cd").to_json(), domain=domain, metrics={"force_rmse": 0.1}
    )
    save(student, path, record=record)
    assert load(path).states == states
    assert load(path).charges == (-1, 0)
    assert TrainingRecord.model_validate(read_header(path)["record"]) == record


def test_calculator_gives_everything_ase_knows(file):
    water = ase.build.molecule("H2O")
    water.calc = StudentCalculator(file, dtype=torch.float64)
    assert water.get_potential_energies().sum() == pytest.approx(water.get_potential_energy())
    assert water.get_potential_energy(force_consistent=True) == water.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError, match="periodic in three directions"):
        water.get_stress()
    box = ase.build.molecule("H2O", cell=[3.0, 3.5, 4.0], pbc=True)
    box.calc = StudentCalculator(file, dtype=torch.float64)
    from ase.calculators.fd import calculate_numerical_stress

    np.testing.assert_allclose(box.get_stress(), calculate_numerical_stress(box, eps=1e-5), atol=1e-8)


def test_calculator_names_the_element_or_charge_it_was_not_trained_on(file):
    methane = ase.build.molecule("CH4")
    methane.calc = StudentCalculator(file)
    with pytest.raises(UnsupportedStructureError, match="CH4 holds C"):
        methane.get_forces()
    water = ase.build.molecule("H2O")
    water.info["charge"] = -1
    water.calc = StudentCalculator(file)
    with pytest.raises(UnsupportedStructureError, match=r"charge -1.*covers 0, \+1"):
        water.get_forces()


def test_calculator_notices_a_charge_edited_after_an_evaluation(file):
    water = ase.build.molecule("H2O")
    water.calc = StudentCalculator(file)
    water.get_potential_energy()
    water.info["charge"] = -1
    with pytest.raises(UnsupportedStructureError):
        water.get_potential_energy()


def test_calculator_notices_a_change_of_boundary_conditions(file):
    water = ase.build.molecule("H2O", cell=[3.0, 3.0, 3.0])
    water.calc = StudentCalculator(file)
    molecule = water.get_potential_energy()
    water.pbc = True
    assert abs(water.get_potential_energy() - molecule) > 1e-6
