"""SevenNet: the contract, agreement with its own calculator, fidelities, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PlanError, TeacherError, UnsupportedStructureError
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.base import Potential
from mlff_distiller.teachers.ase_factory import ASEFactoryPlan
from mlff_distiller.teachers.contract import TeacherContract
from mlff_distiller.teachers.sevennet import SevenNetCalculator, SevenNetPlan

OWN = "sevenn.calculator:SevenNetCalculator"


def rattled(atoms: ase.Atoms, amplitude: float = 0.05) -> Structure:
    atoms = atoms.copy()
    atoms.positions += generator(1, "sevennet", str(atoms.symbols)).normal(scale=amplitude, size=atoms.positions.shape)
    return from_ase(atoms)


ETHANOL = rattled(ase.build.molecule("CH3CH2OH"))
SALT = rattled(ase.build.bulk("NaCl", "rocksalt", a=5.6))
GRAPHENE = rattled(ase.build.graphene(vacuum=6.0))  # periodic in two directions
STRUCTURES = [ETHANOL, SALT, GRAPHENE, Structure([1], [[0, 0, 0]])]


@pytest.fixture(scope="module")
def python(environment: Callable[[str], str]) -> str:
    return environment("sevennet")


@pytest.fixture(scope="module")
def teacher(python: str) -> Potential:
    return SevenNetPlan(environment=python).build()


@pytest.mark.teacher
class TestSevenNet(TeacherContract):
    n_many = 200  # a thousand atoms take half a minute

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _plan(cls, python: str) -> None:
        cls.plan = SevenNetPlan(environment=python)


@pytest.mark.teacher
@pytest.mark.parametrize(("model", "modal"), [("7net-0", None), ("7net-mf-0", "R2SCAN"), ("7net-l3i5", None)])
def test_agrees_with_sevennets_own_calculator(python: str, model: str, modal: str | None) -> None:
    arguments = {"model": model, "modal": modal, "device": "cpu"}
    own = ASEFactoryPlan(factory=OWN, arguments=arguments, environment=python).build()
    teacher = SevenNetPlan(model=model, modal=modal, environment=python).build()
    ours, theirs = (potential.predict(STRUCTURES, teacher.properties) for potential in (teacher, own))
    for one, other in zip(ours, theirs, strict=True):
        assert one.present == other.present
        assert one.energy == pytest.approx(other.energy, abs=2e-5)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-5)
        np.testing.assert_allclose(one.atomic_energies, other.atomic_energies, atol=1e-5)
    np.testing.assert_allclose(ours[1].stress, theirs[1].stress, atol=1e-6)
    assert [labels.stress is None for labels in ours] == [True, False, True, True]


@pytest.mark.teacher
def test_it_says_what_it_is(teacher: Potential) -> None:
    assert teacher.elements == frozenset(range(1, 84)) | frozenset(range(89, 95))
    assert (teacher.cutoff, teacher.charges, teacher.identity.precision) == (5.0, {0}, "float32")
    assert "7net-0, sevenn 0." in str(teacher.identity)


@pytest.mark.teacher
def test_fidelities_are_different_teachers(python: str) -> None:
    plans = [SevenNetPlan(model="7net-mf-0", modal=modal, environment=python) for modal in ("PBE", "R2SCAN")]
    one, other = (plan.build() for plan in plans)
    assert "7net-mf-0, modal PBE" in str(one.identity)
    assert one.identity != other.identity
    energies = [potential.predict([SALT])[0].energy for potential in (one, other)]
    assert abs(energies[0] - energies[1]) > 0.1


@pytest.mark.teacher
def test_atoms_without_neighbors_feel_no_force(teacher: Potential) -> None:
    pair = Structure([11, 17], [[0, 0, 0], [0, 0, 20.0]], cell=np.eye(3) * 40, pbc=True)
    apart, *alone = teacher.predict([pair, Structure([11], [[0, 0, 0]]), Structure([17], [[0, 0, 0]])])
    assert apart.energy == pytest.approx(sum(labels.energy for labels in alone), abs=1e-5)
    np.testing.assert_array_equal(apart.forces, 0)


@pytest.mark.teacher
def test_where_a_molecule_stands_costs_nothing(teacher: Potential) -> None:
    # SevenNet's own search for neighbors takes a second at 70 Angstrom from the origin, and all memory at 300.
    far = ETHANOL.moved(ETHANOL.positions + 2000.0)
    near, moved = teacher.predict([ETHANOL, far])
    assert moved.energy == pytest.approx(near.energy, abs=2e-5)
    np.testing.assert_allclose(moved.forces, near.forces, atol=1e-5)


@pytest.mark.teacher
def test_what_it_does_not_cover(teacher: Potential) -> None:
    wire = Structure(
        [6, 6], [[0, 0, 0], [0, 0, 1.3]], cell=np.roll(np.diag([0, 0, 2.6]), 1, 0), pbc=[True, False, False]
    )
    with pytest.raises(UnsupportedStructureError, match=r"C2 is periodic in 1 of 3 directions.*rotate the structure"):
        teacher.predict([wire])
    with pytest.raises(UnsupportedStructureError, match=r"spin multiplicity 3.*it covers 1"):
        teacher.predict([Structure([8, 8], [[0, 0, 0], [0, 0, 1.2]], spin=3)])


@pytest.mark.teacher
def test_what_cannot_be_loaded_is_said(python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # no way to the network
    (tmp_path / "text.pth").write_text("no model")
    for settings, said in [
        ({"model": "7net-1"}, r"'7net-1' is neither a file nor a name that sevenn .*known: 7net-0"),
        ({"model": "7net-omni", "modal": "mpa"}, r"'7net-omni' cannot be had \(.*give the path as `model`"),
        ({"model": "7net-mf-0"}, r"several fidelities \(R2SCAN, PBE\); name one with `modal`"),
        ({"model": "7net-mf-0", "modal": "r2san"}, r"no modal 'r2san'.*it has R2SCAN, PBE"),
        ({"modal": "PBE"}, r"'7net-0' has one fidelity only; leave out `modal`"),
        ({"model": f"{tmp_path}/text.pth"}, r"text.pth cannot be loaded as a SevenNet model on cpu \(Unpickling"),
    ]:
        with pytest.raises(TeacherError, match=said):
            SevenNetPlan(**settings, environment=python).build()


@pytest.mark.teacher
def test_a_file_is_the_model_of_its_name(python: str, teacher: Potential) -> None:
    file = next(Path(python).glob("lib/*/site-packages/sevenn/pretrained_potentials/*11Jul2024/*.pth"))
    calculator = SevenNetCalculator(model=str(file), environment=python)
    assert "checkpoint_sevennet_0.pth, sevenn" in str(calculator.potential.identity)
    one, other = (potential.predict([SALT])[0] for potential in (calculator.potential, teacher))
    np.testing.assert_allclose(one.forces, other.forces, atol=1e-6)


def test_settings() -> None:
    with pytest.raises(PlanError, match="device"):
        SevenNetPlan.parse({"device": "gpu"}, where="recipe.yaml")
    assert SevenNetPlan().fingerprint() != SevenNetPlan(modal="PBE").fingerprint()
    assert SevenNetPlan().fingerprint() == SevenNetPlan(batch_atoms=7).fingerprint()


def test_without_the_package_it_says_how_to_install_it() -> None:
    with pytest.raises(TeacherError, match=r"needs sevenn.*mlffd teacher install sevennet"):
        SevenNetPlan().build()
