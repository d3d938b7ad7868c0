"""Orb: the contract, agreement with its own calculator, weights that do not fit, downloads, charge and spin."""

import shutil
import subprocess
import sys
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
from mlff_distiller.teachers.orb import OrbCalculator, OrbPlan

OMAT, DIRECT, OMOL, V2 = (
    "orb-v3-conservative-inf-omat",
    "orb-v3-direct-20-omat",
    "orb-v3-conservative-omol",
    "orb-d3-xs-v2",
)
# The real architectures at full size, with random weights: the files are read by the functions that users go through.
RANDOM_WEIGHTS = """
import sys
import torch
from orb_models.forcefield import pretrained

torch.manual_seed(1)
conservative, direct = pretrained.orb_v3_conservative_architecture, pretrained.orb_v3_direct_architecture
models = {
    "orb-v3-conservative-inf-omat": conservative(),
    "orb-v3-direct-20-omat": direct(),
    "orb-v3-conservative-omol": conservative(has_charge_spin_cond=True, has_stress=False),
    "orb-d3-xs-v2": pretrained.orb_v2_architecture(num_message_passing_steps=5),
}
for name, model in models.items():
    torch.save(model.state_dict(), f"{sys.argv[1]}/{name}.ckpt")
body = {key: value for key, value in models["orb-v3-direct-20-omat"].state_dict().items() if "heads" not in key}
torch.save(body, f"{sys.argv[1]}/headless.ckpt")
"""
OWN = """
from orb_models.forcefield import pretrained
from orb_models.forcefield.calculator import ORBCalculator

def calculator(model, weights):
    load = pretrained.ORB_PRETRAINED_MODELS[model]
    return ORBCalculator(load(weights_path=weights, device="cpu", precision="float64", compile=False), device="cpu")
"""
CACHE_NAME = """
import sys
from inspect import signature
from cached_path import resource_to_filename
from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

print(resource_to_filename(signature(ORB_PRETRAINED_MODELS[sys.argv[1]]).parameters["weights_path"].default))
"""


def rattled(atoms: ase.Atoms, amplitude: float = 0.05) -> Structure:
    atoms = atoms.copy()
    atoms.positions += generator(1, "orb", str(atoms.symbols)).normal(scale=amplitude, size=atoms.positions.shape)
    return from_ase(atoms)


WATER = rattled(ase.build.molecule("H2O"))
ETHANOL = rattled(ase.build.molecule("CH3CH2OH"))
SILICON = rattled(ase.build.bulk("Si"))
SALT = rattled(ase.build.bulk("NaCl", "rocksalt", a=5.64))
HELIUM = Structure([2], [[0, 0, 0]])
STRUCTURES = [ETHANOL, SILICON, HELIUM, SALT, WATER]


@pytest.fixture(scope="module")
def python(environment: Callable[[str], str]) -> str:
    return environment("orb")


@pytest.fixture(scope="module")
def weights(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of weights for each of the models."""
    folder = tmp_path_factory.mktemp("orb")
    subprocess.run([f"{python}/bin/python", "-c", RANDOM_WEIGHTS, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def plan(python: str, weights: Path) -> Callable[..., OrbPlan]:
    def named(model: str, **settings: object) -> OrbPlan:
        settings = {"weights": str(weights / f"{model}.ckpt"), "precision": "float64", **settings}
        return OrbPlan(model=model, environment=python, **settings)

    return named


@pytest.fixture(scope="module")
def omol(plan: Callable[..., OrbPlan]) -> Potential:
    return plan(OMOL).build()


@pytest.fixture(scope="module")
def direct(plan: Callable[..., OrbPlan]) -> Potential:
    return plan(DIRECT).build()


class OrbContract(TeacherContract):
    model, settings = OMAT, {"precision": "float64"}
    is_rotation_covariant = False
    n_many = 60  # a full-size conservative model takes a minute for a thousand atoms

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _named(cls, plan: Callable[..., OrbPlan]) -> None:
        cls.plan = plan(cls.model, **cls.settings)


@pytest.mark.teacher
class TestOrbConservative(OrbContract):
    pass


@pytest.mark.teacher
class TestOrbDirectInSinglePrecision(OrbContract):
    model, settings, n_many = DIRECT, {"precision": "float32"}, 200


@pytest.mark.teacher
class TestOrbMol(OrbContract):
    model = OMOL


@pytest.mark.teacher
@pytest.mark.parametrize("model", [OMAT, DIRECT, OMOL, V2])
def test_agrees_with_orbs_own_calculator(
    model: str, plan: Callable[..., OrbPlan], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_orb.py").write_text(OWN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ours = plan(model).build()
    arguments = {"model": model, "weights": str(weights / f"{model}.ckpt")}
    own = ASEFactoryPlan(factory="own_orb:calculator", arguments=arguments, environment=plan(model).environment).build()
    pairs = zip(ours.predict(STRUCTURES, ours.properties), own.predict(STRUCTURES, ours.properties), strict=True)
    for structure, (one, other) in zip(STRUCTURES, pairs, strict=True):
        assert one.present == other.present
        assert (one.stress is not None) == (structure.is_periodic and model != OMOL)
        assert one.energy == pytest.approx(other.energy, abs=1e-9)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-10)
        if one.stress is not None:
            np.testing.assert_allclose(one.stress, other.stress, atol=1e-11)


@pytest.mark.teacher
def test_models_say_what_they_are(omol: Potential, direct: Potential) -> None:
    assert (omol.is_conservative, direct.is_conservative) == (True, False)
    assert (omol.charges, direct.charges) == (None, {0})
    assert (omol.properties, direct.properties) == ({"energy", "forces"}, {"energy", "forces", "stress"})
    assert (len(omol.elements), len(direct.elements)) == (83, 89)
    assert (omol.cutoff, omol.identity.precision, omol.identity.device) == (6.0, "float64", "cpu")
    assert "orb-v3-conservative-omol, orb-models 0." in str(omol.identity)


@pytest.mark.teacher
def test_direct_forces_are_no_gradient(direct: Potential) -> None:
    push = np.zeros_like(WATER.positions)
    push[0, 0] = 1e-3
    energies = [one.energy for one in direct.predict([WATER.moved(WATER.positions + n * push) for n in (-1, 1)])]
    slope = (energies[1] - energies[0]) / 2e-3
    assert abs(direct.predict([WATER])[0].forces[0, 0] + slope) > 1e-3


@pytest.mark.teacher
def test_charge_and_spin_reach_orbmol(omol: Potential) -> None:
    kinds = [(0, 1), (1, 2), (-1, 2), (0, 3)]
    structures = [Structure(WATER.numbers, WATER.positions, charge=charge, spin=spin) for charge, spin in kinds]
    energies = [labels.energy for labels in omol.predict(structures)]
    assert np.abs(np.subtract.outer(energies, energies)[np.triu_indices(4, 1)]).min() > 1e-4


@pytest.mark.teacher
def test_an_edited_charge_resets_the_calculator(plan: Callable[..., OrbPlan]) -> None:
    settings = plan(OMOL).model_dump(include={"model", "weights", "precision", "environment"})
    atoms = ase.build.molecule("H2O")
    atoms.calc = OrbCalculator(**settings)
    neutral = atoms.get_potential_energy()
    atoms.info.update(charge=1, spin=2)  # Orb's own calculator gives the neutral molecule's energy here
    assert abs(atoms.get_potential_energy() - neutral) > 1e-4
    atoms.info.update(charge=0, spin=1)
    assert atoms.get_potential_energy() == pytest.approx(neutral, abs=1e-9)


@pytest.mark.teacher
def test_what_it_does_not_cover_is_refused(direct: Potential) -> None:
    slab = Structure([6, 6], [[0, 0, 0], [0, 0, 1.4]], cell=np.eye(3) * 8, pbc=(True, True, False))
    with pytest.raises(UnsupportedStructureError, match=r"periodic in 2 of 3 directions.*add vacuum"):
        direct.predict([WATER, slab])
    with pytest.raises(UnsupportedStructureError, match=r"spin multiplicity 3.*it covers 1"):
        direct.predict([Structure([8, 8], [[0, 0, 0], [0, 0, 1.2]], spin=3)])
    with pytest.raises(UnsupportedStructureError, match=r"charge \+1"):
        direct.predict([Structure(WATER.numbers, WATER.positions, charge=1)])
    with pytest.raises(UnsupportedStructureError, match="Po"):
        direct.predict([Structure([84], [[0, 0, 0]])])


@pytest.mark.teacher
def test_a_cell_that_a_molecule_carries_along_changes_nothing(direct: Potential) -> None:
    boxed = Structure(ETHANOL.numbers, ETHANOL.positions, cell=np.eye(3) * 4.0)
    one, other = direct.predict([ETHANOL, boxed])
    assert one.energy == pytest.approx(other.energy, abs=1e-10)
    np.testing.assert_allclose(one.forces, other.forces, atol=1e-10)


@pytest.mark.teacher
def test_identity_follows_the_weights_and_not_their_place(
    direct: Potential, plan: Callable[..., OrbPlan], weights: Path, tmp_path: Path
) -> None:
    moved = shutil.copy(weights / f"{DIRECT}.ckpt", tmp_path / "moved.ckpt")
    assert plan(DIRECT, weights=str(moved), batch_atoms=5).build().identity == direct.identity
    with Path(moved).open("ab") as file:
        file.write(b"other")
    assert plan(DIRECT, weights=str(moved)).build().identity != direct.identity


@pytest.mark.teacher
@pytest.mark.parametrize(
    ("model", "file", "said"),
    [
        (OMAT, f"{DIRECT}.ckpt", r"cannot be loaded from .*Missing key.*this very model"),
        (V2, f"{DIRECT}.ckpt", "cannot be loaded from"),
        (DIRECT, "headless.ckpt", r"has no weights for confidence, energy, forces, stress of orb-v3-direct-20-omat"),
        (OMAT, "absent.ckpt", r"absent.ckpt of orb-v3-conservative-inf-omat are not a file; check the path"),
        (OMAT, "note.ckpt", "cannot be loaded from"),
        (
            "orb-v3-conservative-inf-oma",
            f"{OMAT}.ckpt",
            rf"no model 'orb-v3-conservative-inf-oma' \(did you mean '{OMAT}'",
        ),
        ("orb-v1", f"{OMAT}.ckpt", "no model 'orb-v1'"),
    ],
)
def test_weights_that_do_not_fit(model: str, file: str, said: str, plan: Callable[..., OrbPlan], weights: Path) -> None:
    (weights / "note.ckpt").write_text("not a checkpoint")
    with pytest.raises(TeacherError, match=said):
        plan(model, weights=str(weights / file)).build()


@pytest.mark.teacher
def test_a_download_needs_the_network_once(
    python: str, plan: Callable[..., OrbPlan], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHED_PATH_CACHE_ROOT", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(TeacherError, match=r"cannot be downloaded \(ProxyError\); get https://.*omol.*`weights`"):
        plan(OMOL, weights=None).build()
    command = [f"{python}/bin/python", "-c", CACHE_NAME, OMOL]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    shutil.copy(weights / f"{OMOL}.ckpt", tmp_path / name)
    kept = plan(OMOL, weights=None).build()
    assert kept.identity == plan(OMOL).build().identity


@pytest.mark.parametrize(
    "wrong", [{"precision": "float16"}, {"device": "tpu"}, {"batch_atoms": 0}, {"modle": "orb-v2"}]
)
def test_impossible_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(PlanError, match=next(iter(wrong))):
        OrbPlan.parse(wrong, where="recipe.yaml")


def test_a_missing_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orb_models", None)
    with pytest.raises(TeacherError, match=r"needs orb_models.*mlffd teacher install orb"):
        OrbPlan().build()
