"""AIMNet2: the contract, agreement with its own calculator, charge and spin, and what it refuses."""

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
from mlff_distiller.teachers.aimnet2 import AIMNet2Calculator, AIMNet2Plan
from mlff_distiller.teachers.ase_factory import ASEFactoryPlan
from mlff_distiller.teachers.contract import TeacherContract

# The library's calculator promises a free energy and never gives one.
OWN = """
from aimnet.calculators import AIMNet2ASE

def calculator(model):
    found = AIMNet2ASE(model)
    found.__dict__["implemented_properties"] = [name for name in found.implemented_properties if name != "free_energy"]
    return found
"""
ELEMENTS = frozenset({1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53})
# The architecture of the published models with random weights, exported by the library's own exporter: closed shells,
# open shells, and one that declares itself for neutral systems only.
RANDOM_MODELS = """
import sys
from pathlib import Path
import torch, yaml, aimnet
from aimnet.config import build_module
from aimnet.train.export_model import export_model

folder = Path(sys.argv[1])
elements = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53)
(folder / "energies.yaml").write_text("".join(f"{z}: {-13.6 * z ** 2.4}\\n" for z in elements))
config = yaml.safe_load((Path(aimnet.__file__).parent / "models" / "aimnet2_dftd3_wb97m.yaml").read_text())
torch.manual_seed(1)
for name, channels in (("closed", 1), ("open", 2)):
    config["kwargs"]["num_charge_channels"] = channels
    text = yaml.safe_dump(config, sort_keys=False)
    (folder / "model.yaml").write_text(text)
    torch.save(build_module(yaml.safe_load(text)).state_dict(), folder / "raw.pt")
    files = [str(folder / file) for file in ("raw.pt", f"{name}.pt", "model.yaml", "energies.yaml")]
    export_model.callback(*files, None, None)
artifact = torch.load(folder / "closed.pt", weights_only=True)
torch.save(artifact | {"supports_charged_systems": False}, folder / "neutral.pt")
"""


def rattled(atoms: ase.Atoms, **changes: object) -> Structure:
    atoms = atoms.copy()
    atoms.info.update(changes)
    atoms.positions += generator(1, "aimnet2", str(atoms.symbols)).normal(scale=0.05, size=atoms.positions.shape)
    return from_ase(atoms)


WATER = rattled(ase.build.molecule("H2O"))
ETHANOL = rattled(ase.build.molecule("CH3CH2OH"))
HYDROXIDE = rattled(ase.build.molecule("OH"), charge=-1)
SILICON = rattled(ase.build.bulk("Si"))
ICE = Structure(WATER.numbers, WATER.positions, cell=[[4.5, 0, 0], [0.7, 4.2, 0], [-0.5, 0.9, 4.8]], pbc=True)


@pytest.fixture(scope="module")
def python(environment: Callable[[str], str]) -> str:
    return environment("aimnet2")


@pytest.fixture(scope="module")
def models(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aimnet2")
    subprocess.run([f"{python}/bin/python", "-c", RANDOM_MODELS, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def closed(python: str, models: Path) -> Potential:
    return AIMNet2Plan(model=str(models / "closed.pt"), environment=python).build()


@pytest.fixture(scope="module")
def open_shell(python: str, models: Path) -> Potential:
    return AIMNet2Plan(model=str(models / "open.pt"), environment=python).build()


@pytest.mark.teacher
class TestAIMNet2(TeacherContract):
    # Single precision, but the energies of atoms are added in double precision.
    energy_noise = 2e-6
    gradient_tolerance = 2e-3
    n_many = 500

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _named(cls, python: str, models: Path) -> None:
        cls.plan = AIMNet2Plan(model=str(models / "closed.pt"), environment=python)


@pytest.mark.teacher
@pytest.mark.parametrize("shells", ["closed", "open"])
def test_agrees_with_aimnets_own_calculator(
    shells: str, python: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_aimnet.py").write_text(OWN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    model = str(models / f"{shells}.pt")
    structures = [ETHANOL, ICE, HYDROXIDE, SILICON, WATER]
    if shells == "open":
        structures += [rattled(ase.build.molecule("O2"), spin=3), rattled(ase.build.molecule("CH3"), charge=1)]
    ours = AIMNet2Plan(model=model, environment=python).build()
    own = ASEFactoryPlan(factory="own_aimnet:calculator", arguments={"model": model}, environment=python).build()
    for one, other in zip(*(p.predict(structures, ours.properties) for p in (ours, own)), strict=True):
        assert one.present == other.present
        assert one.energy == pytest.approx(other.energy, abs=1e-6)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-5)  # single precision
        if one.stress is not None:
            np.testing.assert_allclose(one.stress, other.stress, atol=1e-8)


@pytest.mark.teacher
def test_it_says_what_it_is(closed: Potential, python: str, models: Path) -> None:
    assert (closed.elements, closed.charges, closed.cutoff) == (ELEMENTS, None, None)
    assert (closed.is_conservative, closed.properties) == (True, {"energy", "forces", "stress"})
    assert "closed.pt, aimnet 0." in str(closed.identity)
    assert (closed.identity.precision, closed.identity.device) == ("float32", "cpu")
    neutral = AIMNet2Plan(model=str(models / "neutral.pt"), environment=python).build()
    assert neutral.charges == {0}
    with pytest.raises(UnsupportedStructureError, match="charge -1"):
        neutral.predict([HYDROXIDE])


@pytest.mark.teacher
def test_charge_changes_the_energy_and_spin_that_of_the_open_shell_model(
    closed: Potential, open_shell: Potential
) -> None:
    charged = [Structure(WATER.numbers, WATER.positions, charge=charge) for charge in (-1, 0, 1)]
    energies = [labels.energy for labels in closed.predict(charged)]
    assert np.abs(np.diff(energies)).min() > 1e-3
    triplet = Structure(WATER.numbers, WATER.positions, spin=3)
    one, other = open_shell.predict([WATER, triplet])
    assert abs(one.energy - other.energy) > 1e-3
    with pytest.raises(UnsupportedStructureError, match=r"spin multiplicity 3.*it covers 1"):
        closed.predict([WATER, triplet])


@pytest.mark.teacher
def test_charges_of_one_molecule_do_not_reach_another(closed: Potential) -> None:
    alone = [closed.predict([structure])[0] for structure in (HYDROXIDE, WATER)]
    together = closed.predict([HYDROXIDE, WATER])
    for one, other in zip(alone, together, strict=True):
        assert one.energy == pytest.approx(other.energy, abs=1e-6)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-5)  # single precision


@pytest.mark.teacher
def test_molecules_and_cells_in_one_call_keep_their_order(closed: Potential) -> None:
    mixed = [ICE, ETHANOL, SILICON, WATER]
    for structure, labels in zip(mixed, closed.predict(mixed, closed.properties), strict=True):
        assert labels.forces.shape == structure.positions.shape
        assert (labels.stress is not None) == structure.is_periodic
        assert labels.energy == pytest.approx(closed.predict([structure])[0].energy, abs=1e-6)


@pytest.mark.teacher
def test_large_cell_is_many_small_ones(closed: Potential) -> None:
    cells = 5
    shifts = np.stack(np.meshgrid(*[range(cells)] * 3, indexing="ij"), -1).reshape(-1, 3) @ ICE.cell
    large = Structure(
        np.tile(ICE.numbers, cells**3),
        (ICE.positions + shifts[:, None]).reshape(-1, 3),
        cell=cells * ICE.cell,
        pbc=True,
    )
    one, other = closed.predict([ICE])[0], closed.predict([large])[0]
    assert other.energy / cells**3 == pytest.approx(one.energy, abs=1e-4)
    np.testing.assert_allclose(other.forces, np.tile(one.forces, (cells**3, 1)), atol=1e-4)


@pytest.mark.teacher
def test_mixed_boundaries_are_refused(closed: Potential) -> None:
    slab = Structure([6, 6], [[0, 0, 0], [0, 0, 1.4]], cell=np.eye(3) * 8, pbc=(True, False, False))
    with pytest.raises(UnsupportedStructureError, match=r"periodic in 1 of 3 directions.*add vacuum"):
        closed.predict([slab])


@pytest.mark.teacher
def test_identity_follows_the_weights(closed: Potential, python: str, models: Path, tmp_path: Path) -> None:
    moved = shutil.copy(models / "closed.pt", tmp_path / "closed.pt")
    same = AIMNet2Plan(model=str(moved), environment=python, batch_atoms=7).build()
    assert same.identity == closed.identity
    other = shutil.copy(models / "open.pt", tmp_path / "closed.pt")
    assert AIMNet2Plan(model=str(other), environment=python).build().identity != closed.identity


@pytest.mark.teacher
@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("aimnet2nes", r"'aimnet2nes' is neither a file nor one that aimnet .* \(did you mean 'aimnet2nse'\?\)"),
        ("raw.pt", r"raw.pt' cannot be loaded on cpu \(ValueError.*exported by aimnet"),
    ],
)
def test_models_that_cannot_be_loaded(model: str, said: str, python: str, models: Path) -> None:
    path = models / model
    with pytest.raises(TeacherError, match=said):
        AIMNet2Plan(model=str(path) if path.is_file() else model, environment=python).build()


@pytest.mark.teacher
def test_a_download_without_a_network(python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMNET_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(TeacherError, match=r"'aimnet2' cannot be downloaded \(ProxyError\); get https://.*`model`"):
        AIMNet2Plan(environment=python).build()


@pytest.mark.teacher
def test_as_an_ase_calculator_it_follows_the_charge(python: str, models: Path) -> None:
    atoms = ase.build.molecule("H2O")
    atoms.calc = AIMNet2Calculator(model=str(models / "closed.pt"), environment=python)
    neutral = atoms.get_potential_energy()
    atoms.info["charge"] = 1
    assert abs(atoms.get_potential_energy() - neutral) > 1e-3


@pytest.mark.parametrize("wrong", [{"device": "tpu"}, {"batch_atoms": 0}, {"model": ""}, {"precision": "float64"}])
def test_impossible_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(PlanError, match=next(iter(wrong))):
        AIMNet2Plan.parse(wrong, where="recipe.yaml")


def test_a_missing_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "warp", None)
    with pytest.raises(TeacherError, match=r"needs warp.*mlffd teacher install aimnet2"):
        AIMNet2Plan().build()
