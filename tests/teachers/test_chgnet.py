"""CHGNet: the contract, agreement with its own calculator, units and signs, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PlanError, PredictionError, TeacherError, UnsupportedStructureError
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.base import Potential
from mlff_distiller.teachers.ase_factory import ASEFactoryPlan
from mlff_distiller.teachers.chgnet import CHGNetCalculator, CHGNetPlan
from mlff_distiller.teachers.contract import TeacherContract

OWN = "chgnet.model.dynamics:CHGNetCalculator"
ARGUMENTS = {"use_device": "cpu", "return_site_energies": True}


def rattled(atoms: ase.Atoms, amplitude: float = 0.05) -> Structure:
    atoms = atoms.copy()
    atoms.positions += generator(1, "chgnet", str(atoms.symbols)).normal(scale=amplitude, size=atoms.positions.shape)
    return from_ase(atoms)


SILICON = rattled(ase.build.bulk("Si"))
OXIDE = rattled(ase.build.bulk("NiO", "rocksalt", a=4.2) * (2, 1, 1))
ARGON = rattled(ase.build.bulk("Ar", "fcc", a=5.3, cubic=True))  # no bond short enough for angles
STRUCTURES = [ARGON, SILICON, OXIDE]


@pytest.fixture(scope="module")
def python(environment: Callable[[str], str]) -> str:
    return environment("chgnet")


@pytest.fixture(scope="module")
def teacher(python: str) -> Potential:
    return CHGNetPlan(environment=python).build()


def packaged(python: str, model: str) -> str:
    return str(next(Path(python).glob(f"lib/*/site-packages/chgnet/pretrained/{model}/*.tar")))


def assert_same(ours: Potential, theirs: Potential) -> None:
    pairs = zip(*(potential.predict(STRUCTURES, ours.properties) for potential in (ours, theirs)), strict=True)
    for structure, (one, other) in zip(STRUCTURES, pairs, strict=True):
        assert one.present == other.present
        assert one.energy == pytest.approx(other.energy, abs=2e-6 * len(structure))
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-5)
        np.testing.assert_allclose(one.stress, other.stress, atol=1e-6)
        np.testing.assert_allclose(one.atomic_energies, other.atomic_energies, atol=1e-5)


@pytest.mark.teacher
class TestCHGNet(TeacherContract):
    molecules = ()
    n_many = 200  # a thousand atoms take gigabytes and a minute

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _plan(cls, python: str) -> None:
        cls.plan = CHGNetPlan(environment=python)


@pytest.mark.teacher
def test_agrees_with_chgnets_own_calculator(python: str, teacher: Potential) -> None:
    assert_same(teacher, ASEFactoryPlan(factory=OWN, arguments=ARGUMENTS, environment=python).build())


@pytest.mark.teacher
def test_a_file_agrees_with_chgnets_own_calculator_and_with_its_name(python: str) -> None:
    file = packaged(python, "r2scan")
    arguments = {"path": file, "use_device": "cpu", "return_site_energies": True}
    named, read = (CHGNetPlan(model=model, environment=python).build() for model in ("r2scan", file))
    assert named.identity != read.identity
    assert_same(named, read)
    assert_same(read, ASEFactoryPlan(factory=f"{OWN}.from_file", arguments=arguments, environment=python).build())


@pytest.mark.teacher
def test_the_old_model_batches_like_single_calls(python: str) -> None:
    old = CHGNetPlan(model="0.2.0", environment=python).build()
    assert old.cutoff == 5.0
    together = old.predict(STRUCTURES, old.properties)
    for structure, one in zip(STRUCTURES, together, strict=True):  # with angles beside some without any
        alone = old.predict([structure], old.properties)[0]
        assert one.energy == pytest.approx(alone.energy, abs=2e-6 * len(structure))
        np.testing.assert_allclose(one.forces, alone.forces, atol=1e-5)
        np.testing.assert_allclose(one.stress, alone.stress, atol=1e-6)


@pytest.mark.teacher
def test_the_order_of_cell_vectors_does_not_turn_the_stress_around(teacher: Potential) -> None:
    # CHGNet's own calculator gives the opposite sign for a left-handed cell.
    left = Structure(OXIDE.numbers, OXIDE.positions, cell=OXIDE.cell[[1, 0, 2]], pbc=True)
    one, other = teacher.predict([OXIDE, left], ["energy", "stress"])
    assert other.energy == pytest.approx(one.energy, abs=1e-5)
    assert np.abs(one.stress).max() > 0.01
    np.testing.assert_allclose(other.stress, one.stress, atol=1e-5)
    energies = []
    for step in (-0.01, 0.01):
        scaled = left.moved(left.positions * (1 + step), cell=left.cell * (1 + step))
        energies.append(teacher.predict([scaled], ["energy"])[0].energy)
    assert np.trace(other.stress) == pytest.approx((energies[1] - energies[0]) / 0.02 / left.volume, abs=2e-3)


@pytest.mark.teacher
def test_it_says_what_it_is(teacher: Potential) -> None:
    assert len(teacher.elements) == 89  # polonium to radium are in the network, but were never trained
    assert (teacher.cutoff, teacher.charges, teacher.identity.precision) == (6.0, {0}, "float32")
    assert "0.3.0, chgnet 0." in str(teacher.identity)


@pytest.mark.teacher
def test_what_it_does_not_cover(teacher: Potential) -> None:
    for structure, said in [
        (from_ase(ase.build.molecule("H2O")), r"H2O is periodic in 0 of 3 directions.*add vacuum and set pbc"),
        (from_ase(ase.build.graphene(vacuum=5.0)), r"C2 is periodic in 2 of 3 directions.*add vacuum and set pbc"),
        (Structure([26], [[0, 0, 0]], cell=np.eye(3) * 2.5, pbc=True, spin=5), r"multiplicity 5.*it covers 1"),
        (Structure([84], [[0, 0, 0]], cell=np.eye(3) * 3.4, pbc=True), r"Po.*does not cover"),
    ]:
        with pytest.raises(UnsupportedStructureError, match=said):
            teacher.predict([SILICON, structure])


@pytest.mark.teacher
def test_an_atom_without_neighbors_is_a_reason(teacher: Potential) -> None:
    alone = Structure([11, 17, 2], [[0, 0, 0], [0, 0, 2.5], [0, 0, 10.0]], cell=np.eye(3) * 20, pbc=True)
    with pytest.raises(PredictionError) as caught:
        teacher.predict([SILICON, OXIDE, alone, SILICON])
    assert (caught.value.index, caught.value.reason) == (2, "an atom has no other within the cutoff of 6 A")


@pytest.mark.teacher
def test_what_cannot_be_loaded_is_said(python: str, tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no model")
    for model, said in {
        "0.4.0": r"'0.4.0' is neither a file nor in the package.*known: 0.3.0, 0.2.0, r2scan",
        f"{tmp_path}/text.tar": r"text.tar' cannot be loaded on cpu \(UnpicklingError",
    }.items():
        with pytest.raises(TeacherError, match=said):
            CHGNetPlan(model=model, environment=python).build()


@pytest.mark.teacher
def test_the_calculator(python: str, teacher: Potential) -> None:
    atoms = ase.build.bulk("Cu") * (2, 1, 1)
    atoms.rattle(0.05, seed=1)
    atoms.calc = CHGNetCalculator(environment=python)
    expected = teacher.predict([from_ase(atoms)], ["energy", "stress"])[0]
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-5)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), expected.stress, atol=1e-6)


def test_settings() -> None:
    with pytest.raises(PlanError, match=r"unknown key 'precision'"):
        CHGNetPlan.parse({"precision": "float64"}, where="recipe.yaml")
    assert CHGNetPlan().fingerprint() != CHGNetPlan(model="r2scan").fingerprint()


def test_without_the_package_it_says_how_to_install_it() -> None:
    with pytest.raises(TeacherError, match=r"needs pymatgen.*mlffd teacher install chgnet"):
        CHGNetPlan().build()
