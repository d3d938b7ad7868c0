"""Each gate by itself."""

import numpy as np
import pytest

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PlanError
from mlff_distiller.labeling.gates import GatesPlan, Refusal

GATES = GatesPlan()


def pair(distance: float) -> Structure:
    return Structure([1, 1], [[0, 0, 0], [0, 0, distance]])


def test_min_distance() -> None:
    assert GATES.fault(pair(0.51)) is None
    assert GATES.fault(pair(0.49)) == ("min_distance", "0.490 Angstrom")
    assert GATES.fault(pair(0.0)) == ("min_distance", "0.000 Angstrom")
    assert GatesPlan(min_distance=0).fault(pair(0.01)) is None


def test_min_distance_through_the_boundary() -> None:
    cell = np.diag([5.0, 5.0, 5.0])
    close = Structure([1, 1], [[0.1, 0, 0], [4.8, 0, 0]], cell=cell, pbc=True)
    assert GATES.fault(close) == ("min_distance", "0.300 Angstrom")
    assert GATES.fault(Structure(close.numbers, close.positions, cell=cell, pbc=(False, True, True))) is None
    assert GATES.fault(Structure([1], [[0, 0, 0]], cell=np.diag([0.4, 5, 5]), pbc=True)) is not None


def test_max_force_is_that_of_an_atom_not_a_component() -> None:
    forces = np.zeros((2, 3))
    forces[1] = 29.9 / np.sqrt(3)
    assert GATES.label_fault(Labels(energy=0.0, forces=forces)) is None
    assert GATES.label_fault(Labels(energy=0.0, forces=forces * 1.01)) == ("max_force", "30.2 eV/Angstrom")


@pytest.mark.parametrize(
    "labels",
    [
        Labels(energy=float("inf")),
        Labels(energy=0.0, forces=np.full((1, 3), np.nan)),
        Labels(energy=0.0, stress=np.full((3, 3), np.inf)),
    ],
)
def test_non_finite(labels: Labels) -> None:
    assert GATES.label_fault(labels) == ("non_finite", "")


def test_energies_alone_pass() -> None:
    assert GATES.label_fault(Labels(energy=-1.0)) is None


def test_screen_keeps_the_order() -> None:
    accepted, refused = GATES.screen([5, 6, 7], [pair(1), pair(0.1), pair(2)])
    assert [number for number, _ in accepted] == [5, 7]
    assert refused == [Refusal(6, "min_distance", "0.100 Angstrom")]


def test_settings_have_bounds() -> None:
    with pytest.raises(PlanError, match="max_force"):
        GatesPlan.parse({"max_force": 0}, where="recipe.yaml")
