"""Conditions keep exactly what satisfies them, and say what removed the rest."""

import numpy as np
import pytest
from ase.build import molecule

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PlanError
from mlff_distiller.data.columns import pack
from mlff_distiller.data.curation.filtering import FilterPlan, matching


def source(*pairs):
    return pack(range(len(pairs)), [s for s, _ in pairs], [label for _, label in pairs])


def atom(z, charge=0, **labels):
    return Structure([z], [[0, 0, 0]], charge=charge), Labels(**labels)


def pushed(force):
    return Structure([1, 1], [[0, 0, 0], [0, 0, 1]]), Labels(forces=np.array([[0, 0, force], [0, 0, -force]]))


@pytest.mark.parametrize(
    ("plan", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"elements": ["H", "C"]}, [0, 1, 3, 4]),
        ({"min_atoms": 2}, [3, 4]),
        ({"max_atoms": 1}, [0, 1, 2]),
        ({"properties": ["energy"]}, [0]),
        ({"properties": ["forces"], "max_force": 4.9}, [3]),
        ({"max_force": 4.9}, [0, 1, 2, 3]),
        ({"charge": 1}, [1]),
    ],
)
def test_each_condition(plan, kept):
    columns = source(atom(1, energy=-13.6), atom(6, charge=1), atom(8), pushed(1.0), pushed(5.0))
    found = matching(columns, FilterPlan.parse(plan, where="filter"))
    assert found.rows.tolist() == kept
    assert sum(found.removed.values()) == 5 - len(kept)


def test_a_force_that_is_not_a_number_never_passes():
    assert matching(source(pushed(np.nan)), FilterPlan(max_force=1e6)).rows.tolist() == []


def test_duplicates_are_looked_for_in_what_is_left():
    """The first copy is removed by its force, so the second is the one to keep."""
    water = from_ase(molecule("H2O"))
    moved = Structure(water.numbers, water.positions + 1.0)
    strong, weak = (Labels(forces=np.array([[f, 0, 0], [-f, 0, 0], [0, 0, 0]])) for f in (9.0, 1.0))
    columns = source((water, strong), (water, weak), (moved, weak))
    assert matching(columns, FilterPlan(max_force=5, unique="exact")).rows.tolist() == [1, 2]
    found = matching(columns, FilterPlan(max_force=5, unique="near"))
    assert found.rows.tolist() == [1]
    assert found.removed == {"max_force": 1, "duplicates": 1}


def test_sane_leaves_out_what_has_a_finding():
    ethanol = from_ase(molecule("CH3CH2OH"))
    bare = Structure(ethanol.numbers[:3], ethanol.positions[:3])
    found = matching(source((ethanol, Labels()), (bare, Labels())), FilterPlan(sane=True))
    assert found.rows.tolist() == [0]
    assert "missing_hydrogens" in found.removed


def test_an_unknown_element_is_said():
    with pytest.raises(PlanError, match="'Xx' is no element"):
        FilterPlan.parse({"elements": ["H", "Xx"]}, where="filter")
