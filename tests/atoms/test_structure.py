"""Structures: what they refuse, and that they cannot be changed."""

import ase
import ase.build
import ase.io
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase, read_structures, to_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import StructureError


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([], []), "N >= 1"),
        (([1, 1], [[0, 0, 0]]), "N >= 1"),
        (([0], [[0, 0, 0]]), "1 to 118"),
        (([119], [[0, 0, 0]]), "1 to 118"),
        (([1], [[0, 0, np.nan]]), "H: a position .* finite"),
    ],
)
def test_impossible_atoms_are_refused(arguments, sentence):
    with pytest.raises(StructureError, match=sentence):
        Structure(*arguments)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"cell": np.eye(2)}, "3 x 3"),
        ({"pbc": True}, "zero or linearly dependent"),
        ({"cell": [[1, 0, 0], [2, 0, 0], [0, 0, 1]], "pbc": True}, "linearly dependent"),
        ({"cell": np.full((3, 3), np.inf)}, "finite"),
        ({"spin": 0}, "multiplicity"),
    ],
)
def test_impossible_cells_and_spins_are_refused(settings, sentence):
    with pytest.raises(StructureError, match=sentence):
        Structure([1], [[0, 0, 0]], **settings)


def test_arrays_are_copies_that_cannot_be_written():
    positions = np.zeros((1, 3))
    atom = Structure([1], positions)
    positions += 1
    assert not atom.positions.any()
    with pytest.raises(ValueError, match="read-only"):
        atom.positions[0, 0] = 1
    with pytest.raises(AttributeError):
        atom.charge = 1


def test_volume_needs_three_periodic_directions():
    slab = Structure([1], [[0, 0, 0]], cell=np.diag([2.0, 3.0, 4.0]), pbc=[True, True, False])
    with pytest.raises(StructureError, match="no volume"):
        _ = slab.volume
    left_handed = Structure([1], [[0, 0, 0]], cell=np.diag([2.0, 3.0, -4.0]), pbc=True)
    assert left_handed.volume == pytest.approx(24.0)


def test_formula_is_in_hill_order():
    assert Structure([8, 6, 1, 1, 35], np.zeros((5, 3))).formula == "CH2BrO"
    assert Structure([8, 1, 1], np.zeros((3, 3))).formula == "H2O"


def test_tagged_and_moved_leave_the_original_alone():
    atom = Structure([1], [[0, 0, 0]], info={"a": 1})
    other = atom.tagged(b=2).moved(np.ones((1, 3)))
    assert (atom.info, other.info) == ({"a": 1}, {"a": 1, "b": 2})
    assert other.positions.tolist() == [[1, 1, 1]]


def test_ase_round_trip_keeps_everything():
    structure = Structure(
        [8, 1], [[0, 0, 0], [0, 0, 1]], cell=np.diag([4.0, 5.0, 6.0]), pbc=[1, 0, 1], charge=-1, spin=3
    )
    back = from_ase(to_ase(structure))
    for name in ("numbers", "positions", "cell", "pbc"):
        np.testing.assert_array_equal(getattr(back, name), getattr(structure, name))
    assert (back.charge, back.spin) == (-1, 3)


def test_charge_comes_from_initial_charges_where_nothing_else_is_said():
    atoms = ase.Atoms("NaCl", [[0, 0, 0], [0, 0, 2.4]], charges=[1.0, 0.0])
    assert from_ase(atoms).charge == 1


def test_files_are_read_frame_by_frame(tmp_path):
    path = tmp_path / "water.xyz"
    ase.io.write(path, [ase.build.molecule("H2O")] * 3)
    assert len(read_structures(path)) == 3
    assert len(read_structures(path, index="0")) == 1


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("missing.xyz", None, "does not exist"),
        ("a.unknown", "hello", "no format that ASE reads"),
        ("a.xyz", "3\n\nH 0 0\n", "cannot be read"),
        ("a.xyz", "", "no format that ASE reads"),
    ],
)
def test_bad_files_are_named(tmp_path, name, text, sentence):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(StructureError, match=sentence) as caught:
        read_structures(path)
    assert str(path) in str(caught.value)


def test_labels_know_what_they_hold():
    labels = Labels(energy=1.0, forces=np.zeros((1, 3)))
    assert labels.present == ("energy", "forces")
    assert labels.is_finite
    assert not Labels(energy=float("nan")).is_finite
    assert labels.only(["forces", "stress"]).present == ("forces",)
