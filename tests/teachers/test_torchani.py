"""TorchANI: the contract, agreement with its own calculator and with FeNNol, ensembles, and what is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase, to_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PlanError, TeacherError, UnsupportedStructureError
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.base import Potential
from mlff_distiller.teachers.ase_factory import ASEFactoryPlan
from mlff_distiller.teachers.contract import TeacherContract
from mlff_distiller.teachers.fennol import FeNNolPlan
from mlff_distiller.teachers.torchani import TorchANICalculator, TorchANIPlan

# TorchANI's own way to its own calculator.
OWN = """
import os
from torchani.neurochem import load_model_from_info_file

def calculator(folder):
    os.environ["TORCHANI_DATA_DIR"] = folder
    return load_model_from_info_file(f"{folder}/Neurochem/ani-2x_8x.info", model_index=0).double().ase()
"""


def rattled(atoms: ase.Atoms, amplitude: float = 0.05) -> Structure:
    atoms = atoms.copy()
    atoms.positions += generator(1, "torchani", str(atoms.symbols)).normal(scale=amplitude, size=atoms.positions.shape)
    return from_ase(atoms)


def in_cell(structure: Structure, edge: float) -> Structure:
    cell = edge * np.array([[1, 0, 0], [0.2, 1, 0], [-0.1, 0.15, 1]])
    return Structure(structure.numbers, structure.positions, cell=cell, pbc=True)


WATER = rattled(ase.build.molecule("H2O"))
ETHANOL = rattled(ase.build.molecule("CH3CH2OH"))
ICE = in_cell(WATER, 4.2)
MIXED = [ETHANOL, ICE, WATER, in_cell(ETHANOL, 5.5), rattled(ase.build.molecule("CH3SH")), ICE]


@pytest.fixture(scope="module")
def python(environment: Callable[[str], str]) -> str:
    return environment("torchani")


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    folder = shared / "teachers/torchani/Neurochem"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture(scope="module")
def teacher(python: str, folder: Path) -> Potential:
    return TorchANIPlan(model=str(folder), member=0, environment=python).build()


@pytest.fixture(scope="module")
def pair(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An ensemble of two: the second is the first with other weights in the last layer of hydrogen."""
    copy = tmp_path_factory.mktemp("torchani") / "pair"
    for source in sorted(folder.rglob("*")):
        place = copy / source.relative_to(folder)
        if source.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
    first = copy / "ani-2x_8x" / "train0"
    shutil.copytree(first, first.with_name("train1"))
    weights = first.with_name("train1") / "networks/ANN-H.nnf-l4.wparam"
    (1.3 * np.fromfile(weights, np.float32)).astype(np.float32).tofile(weights)
    info = copy / "ani-2x_8x.info"
    info.write_text("\n".join([*info.read_text().splitlines()[:3], "2"]) + "\n")
    return str(info)


@pytest.mark.teacher
class TestTorchANI(TeacherContract):
    n_many = 240  # it looks at all pairs of atoms in all images of a cell

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _plan(cls, python: str, folder: Path) -> None:
        cls.plan = TorchANIPlan(model=str(folder), member=0, environment=python)


@pytest.mark.teacher
def test_it_says_what_it_is(teacher: Potential) -> None:
    assert (teacher.elements, teacher.cutoff, teacher.charges) == ({1, 6, 7, 8, 9, 16, 17}, 5.1, {0})
    assert "Neurochem, member 0, torchani" in str(teacher.identity)
    assert (teacher.identity.precision, teacher.identity.device) == ("float64", "cpu")


@pytest.mark.teacher
def test_agrees_with_torchanis_own_calculator(
    teacher: Potential, python: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_torchani.py").write_text(OWN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    arguments = {"folder": str(folder.parent)}
    own = ASEFactoryPlan(factory="own_torchani:calculator", arguments=arguments, environment=python).build()
    asked = ["energy", "forces", "stress"]
    for structure, one, other in zip(MIXED, *(who.predict(MIXED, asked) for who in (teacher, own)), strict=True):
        assert one.present == other.present
        assert one.energy == pytest.approx(other.energy, abs=1e-9)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-11)
        if structure.is_periodic:
            np.testing.assert_allclose(one.stress, other.stress, atol=1e-13)


@pytest.mark.teacher
def test_agrees_with_the_same_model_in_fennol(
    teacher: Potential, environment: Callable[[str], str], shared: Path
) -> None:
    model = shared / "teachers/fennol/ani2x_model0.fnx"
    fennol = FeNNolPlan(model=str(model), environment=environment("fennol")).build()
    for one, other in zip(*(who.predict(MIXED, who.properties) for who in (teacher, fennol)), strict=True):
        assert one.present == other.present
        assert one.energy == pytest.approx(other.energy, abs=1e-6)
        np.testing.assert_allclose(one.forces, other.forces, atol=5e-6)
        np.testing.assert_allclose(one.atomic_energies, other.atomic_energies, atol=1e-6)
        if one.stress is not None:
            np.testing.assert_allclose(one.stress, other.stress, atol=5e-7)


@pytest.mark.teacher
def test_every_cell_of_a_batch_has_its_neighbors(teacher: Potential) -> None:
    # In a batch of TorchANI's, all but the first cell are evaluated as if they had none: 160 eV off.
    doubled = from_ase(to_ase(ICE).repeat((1, 2, 1)))
    first, second, third = teacher.predict([ICE, ICE, doubled], ["energy", "forces", "stress"])
    assert second.energy == first.energy
    assert third.energy == pytest.approx(2 * first.energy, abs=1e-9)
    np.testing.assert_allclose(third.forces, np.tile(first.forces, (2, 1)), atol=1e-10)
    np.testing.assert_allclose(third.stress, first.stress, atol=1e-12)


@pytest.mark.teacher
def test_the_mean_of_an_ensemble(python: str, pair: str) -> None:
    plans = [TorchANIPlan(model=pair, member=member, environment=python) for member in (0, 1, None)]
    potentials = [plan.build() for plan in plans]
    first, second, mean = (who.predict(MIXED, who.properties) for who in potentials)
    for one, other, both in zip(first, second, mean, strict=True):
        assert abs(one.energy - other.energy) > 1e-3
        for name in both.present:
            middle = (np.asarray(getattr(one, name)) + np.asarray(getattr(other, name))) / 2
            np.testing.assert_allclose(getattr(both, name), middle, rtol=0, atol=1e-9)
    assert len({who.identity for who in potentials}) == 3


@pytest.mark.teacher
def test_the_calculator_sees_every_change(python: str, folder: Path, teacher: Potential) -> None:
    calculator = TorchANICalculator(model=str(folder), member=0, environment=python)
    energies = []
    for structure in (ICE, WATER, ETHANOL, ICE):
        atoms = to_ase(structure)
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
    np.testing.assert_allclose(
        energies, [labels.energy for labels in teacher.predict([ICE, WATER, ETHANOL, ICE])], atol=1e-9
    )


@pytest.mark.teacher
def test_what_it_does_not_cover_is_refused(teacher: Potential) -> None:
    with pytest.raises(UnsupportedStructureError, match=r"H2O has spin multiplicity 3.*it covers 1"):
        teacher.predict([Structure(WATER.numbers, WATER.positions, spin=3)])
    with pytest.raises(UnsupportedStructureError, match=r"periodic in 2 of 3 directions.*add vacuum"):
        teacher.predict([Structure(WATER.numbers, WATER.positions, cell=ICE.cell, pbc=[True, True, False])])


@pytest.mark.teacher
def test_what_cannot_be_loaded_is_said(python: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.info").write_text("constants\nenergies\ntrain\nmany\n")
    for model, member, said in [
        (str(folder), None, r"does not hold member 1 of the ensemble; it holds 0: name one .* `member`"),
        (str(folder), 8, r"does not hold member 8 of the ensemble"),
        (str(folder / "ani-2x_8x"), 0, r"must hold one .info file, or one must be named; it holds none"),
        (str(tmp_path), 0, r"cannot be read as an ANI model in the form of NeuroChem .*check its files"),
        ("ANI3x", 0, r"neither there as a folder nor known to TorchANI \(did you mean 'ANI2x'\?\); known: ANI1ccx"),
    ]:
        with pytest.raises(TeacherError, match=said):
            TorchANIPlan(model=model, member=member, environment=python).build()


@pytest.mark.teacher
def test_without_a_network_the_way_to_the_parameters_is_said(
    python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHANI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(TeacherError, match=r"cannot get the parameters of ANI2x .*connect to the internet once"):
        TorchANIPlan(model="ANI2x", environment=python).build()


def test_without_the_library_the_way_to_it_is_said() -> None:
    with pytest.raises(TeacherError, match=r"teacher 'torchani' needs torchani.*`mlffd teacher install torchani`"):
        TorchANIPlan().build()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"member": -1}, "'member': input should be greater than or equal to 0"),
        ({"precision": "float16"}, "'precision': input should be 'float32' or 'float64'"),
        ({"device": "tpu"}, "'device': input should be 'cpu' or 'cuda'"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        TorchANIPlan.parse(settings, where="recipe.yaml")
