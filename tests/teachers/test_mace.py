"""MACE: the contract, agreement with its own calculator, heads, charges, and what it refuses."""

import subprocess
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
from mlff_distiller.teachers.mace import MACECalculator, MACEPlan

OWN = "mace.calculators:MACECalculator"
# A small model with two heads that takes charge and multiplicity, as the models trained on OMol25 do.
RANDOM_MODEL = """
import sys
import numpy as np, torch
from mace import modules
from e3nn import o3

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)
block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
embedding = {"type": "categorical", "per": "graph", "emb_dim": 4}
model = modules.ScaleShiftMACE(
    r_max=4.0, num_bessel=4, num_polynomial_cutoff=5, max_ell=2, interaction_cls=block, interaction_cls_first=block,
    num_interactions=2, num_elements=2, hidden_irreps=o3.Irreps("8x0e + 8x1o"), MLP_irreps=o3.Irreps("8x0e"),
    atomic_energies=np.array([[-13.6, -2040.0], [-1.0, -2.0]]), avg_num_neighbors=4.0, atomic_numbers=[1, 8],
    correlation=2, gate=torch.nn.functional.silu, heads=["low", "high"],
    atomic_inter_scale=[1.0, 2.0], atomic_inter_shift=[0.0, 0.1], use_embedding_readout=True,
    embedding_specs={
        "total_charge": {**embedding, "num_classes": 5, "offset": 2},
        "total_spin": {**embedding, "num_classes": 4},
    },
)
torch.save(model, sys.argv[1])
model.embedding_specs["magnetic_field"] = embedding
torch.save(model, sys.argv[1] + ".field")
"""


def rattled(atoms: ase.Atoms, amplitude: float = 0.05) -> Structure:
    atoms = atoms.copy()
    atoms.positions += generator(1, "mace", str(atoms.symbols)).normal(scale=amplitude, size=atoms.positions.shape)
    return from_ase(atoms)


WATER = rattled(ase.build.molecule("H2O"))
ETHANOL = rattled(ase.build.molecule("CH3CH2OH"))
DIAMOND = rattled(ase.build.bulk("C"))
GRAPHENE = rattled(ase.build.graphene(vacuum=6.0))  # periodic in two directions


@pytest.fixture(scope="module")
def python(environment: Callable[[str], str]) -> str:
    return environment("mace")


@pytest.fixture(scope="module")
def weights(shared: Path) -> str:
    file = shared / "teachers/mace/ani500k_small_CC.model"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    return str(file)


@pytest.fixture(scope="module")
def teacher(python: str, weights: str) -> Potential:
    return MACEPlan(model=weights, environment=python).build()


@pytest.fixture(scope="module")
def random_model(python: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("mace") / "random.model"
    subprocess.run([f"{python}/bin/python", "-c", RANDOM_MODEL, file], check=True, capture_output=True)
    return str(file)


@pytest.mark.teacher
class TestMACE(TeacherContract):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _plan(cls, python: str, weights: str) -> None:
        cls.plan = MACEPlan(model=weights, environment=python)


@pytest.mark.teacher
def test_agrees_with_maces_own_calculator(teacher: Potential, python: str, weights: str) -> None:
    arguments = {"model_paths": weights, "device": "cpu", "default_dtype": "float64"}
    own = ASEFactoryPlan(factory=OWN, arguments=arguments, environment=python).build()
    structures = [ETHANOL, DIAMOND, GRAPHENE, WATER]
    ours, theirs = (potential.predict(structures, teacher.properties) for potential in (teacher, own))
    for one, other in zip(ours, theirs, strict=True):
        assert one.present == other.present
        assert one.energy == pytest.approx(other.energy, abs=1e-9)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-10)
        np.testing.assert_allclose(one.atomic_energies, other.atomic_energies, atol=1e-10)
    np.testing.assert_allclose(ours[1].stress, theirs[1].stress, atol=1e-12)
    assert [labels.stress is None for labels in ours] == [True, False, True, True]


@pytest.mark.teacher
def test_it_says_what_it_is(teacher: Potential) -> None:
    assert (teacher.elements, teacher.cutoff, teacher.charges) == ({1, 6, 7, 8}, 5.0, {0})
    assert "ani500k_small_CC.model, mace-torch" in str(teacher.identity)
    assert (teacher.identity.precision, teacher.identity.device) == ("float64", "cpu")


@pytest.mark.teacher
def test_single_precision_is_another_identity_and_nearly_the_same_forces(
    teacher: Potential, weights: str, environment: Callable[[str], str]
) -> None:
    plan = MACEPlan(model=weights, precision="float32", environment=environment("mace"))
    single = plan.build()
    assert single.identity != teacher.identity
    one, other = (potential.predict([ETHANOL])[0] for potential in (teacher, single))
    np.testing.assert_allclose(one.forces, other.forces, atol=1e-4)
    assert 0 < abs(one.energy - other.energy) < 0.01  # rounded: total energies are thousands of eV


@pytest.mark.teacher
def test_where_a_molecule_stands_costs_nothing(teacher: Potential) -> None:
    # MACE's own search for neighbors takes a second at 70 Angstrom from the origin, and all memory at 300.
    far = ETHANOL.moved(ETHANOL.positions + 2000.0)
    near, moved = teacher.predict([ETHANOL, far])
    assert moved.energy == pytest.approx(near.energy, abs=1e-8)
    np.testing.assert_allclose(moved.forces, near.forces, atol=1e-8)


@pytest.mark.teacher
def test_a_wire_that_mace_cannot_lay_into_a_box_is_refused(teacher: Potential) -> None:
    along_x = Structure([6, 6], [[0, 0, 0], [1.3, 0, 0]], cell=np.diag([2.6, 0, 0]), pbc=[True, False, False])
    along_z = Structure([6, 6], [[0, 0, 0], [0, 0, 1.3]], cell=np.roll(np.diag([0, 0, 2.6]), 1, 0), pbc=along_x.pbc)
    assert teacher.predict([along_x], ["energy"])[0].energy < 0
    with pytest.raises(UnsupportedStructureError, match=r"C2 is periodic in 1 of 3 directions.*rotate the structure"):
        teacher.predict([along_z])


@pytest.mark.teacher
def test_a_multiplicity_that_it_does_not_know_is_refused(teacher: Potential) -> None:
    with pytest.raises(UnsupportedStructureError, match=r"H2O has spin multiplicity 3.*it covers 1"):
        teacher.predict([Structure(WATER.numbers, WATER.positions, spin=3)])


@pytest.mark.teacher
def test_heads_charge_and_multiplicity(python: str, random_model: str) -> None:
    plan = MACEPlan(model=random_model, head="high", environment=python)
    ions = [
        Structure(WATER.numbers, WATER.positions, charge=charge, spin=spin) for charge in (0, 1, -2) for spin in (1, 3)
    ]
    high, low = plan.build(), MACEPlan(model=random_model, head="low", environment=python).build()
    assert (high.charges, high.properties) == ({-2, -1, 0, 1, 2}, {"energy", "forces", "stress"})
    assert "random.model, head high" in str(high.identity)
    arguments = {"model_paths": random_model, "device": "cpu", "default_dtype": "float64", "head": "high"}
    own = ASEFactoryPlan(factory=OWN, arguments=arguments, environment=python).build()
    found = {
        name: [one.energy for one in p.predict(ions)] for name, p in {"high": high, "low": low, "own": own}.items()
    }
    np.testing.assert_allclose(found["high"], found["own"], atol=1e-9)
    assert len(set(np.round(found["high"] + found["low"], 6))) == 12  # every ion has its own energy with each head
    with pytest.raises(UnsupportedStructureError, match=r"charge \+3.*it covers -2, -1, 0, \+1, \+2"):
        high.predict([Structure([8], [[0, 0, 0]], charge=3)])
    with pytest.raises(UnsupportedStructureError, match=r"multiplicity 4.*it covers 0, 1, 2, 3"):
        high.predict([Structure([8], [[0, 0, 0]], spin=4)])


@pytest.mark.teacher
@pytest.mark.parametrize(
    ("head", "said"),
    [
        (None, r"has several heads \(low, high\); name one with `head`"),
        ("hihg", r"no head 'hihg' \(did you mean 'high'"),
    ],
)
def test_a_head_must_be_named(python: str, random_model: str, head: str | None, said: str) -> None:
    with pytest.raises(TeacherError, match=said):
        MACEPlan(model=random_model, head=head, environment=python).build()


@pytest.mark.teacher
def test_a_model_that_wants_what_structures_do_not_have(python: str, random_model: str) -> None:
    with pytest.raises(TeacherError, match="wants magnetic_field of a structure"):
        MACEPlan(model=f"{random_model}.field", head="low", environment=python).build()


@pytest.mark.teacher
def test_what_cannot_be_loaded_is_said(
    python: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # no model from MACE's cache, and no way to the network
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    (tmp_path / "text.model").write_text("no model")
    for model, said in {
        "nothing.model": r"'nothing.model' is neither a file nor one of mace_mp.*check `model`",
        "mace_mp:smal": r"mace_mp has no model 'smal' \(did you mean 'small'\?\); known: small",
        "mace_off:small": r"'mace_off:small' cannot be had \(URLError.*give the path as `model`",
        f"{tmp_path}/text.model": r"text.model cannot be loaded as a MACE model on cpu \(UnpicklingError",
    }.items():
        with pytest.raises(TeacherError, match=said):
            MACEPlan(model=model, environment=python).build()


@pytest.mark.teacher
def test_two_in_one_process(python: str, weights: str) -> None:
    # MACE allows its pickles by an environment variable that it sets at import, only once.
    code = "import sys; from mlff_distiller.teachers.mace import *; [MACEPlan(model=sys.argv[1]).load() for _ in '12']"
    source = str(Path(__file__).parents[2] / "src")
    subprocess.run(
        [f"{python}/bin/python", "-c", code, weights], check=True, capture_output=True, env={"PYTHONPATH": source}
    )


@pytest.mark.teacher
def test_the_calculator(python: str, weights: str, teacher: Potential) -> None:
    atoms = ase.build.molecule("H2O")
    atoms.calc = MACECalculator(model=weights, environment=python)
    expected = teacher.predict([from_ase(atoms)])[0]
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-9)
    with pytest.raises(PlanError, match=r"MACECalculator: unknown key 'model_paths'.*known: .*model"):
        MACECalculator(model=weights, model_paths=weights)


@pytest.mark.parametrize(
    ("settings", "said"), [({}, "'model' is missing"), ({"model": "a", "device": "gpu"}, "device")]
)
def test_settings(settings: dict[str, str], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        MACEPlan.parse(settings, where="recipe.yaml")


def test_without_the_package_it_says_how_to_install_it() -> None:
    pytest.importorskip("torch")
    with pytest.raises(TeacherError, match=r"needs mace.*mlffd teacher install mace"):
        MACEPlan(model="mace_mp").build()
