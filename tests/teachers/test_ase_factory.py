"""Any ASE calculator as a teacher: what it gives, what it must not do, and how it fails."""

import os
from pathlib import Path

import ase.build
import numpy as np
import pytest
import torch

from mlff_distiller.atoms.conversion import from_ase, to_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PlanError, PredictionError, PropertyError, TeacherError
from mlff_distiller.potentials.base import Potential
from mlff_distiller.teachers.ase_factory import ASEFactoryPlan
from mlff_distiller.teachers.resident import resident_teacher
from mlff_distiller.teachers.xtb import XTBPlan

MODULE = '''
import os
import numpy as np
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes

NOT_A_FUNCTION = 3


class Base(Calculator):
    implemented_properties = ["energy", "forces"]

    def __init__(self, number=0.0):
        super().__init__()
        self.number = number

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": self.value(atoms), "forces": np.zeros((len(atoms), 3))}

    def value(self, atoms):
        return self.number


class ReadsInfo(Base):
    """Its energy is made of charge and spin; its own cache does not see them, like that of other calculators."""
    def value(self, atoms):
        return 10.0 * atoms.info["charge"] + atoms.info["spin"] + 100.0 * atoms.get_initial_charges().sum()


class StalePeriodicity(Base):
    """Does not notice a change of the boundary conditions."""
    def check_state(self, atoms, tol=1e-15):
        return [change for change in super().check_state(atoms, tol) if change != "pbc"]

    def value(self, atoms):
        return float(atoms.pbc.sum())


class Fails(Base):
    def value(self, atoms):
        if len(atoms) > 1:
            raise CalculationFailed("the external program stopped\\nwith a long log")
        return 0.0


class NotFinite(Base):
    def value(self, atoms):
        return float("nan")


class WrongShape(Base):
    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] = np.zeros((1, 3))


class Transposed(Base):
    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] = np.zeros((3, len(atoms)))


class Leaves(Base):
    def value(self, atoms):
        raise SystemExit(3)


class OwnBuffer(Base):
    """Returns the same array every time, as codes that save memory do."""
    buffer = np.zeros((2, 3))

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.buffer[:] = atoms.positions
        self.results["forces"] = self.buffer

    def get_property(self, name, atoms=None, allow_calculation=True):
        super().get_property(name, atoms, allow_calculation)
        return self.results[name]


class Smeared(Base):
    """Its forces are the derivative of the free energy, as where electrons are smeared."""
    implemented_properties = ["energy", "free_energy", "forces"]

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.number:
            self.results["energy"], self.results["free_energy"] = 1.0, self.number


class NoEnergy(Base):
    implemented_properties = ["forces"]


class ChangesGlobals(Base):
    def __init__(self):
        super().__init__()
        import torch
        torch.set_default_dtype(torch.float64)
        os.environ["CHANGED_BY_TEACHER"] = "yes"
        np.random.seed(0)

    def value(self, atoms):
        import torch
        assert torch.get_default_dtype() == torch.float64
        assert os.environ["CHANGED_BY_TEACHER"] == "yes"
        return torch.ones(1).double().item()


def fails_to_build(path):
    raise FileNotFoundError(f"no weights in {path}")


def not_a_calculator():
    return "a string"
'''

PAIR = Structure([18, 18], [[0, 0, 0], [0, 0, 3.5]])


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_calculators.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_calculators", raising=False)

    def build(name: str, **arguments: object) -> Potential:
        return ASEFactoryPlan(factory=f"my_calculators:{name}", arguments=arguments).build()

    return build


def test_tblite_through_ase_equals_tblite_directly() -> None:
    plan = ASEFactoryPlan(factory="tblite.ase:TBLite", arguments={"method": "GFN2-xTB", "verbosity": 0})
    water = from_ase(ase.build.molecule("H2O"))
    cation = Structure(water.numbers, water.positions, charge=1, spin=2)
    cell = Structure(water.numbers, water.positions, cell=np.diag([4.5, 4.6, 4.7]), pbc=True)
    asked = ("energy", "forces", "stress", "atomic_energies")
    ours, theirs = (potential.predict([water, cation, cell], asked) for potential in (XTBPlan().build(), plan.build()))
    for one, two in zip(ours, theirs, strict=True):
        assert one.present == two.present
        assert one.energy == pytest.approx(two.energy, abs=1e-6)
        np.testing.assert_allclose(one.forces, two.forces, atol=1e-6)
    assert theirs[0].stress is None
    np.testing.assert_allclose(ours[2].stress, theirs[2].stress, atol=1e-7)


def test_emt_equals_ase_and_order_does_not_matter() -> None:
    potential = ASEFactoryPlan(factory="ase.calculators.emt:EMT").build()
    crystal, gold = ase.build.bulk("Cu", cubic=True), ase.build.bulk("Au")
    crystal.rattle(0.05, seed=1)
    crystal.calc = __import__("ase.calculators.emt", fromlist=["EMT"]).EMT()
    labels = potential.predict([from_ase(gold), from_ase(crystal)], ("energy", "forces", "stress"))[1]
    assert labels.energy == pytest.approx(crystal.get_potential_energy(), abs=1e-12)
    np.testing.assert_allclose(labels.stress, crystal.get_stress(voigt=False), atol=1e-12)


def test_charge_and_spin_reach_the_calculator_and_are_never_stale(build) -> None:
    potential = build("ReadsInfo")
    states = [Structure(PAIR.numbers, PAIR.positions, charge=q, spin=s) for q, s in [(0, 1), (1, 1), (1, 3), (-2, 1)]]
    energies = [labels.energy for labels in potential.predict(states)]
    assert energies == pytest.approx([1, 111, 113, -219])


def test_a_change_of_periodicity_alone_is_seen(build) -> None:
    cell = np.eye(3) * 9
    states = [Structure(PAIR.numbers, PAIR.positions, cell=cell, pbc=pbc) for pbc in (False, True, (1, 0, 0))]
    assert [labels.energy for labels in build("StalePeriodicity").predict(states)] == [0, 3, 1]


def test_labels_are_copies(build) -> None:
    far = Structure(PAIR.numbers, PAIR.positions + 1)
    first, second = build("OwnBuffer").predict([PAIR, far])
    assert not np.array_equal(first.forces, second.forces)
    np.testing.assert_array_equal(first.forces, PAIR.positions)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Fails", "CalculationFailed: the external program stopped"),
        ("NotFinite", "the potential gave numbers that are not finite"),
        ("WrongShape", "forces of a wrong shape"),
    ],
)
def test_failures_are_reasons(build, name: str, reason: str) -> None:
    with pytest.raises(PredictionError) as caught:
        build(name).predict([Structure([18], [[0, 0, 0]]), PAIR] if name != "NotFinite" else [PAIR])
    assert caught.value.reason.startswith(reason)
    assert caught.value.index == (0 if name == "NotFinite" else 1)
    assert "\n" not in caught.value.reason


@pytest.mark.parametrize(
    ("factory", "arguments", "said"),
    [
        ("my_calculators:fails_to_build", {"path": "/nowhere"}, "FileNotFoundError: no weights in /nowhere"),
        ("my_calculators:Base", {"nonsense": 1}, "failed .*nonsense.*check its arguments"),
        ("my_calculators:not_a_calculator", {}, "returned str, not an ASE calculator"),
        ("my_calculators:NOT_A_FUNCTION", {}, "is not a function but int"),
        ("my_calculators:Missing", {}, "cannot be imported .*Missing"),
        ("no_such_module_here:f", {}, "cannot be imported .*no_such_module_here"),
        ("my_calculators:NoEnergy", {}, "has no energy; it has forces"),
    ],
)
def test_factories_that_do_not_work(build, factory: str, arguments: dict, said: str) -> None:
    with pytest.raises(TeacherError, match=said):
        ASEFactoryPlan(factory=factory, arguments=arguments).build()


def test_a_path_that_is_none() -> None:
    with pytest.raises(PlanError, match="factory"):
        ASEFactoryPlan.parse({"factory": "os.system"}, where="recipe.yaml")


def test_properties_are_those_of_the_calculator(build) -> None:
    potential = build("Base")
    assert potential.properties == {"energy", "forces"}
    with pytest.raises(PropertyError, match="cannot give stress"):
        potential.predict([PAIR], ["stress"])


def test_globals_are_put_back(build) -> None:
    dtype, random_state = torch.get_default_dtype(), np.random.get_state()[1].tolist()  # noqa: NPY002
    potential = build("ChangesGlobals")
    assert potential.predict([PAIR])[0].energy == 1.0
    assert torch.get_default_dtype() == dtype
    assert np.random.get_state()[1].tolist() == random_state  # noqa: NPY002
    assert "CHANGED_BY_TEACHER" not in os.environ
    with pytest.raises(PredictionError):
        build("Fails").predict([PAIR])
    assert torch.get_default_dtype() == dtype


def test_identity_follows_factory_arguments_and_source(build, tmp_path: Path) -> None:
    one, other = build("Base", number=1.0).identity, build("Base", number=2.0).identity
    assert one != other
    assert one == build("Base", number=1.0).identity
    (tmp_path / "my_calculators.py").write_text(MODULE + "\n# edited\n")
    assert one != build("Base", number=1.0).identity
    assert "ase 3." in str(ASEFactoryPlan(factory="ase.calculators.emt:EMT").build().identity)


def test_one_teacher_for_each_process() -> None:
    assert resident_teacher(XTBPlan()) is resident_teacher(XTBPlan())
    loose = resident_teacher(XTBPlan(accuracy=10))
    assert loose is not resident_teacher(XTBPlan())
    assert to_ase(PAIR).info == {"charge": 0, "spin": 1}


def test_the_fingerprint_follows_the_source_without_running_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "my_teachers"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('run')")
    (package / "fast.py").write_text("a = 1")
    plan = ASEFactoryPlan(factory="my_teachers.fast:make")
    before = plan.fingerprint()
    assert before == plan.fingerprint() != ASEFactoryPlan(factory="my_teachers:make").fingerprint()
    (package / "fast.py").write_text("a = 2")
    assert plan.fingerprint() != before
    assert ASEFactoryPlan(factory="not_there.at_all:make").fingerprint()


@pytest.mark.parametrize("name", ["Transposed", "Leaves"])
def test_a_wrong_shape_or_an_exit_is_a_refusal(name, build):
    with pytest.raises(PredictionError, match=r"wrong shape \(\(3, 2\), not \(2, 3\)\)|SystemExit"):
        build(name).predict([Structure([1, 1], [[0, 0, 0], [0, 0, 1]])])


@pytest.mark.parametrize(("number", "energy"), [(-7.5, -7.5), (0.0, 0.0)])
def test_the_free_energy_is_taken_where_there_is_one(number, energy, build):
    assert build("Smeared", number=number).predict([PAIR], ["energy"])[0].energy == energy


def test_the_fingerprint_follows_the_weights_and_no_other_file(tmp_path):
    weights, log = tmp_path / "weights.pt", tmp_path / "log"
    weights.write_text("one")
    plan = ASEFactoryPlan(factory="my:make", arguments={"log": str(log)}, weights="weights.pt").located(tmp_path)
    before = plan.fingerprint()
    log.write_text("written by the calculator")
    assert plan.fingerprint() == before
    weights.write_text("other")
    assert plan.fingerprint() != before
