"""FeNNol: the contract, agreement with its own calculator, its traps, total charges, and when it compiles anew."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import ase.build
import numpy as np
import pytest

import mlff_distiller
from mlff_distiller.atoms.conversion import from_ase, to_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PlanError, TeacherError, UnsupportedStructureError
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.base import Potential
from mlff_distiller.teachers.ase_factory import ASEFactoryPlan
from mlff_distiller.teachers.contract import TeacherContract
from mlff_distiller.teachers.fennol import FeNNolCalculator, FeNNolPlan

# A small model of the parts of FeNNix-Bio1: message passing, long range, energies in eV, and a total charge.
CHARGED_MODEL = """
import sys
from collections import OrderedDict
import fennol, jax

modules = {
    "species_encoding": {"encoding": "electronic_structure", "zmax": 86},
    "species_embedding": {"module_name": "NEURAL_NET", "neurons": [16, 16], "input_key": "species_encoding"},
    "charges": {
        "module_name": "charge_hypothesis", "embedding_key": "species_embedding", "ncharges": 4, "mode": "qeq",
    },
    "encoding": {"module_name": "concatenate", "keys": ["species_encoding", "charges"]},
    "charged": {"module_name": "NEURAL_NET", "neurons": [16, 16], "input_key": "encoding"},
    "embedding": {
        "module_name": "RASTER", "dim": 16, "lmax": 2, "scal_heads": 2, "tens_heads": 1, "att_dim": 4, "nlayers": 1,
        "update_hidden": [16, 16], "radial_basis": {"dim": 4, "basis": "bessel", "trainable": False},
        "species_encoding": "charged", "embedding_key": "embedding", "graph_key": "graph_embed",
        "graph_lode": "graph", "lmax_lode": 1, "lode_rshort": 1.75, "lode_dshort": 1.75, "lode_channels": 1,
        "block_index_key": "block_index",
    },
    "energy": {
        "module_name": "BLOCK_INDEX_NET", "output_dim": 1, "hidden_neurons": [16], "block_index_key": "block_index",
        "input_key": "embedding", "squeeze": True,
    },
    "repulsion": {"module_name": "repulsion_nlh", "graph_key": "graph_embed"},
}
preprocessing = {
    "graph": {"switch_params": {"switch_type": "hard"}},
    "graph_embed": {
        "module_name": "GRAPH_FILTER", "cutoff": 3.5, "graph_key": "graph_embed", "parent_graph": "graph",
        "switch_params": {"switch_type": "polynomial", "p": 8.0},
    },
    "block_indexer": {"module_name": "BLOCK_INDEXER", "output_key": "block_index", "split_CNOPSSe": True},
}
model = fennol.FENNIX(
    cutoff=7.5, modules=OrderedDict(modules), preprocessing=OrderedDict(preprocessing), energy_unit="ev",
    energy_terms=["energy", "repulsion"], rng_key=jax.random.PRNGKey(1),
)
model.save(sys.argv[1])
"""

# Counts what is compiled: in the first calls of each kind, and in the calls after them.
COUNTING = """
import json, sys
import jax, numpy as np
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.teachers.fennol import FeNNolPlan

compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **more: compiled.append(event) if event.endswith("backend_compile_duration") else None
)
model, numbers, positions = json.loads(sys.argv[1])
ethanol, noise = Structure(numbers, positions), np.random.default_rng(1)
teacher = FeNNolPlan(model=model, batch_atoms=512).load()

def count(n_structures, n_calls):
    before = len(compiled)
    for _ in range(n_calls):
        teacher.predict([
            ethanol.moved(ethanol.positions + noise.normal(0.0, 0.1, (9, 3))) for _ in range(n_structures)
        ])
    return len(compiled) - before

print(json.dumps([count(1, 1) > 0, count(1, 200), count(32, 1) > 0, count(32, 10), count(34, 2), count(1, 5)]))
"""


def rattled(atoms: ase.Atoms, amplitude: float = 0.05) -> Structure:
    atoms = atoms.copy()
    atoms.positions += generator(1, "fennol", str(atoms.symbols)).normal(scale=amplitude, size=atoms.positions.shape)
    return from_ase(atoms)


def in_cell(structure: Structure, edge: float) -> Structure:
    cell = edge * np.array([[1, 0, 0], [0.2, 1, 0], [-0.1, 0.15, 1]])
    return Structure(structure.numbers, structure.positions, cell=cell, pbc=True)


WATER = rattled(ase.build.molecule("H2O"))
ETHANOL = rattled(ase.build.molecule("CH3CH2OH"))
ICE = in_cell(WATER, 4.2)  # atoms see images of themselves


@pytest.fixture(scope="module")
def python(environment: Callable[[str], str]) -> str:
    return environment("fennol")


@pytest.fixture(scope="module")
def weights(shared: Path) -> str:
    file = shared / "teachers/fennol/ani2x_model0.fnx"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    return str(file)


@pytest.fixture(scope="module")
def teacher(python: str, weights: str) -> Potential:
    return FeNNolPlan(model=weights, environment=python).build()


def run(python: str, script: str, argument: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(mlff_distiller.__file__).parents[1])}
    command = [f"{python}/bin/python", "-c", script, argument]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def charged_model(python: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("fennol") / "charged.fnx"
    run(python, CHARGED_MODEL, str(file))
    return str(file)


def own(model: str, python: str) -> Potential:
    """Return FeNNol's own calculator; one for each structure, for it must not be used for another."""
    arguments = {"model": model, "use_float64": True, "matmul_prec": "highest"}
    return ASEFactoryPlan(factory="fennol.ase:FENNIXCalculator", arguments=arguments, environment=python).build()


@pytest.mark.teacher
class TestFeNNol(TeacherContract):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _plan(cls, python: str, weights: str) -> None:
        cls.plan = FeNNolPlan(model=weights, environment=python)


@pytest.mark.teacher
def test_it_says_what_it_is(teacher: Potential) -> None:
    assert (teacher.elements, teacher.cutoff, teacher.charges) == ({1, 6, 7, 8, 9, 16, 17}, 5.1, {0})
    assert teacher.properties == {"energy", "forces", "stress", "atomic_energies"}
    assert "ani2x_model0.fnx, fennol" in str(teacher.identity)
    assert (teacher.identity.precision, teacher.identity.device) == ("float64", "cpu")


@pytest.mark.teacher
@pytest.mark.parametrize("structure", [ETHANOL, ICE, in_cell(ETHANOL, 11.0)], ids=["molecule", "narrow", "wide"])
def test_agrees_with_fennols_own_calculator(
    teacher: Potential, python: str, weights: str, structure: Structure
) -> None:
    asked = ["energy", "forces", "stress"]
    (one,), (other,) = (potential.predict([structure], asked) for potential in (teacher, own(weights, python)))
    assert one.energy == pytest.approx(other.energy, abs=1e-9)
    np.testing.assert_allclose(one.forces, other.forces, atol=1e-11)
    assert (one.stress is None) == (not structure.is_periodic)
    if structure.is_periodic:
        np.testing.assert_allclose(one.stress, other.stress, atol=1e-13)


@pytest.mark.teacher
def test_a_change_of_boundary_conditions_alone_is_seen(python: str, weights: str) -> None:
    # FeNNol's own calculator gives the energy of the cell for the molecule.
    atoms = to_ase(ICE)
    atoms.calc = FeNNolCalculator(model=weights, environment=python)
    in_ice = atoms.get_potential_energy()
    atoms.pbc = False
    alone = atoms.get_potential_energy()
    assert alone == pytest.approx(atoms.calc.potential.predict([WATER])[0].energy, abs=1e-9)
    assert abs(in_ice - alone) > 0.01


@pytest.mark.teacher
def test_another_composition_after_the_first(python: str, weights: str) -> None:
    # FeNNol's own calculator raises.
    calculator = FeNNolCalculator(model=weights, environment=python)
    energies = []
    for structure in (WATER, ETHANOL, ICE, WATER):
        atoms = to_ase(structure)
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[3]
    assert energies[1] == pytest.approx(calculator.potential.predict([ETHANOL])[0].energy, abs=1e-9)


@pytest.mark.teacher
def test_a_wide_cell_holds_the_molecule_as_it_is(teacher: Potential) -> None:
    cell = in_cell(ETHANOL, 12.0)
    moves = generator(2, "fennol", "images").integers(-2, 3, size=(9, 3))
    alone, inside = teacher.predict([ETHANOL, cell.moved(cell.positions + moves @ cell.cell)])
    assert inside.energy == pytest.approx(alone.energy, abs=1e-8)
    np.testing.assert_allclose(inside.forces, alone.forces, atol=1e-8)


@pytest.mark.teacher
def test_structures_of_all_sorts_in_one_call(teacher: Potential) -> None:
    large = from_ase(to_ase(ICE).repeat((3, 3, 3)))  # 81 atoms
    mixed = [large, WATER, ICE, ETHANOL, in_cell(ETHANOL, 11.0), from_ase(to_ase(ICE).repeat((2, 1, 1))), large, WATER]
    together = teacher.predict(mixed, teacher.properties)
    for structure, labels in zip(mixed, together, strict=True):
        alone = teacher.predict([structure], teacher.properties)[0]
        assert labels.present == alone.present
        for name in alone.present:
            np.testing.assert_allclose(getattr(labels, name), getattr(alone, name), rtol=0, atol=1e-9)
    assert together[0].energy == pytest.approx(27 * together[2].energy, abs=1e-8)


@pytest.mark.teacher
def test_as_many_structures_as_atoms(teacher: Potential) -> None:
    # FeNNol's own filling up takes arrays of systems for arrays of atoms here.
    cells = [Structure([8], [[0, 0, 0]], cell=np.eye(3) * edge, pbc=True) for edge in (2.5, 3.0, 4.0)]
    together = teacher.predict(cells, ["energy", "stress"])
    for cell, labels in zip(cells, together, strict=True):
        alone = teacher.predict([cell], ["energy", "stress"])[0]
        assert labels.energy == pytest.approx(alone.energy, abs=1e-9)
        np.testing.assert_allclose(labels.stress, alone.stress, atol=1e-12)
    assert len({round(labels.energy, 3) for labels in together}) == 3


@pytest.mark.teacher
def test_dynamics_and_batches_do_not_compile_anew(python: str, weights: str) -> None:
    ethanol = [weights, ETHANOL.numbers.tolist(), ETHANOL.positions.tolist()]
    counted = json.loads(run(python, COUNTING, json.dumps(ethanol)))
    assert counted == [True, 0, True, 0, 0, 0]


@pytest.mark.teacher
def test_single_precision_is_another_identity_and_nearly_the_same_forces(
    teacher: Potential, python: str, weights: str
) -> None:
    single = FeNNolPlan(model=weights, precision="float32", environment=python).build()
    assert single.identity != teacher.identity
    one, other = (potential.predict([ETHANOL])[0] for potential in (teacher, single))
    np.testing.assert_allclose(one.forces, other.forces, atol=1e-3)
    assert 0 < abs(one.energy - other.energy) < 0.01


@pytest.mark.teacher
def test_a_model_that_takes_the_total_charge(python: str, charged_model: str) -> None:
    teacher = FeNNolPlan(model=charged_model, elements=("H", "O"), environment=python).build()
    assert (teacher.charges, teacher.elements, teacher.cutoff) == (None, {1, 8}, 7.5)
    ions = [
        Structure(one.numbers, one.positions, cell=one.cell, pbc=one.pbc, charge=charge)
        for one in (WATER, ICE)
        for charge in (0, 1, -2)
    ]
    together = teacher.predict(ions, ["energy", "forces"])
    for ion, labels in zip(ions, together, strict=True):
        alone = teacher.predict([ion])[0]
        assert labels.energy == pytest.approx(alone.energy, abs=1e-10)
        np.testing.assert_allclose(labels.forces, alone.forces, atol=1e-10)
    assert len({round(labels.energy, 4) for labels in together}) == 6
    theirs = own(charged_model, python).predict([ions[2]])[0]
    # What knows no positions, such as the embedding of charges, stays in the single precision of the parameters.
    assert together[2].energy == pytest.approx(theirs.energy, abs=2e-6)
    np.testing.assert_allclose(together[2].forces, theirs.forces, atol=2e-6)


@pytest.mark.teacher
def test_a_model_that_does_not_say_its_elements(python: str, charged_model: str) -> None:
    with pytest.raises(TeacherError, match=r"does not say its elements; list .* in the setting `elements`"):
        FeNNolPlan(model=charged_model, environment=python).build()
    with pytest.raises(TeacherError, match="names Hy, which are no elements"):
        FeNNolPlan(model=charged_model, elements=("Hy", "O"), environment=python).build()


@pytest.mark.teacher
def test_what_it_does_not_cover_is_refused(teacher: Potential) -> None:
    with pytest.raises(UnsupportedStructureError, match=r"H2O has spin multiplicity 3.*it covers 1"):
        teacher.predict([Structure(WATER.numbers, WATER.positions, spin=3)])
    with pytest.raises(UnsupportedStructureError, match=r"periodic in 2 of 3 directions.*add vacuum"):
        teacher.predict([Structure(WATER.numbers, WATER.positions, cell=ICE.cell, pbc=[True, True, False])])


@pytest.mark.teacher
def test_what_cannot_be_loaded_is_said(python: str, weights: str, tmp_path: Path) -> None:
    (tmp_path / "text.fnx").write_text("no model")
    (tmp_path / "pickle.pkl").write_bytes(b"\x80\x04N.")
    for model, said in {
        "nothing.fnx": r"nothing.fnx is not there; check the path",
        str(tmp_path / "text.fnx"): r"cannot be loaded as a FeNNol model .*check the file",
        str(tmp_path / "pickle.pkl"): r"is not an .fnx file",
    }.items():
        with pytest.raises(TeacherError, match=said):
            FeNNolPlan(model=model, environment=python).build()
    with pytest.raises(TeacherError, match=r"no device 'cuda' here.*set `device: cpu`"):
        FeNNolPlan(model=weights, device="cuda", environment=python).build()


def test_without_the_library_the_way_to_it_is_said() -> None:
    with pytest.raises(TeacherError, match=r"teacher 'fennol' needs jax.*`mlffd teacher install fennol`"):
        FeNNolPlan(model="ani2x_model0.fnx").build()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "the key 'model' is missing"),
        ({"model": "a.fnx", "precision": "float16"}, "'precision': input should be 'float32' or 'float64'"),
        ({"model": "a.fnx", "batch_atoms": 0}, "'batch_atoms': input should be greater than or equal to 1"),
        ({"model": "a.fnx", "elements": []}, "'elements': tuple should have at least 1 item"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        FeNNolPlan.parse(settings, where="recipe.yaml")
