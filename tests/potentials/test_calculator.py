"""The ASE calculator: in dynamics it converts positions alone, and nobody can tell from the answers."""

import ase
import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from ase.constraints import FixAtoms
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.core.errors import StructureError
from mlff_distiller.potentials import calculator
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.potentials.calculator import PotentialCalculator


class Fingerprint(Potential):
    """An energy that tells everything apart that a structure holds."""

    elements = frozenset(range(1, 119))
    properties = frozenset({"energy", "forces", "stress", "atomic_energies", "embeddings"})
    is_conservative = False
    identity = Identity("fingerprint", "test", "0")

    def __init__(self) -> None:
        self.asked: list[set[str]] = []

    def predict(self, structures, properties=("energy", "forces")):
        self.asked.append(set(properties))
        return [self._labels(s, "stress" in properties) for s in structures]

    def _labels(self, s, with_stress):
        weights = np.arange(1, 1 + s.positions.size).reshape(s.positions.shape)
        cell = float((s.cell * np.arange(1, 10).reshape(3, 3)).sum())
        energy = float((s.positions * weights).sum() + cell + s.pbc @ [0.1, 0.2, 0.4]) + 31 * s.charge + 57 * s.spin
        energy += float(s.numbers @ np.arange(1, 1 + len(s)))
        return Labels(
            energy=energy,
            forces=energy * s.positions,
            stress=energy * np.eye(3) if with_stress else None,
            atomic_energies=np.full(len(s), energy),
        )


def ammonium() -> ase.Atoms:
    positions = np.random.default_rng(0).uniform(0, 3, (5, 3))
    return ase.Atoms("NH4", positions, cell=6 * np.eye(3), pbc=True, info={"charge": 1, "name": "ammonium"})


def fresh(atoms: ase.Atoms) -> ase.Atoms:
    """Return the atoms with a calculator that has seen nothing before."""
    other = atoms.copy()
    other.calc = PotentialCalculator(Fingerprint())
    return other


EDITS = {
    "move": lambda a, rng: a.set_positions(a.positions + rng.normal(0, 0.1, (len(a), 3))),
    "move in place": lambda a, rng: a.positions.__iadd__(0.01),
    "move one": lambda a, rng: a.positions.__setitem__((0, 1), rng.normal()),
    "move by less than counts": lambda a, rng: a.positions.__iadd__(1e-17),
    "nothing": lambda a, rng: None,
    "strain": lambda a, rng: a.set_cell(a.cell.array * 1.01, scale_atoms=True),
    "cell in place": lambda a, rng: a.cell.__setitem__((0, 1), rng.normal()),
    "pbc": lambda a, rng: a.set_pbc(rng.random(3) < 0.5),
    "pbc in place": lambda a, rng: a.pbc.__setitem__(2, not a.pbc[2]),
    "numbers": lambda a, rng: a.set_atomic_numbers(rng.integers(1, 9, len(a))),
    "one number": lambda a, rng: a.numbers.__setitem__(0, int(rng.integers(1, 9))),
    "charge": lambda a, rng: a.info.__setitem__("charge", int(rng.integers(-2, 3))),
    "no charge": lambda a, rng: a.info.pop("charge", None),
    "spin": lambda a, rng: a.info.__setitem__("spin", int(rng.integers(1, 4))),
    "initial charges": lambda a, rng: a.set_initial_charges(rng.integers(-1, 2, len(a))),
    "initial moments": lambda a, rng: a.set_initial_magnetic_moments(rng.normal(size=len(a))),
    "momenta": lambda a, rng: a.set_momenta(rng.normal(size=(len(a), 3))),
    "another atom": lambda a, rng: a.append("H"),
    "one atom less": lambda a, rng: a.__delitem__(-1) if len(a) > 2 else None,
    "reset": lambda a, rng: a.calc.reset(),
    "tamper with the copy": lambda a, rng: tamper(a.calc.atoms),
    "tamper with the results": lambda a, rng: a.get_forces().__imul__(0),
}


def tamper(kept: ase.Atoms | None) -> None:
    if kept is not None:
        kept.positions += 1
        kept.numbers[:] = 1
        kept.cell[:] = np.eye(3)
        kept.info["charge"] = 5


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(sorted(EDITS)), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_any_edit_is_seen(edits, seed):
    rng, atoms = np.random.default_rng(seed), fresh(ammonium())
    for edit in edits:
        EDITS[edit](atoms, rng)
        expected = fresh(atoms)
        assert atoms.get_potential_energy() == pytest.approx(expected.get_potential_energy(), abs=1e-12)
        np.testing.assert_allclose(atoms.get_forces(), expected.get_forces(), atol=1e-12)
        if atoms.pbc.all():
            np.testing.assert_allclose(atoms.get_stress(), expected.get_stress(), atol=1e-12)
        else:
            with pytest.raises(PropertyNotImplementedError):
                atoms.get_stress()


def test_one_evaluation_serves_all_properties_until_something_changes():
    atoms = fresh(ammonium())
    asked = atoms.calc.potential.asked
    for n in (1, 2, 3):
        atoms.positions += 0.1
        for read in (atoms.get_forces, atoms.get_potential_energy, atoms.get_stress, atoms.get_potential_energies):
            read()
        atoms.set_momenta(np.ones((5, 3)))
        atoms.get_forces()
        assert len(asked) == n
    assert asked == [{"energy", "forces", "stress", "atomic_energies"}] * 3  # no embeddings: ASE has no use for them


def test_only_positions_are_converted_in_dynamics(monkeypatch):
    converted, from_ase = [], calculator.from_ase
    monkeypatch.setattr(calculator, "from_ase", lambda atoms: converted.append(len(atoms)) or from_ase(atoms))
    atoms = fresh(ammonium())
    for _ in range(5):
        atoms.positions += 0.1
        atoms.get_forces()
    assert converted == [5]
    atoms.cell[0, 0] += 0.1
    atoms.get_forces()
    assert converted == [5, 5]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_positions_that_are_no_numbers_are_refused_at_every_step(bad):
    atoms = fresh(ammonium())
    good = atoms.positions.copy()
    for _ in range(2):
        for _ in range(2):
            atoms.positions[1, 2] = bad
            with pytest.raises(StructureError, match="H4N: a position or cell vector is not a finite number"):
                atoms.get_forces()
        atoms.positions = good
        np.testing.assert_array_equal(atoms.get_forces(), fresh(atoms).get_forces())


def test_the_copy_is_what_ase_would_keep():
    atoms = fresh(ammonium())
    atoms.set_constraint(FixAtoms([0]))
    atoms.get_potential_energy()
    earlier = atoms.calc.atoms
    before = earlier.positions.copy()
    atoms.positions += 0.1
    atoms.set_momenta(np.full((5, 3), 2.0))
    atoms.set_celldisp([1.0, 2.0, 3.0])
    atoms.set_constraint(FixAtoms([1, 2]))
    atoms.info["name"] = "moved"
    assert (atoms.get_forces()[[1, 2]] == 0).all()
    kept, copied = atoms.calc.atoms, atoms.copy()
    assert kept == copied
    assert (kept.get_momenta() == copied.get_momenta()).all()
    assert (kept.get_celldisp() == copied.get_celldisp()).all()
    assert kept.constraints[0].index.tolist() == [1, 2]
    assert kept.constraints[0] is not atoms.constraints[0]
    assert kept.info == copied.info
    assert kept.info is not atoms.info
    assert kept.calc is None
    assert np.array_equal(earlier.positions, before)
    np.testing.assert_array_equal(atoms.calc.get_forces(), fresh(copied).calc.get_forces(atoms))


def test_a_failed_evaluation_leaves_nothing_behind():
    atoms = fresh(ammonium())
    atoms.get_potential_energy()
    predict = atoms.calc.potential.predict
    atoms.positions += 0.1
    atoms.calc.potential.predict = lambda *a: 1 / 0
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            atoms.get_potential_energy()
    atoms.calc.potential.predict = predict
    assert atoms.get_potential_energy() == fresh(atoms).get_potential_energy()


def test_what_a_caller_says_has_changed_is_not_trusted():
    atoms = fresh(ammonium())
    atoms.get_potential_energy()
    atoms.numbers[1] = 8
    atoms.calc.calculate(atoms, ["energy"], ["positions"])
    assert atoms.calc.results["energy"] == fresh(atoms).get_potential_energy()
