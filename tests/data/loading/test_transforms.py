"""Transforms as physics: the labels of what is transformed are the transformed labels."""

import itertools

import numpy as np
import pytest
from scipy.stats import kstest

from mlff_distiller.atoms.labeled import LabeledStructure
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError, PlanError
from mlff_distiller.core.units import BOHR, HARTREE
from mlff_distiller.data.loading.transforms import (
    Centering,
    Compose,
    Noise,
    RandomRotation,
    Rotation,
    Translation,
    Units,
)
from mlff_distiller.potentials.analytic import lennard_jones

SETTINGS = {"epsilon": 0.3, "sigma": 1.4, "cutoff": 4.0}
EVERYTHING = ("energy", "forces", "stress", "atomic_energies")
TRICLINIC = np.array([[4.1, 0, 0], [1.3, 3.6, 0], [-0.8, 0.9, 4.4]])


def structure(kind: str) -> Structure:
    rng = np.random.default_rng(3)
    corners = 1.7 * np.array(list(itertools.product((0, 1), repeat=3)))
    positions = corners + rng.normal(0, 0.12, corners.shape)
    settings = {
        "molecule": {},
        "triclinic": {"cell": TRICLINIC, "pbc": True},
        "slab": {"cell": TRICLINIC, "pbc": (True, True, False)},
    }[kind]
    return Structure([6, 1, 8, 6, 1, 1, 8, 6], positions, charge=-1, spin=2, info={"name": kind}, **settings)


def labeled(s: Structure, **changes: float) -> LabeledStructure:
    potential = lennard_jones(**{**SETTINGS, **changes})
    return LabeledStructure(s, potential.predict([s], EVERYTHING)[0])


def assert_same_labels(a: Labels, b: Labels) -> None:
    assert a.present == b.present
    for name in a.present:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-10, atol=1e-10, err_msg=name)


KINDS = pytest.mark.parametrize("kind", ["molecule", "triclinic", "slab"])


@KINDS
@pytest.mark.parametrize(
    "transform",
    [
        RandomRotation(),
        RandomRotation(reflection=True),
        Centering(),
        Translation(np.array([3.0, -20.0, 0.1])),
        Compose(Centering(), RandomRotation(reflection=True)),
    ],
    ids=["rotation", "rotation and reflection", "centering", "translation", "composed"],
)
def test_labels_follow_rigid_motions(kind, transform):
    before = labeled(structure(kind))
    assert before.labels.stress is None or np.abs(before.labels.stress - before.labels.stress.T).max() < 1e-12
    for seed in range(4):
        after = transform.apply(before, np.random.default_rng(seed))
        assert not np.allclose(after.structure.positions, before.structure.positions)
        assert_same_labels(after.labels, labeled(after.structure).labels)
    kept = (after.structure.charge, after.structure.spin, after.structure.info)
    assert kept == (-1, 2, {"name": kind})


def test_the_stress_of_the_test_is_no_multiple_of_one():
    stress = labeled(structure("triclinic")).labels.stress
    assert np.abs(stress - np.eye(3) * np.trace(stress) / 3).max() > 0.1 * np.abs(stress).max()


@KINDS
def test_units_follow_energies_and_lengths(kind):
    """A Lennard-Jones system in other units is the one with scaled parameters."""
    energy, length = 1 / HARTREE, 1 / BOHR
    before = labeled(structure(kind))
    after = Units(energy_factor=energy, length_factor=length).apply(before)
    scaled = {"epsilon": 0.3 * energy, "sigma": 1.4 * length, "cutoff": 4.0 * length}
    assert_same_labels(after.labels, labeled(after.structure, **scaled).labels)


@KINDS
@pytest.mark.parametrize(
    "draw",
    [
        lambda s: RandomRotation(reflection=True).draw(np.random.default_rng(5)),
        lambda s: Centering().of(s),
        lambda s: Units(energy_factor=27.2, length_factor=0.53),
        lambda s: Compose(Centering().of(s), RandomRotation().draw(np.random.default_rng(1)), Units(length_factor=2.0)),
    ],
    ids=["rotation", "centering", "units", "composed"],
)
def test_inverses_undo(kind, draw):
    before = labeled(structure(kind))
    transform, rng = draw(before.structure), np.random.default_rng(0)
    back = transform.inverse().apply(transform.apply(before, rng), rng)
    np.testing.assert_allclose(back.structure.positions, before.structure.positions, atol=1e-12)
    np.testing.assert_allclose(back.structure.cell, before.structure.cell, atol=1e-12)
    assert_same_labels(back.labels, before.labels)


def rotations(n: int, **settings) -> np.ndarray:
    rng = np.random.default_rng(11)
    return np.array([RandomRotation(**settings).draw(rng).matrix for _ in range(n)])


def test_rotations_are_uniform():
    """Rotation angles of uniform rotations have density (1 - cos a) / pi; turned axes are uniform on the sphere."""
    matrices = rotations(4000)
    assert np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(3)).max() < 1e-12
    np.testing.assert_allclose(np.linalg.det(matrices), 1)
    angles = np.arccos(np.clip((np.trace(matrices, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert kstest(angles, lambda a: (a - np.sin(a)) / np.pi).pvalue > 1e-3
    for entry in matrices.reshape(-1, 9).T:  # each component of a unit vector is uniform (Archimedes)
        assert kstest(entry, lambda x: (x + 1) / 2).pvalue > 1e-3


def test_half_of_the_reflections_reflect():
    determinants = np.linalg.det(rotations(2000, reflection=True))
    np.testing.assert_allclose(np.abs(determinants), 1)
    assert abs((determinants > 0).mean() - 0.5) < 0.04


def test_noise_has_its_width_and_costs_the_labels():
    big = labeled(Structure([1] * 3000, np.arange(9000.0).reshape(-1, 3)))
    after = Noise(displacement=0.07).apply(big, np.random.default_rng(0))
    assert after.labels.present == ()
    moved = after.structure.positions - big.structure.positions
    assert moved.std() == pytest.approx(0.07, rel=0.03)
    assert abs(moved.mean()) < 0.003
    assert np.array_equal(after.structure.numbers, big.structure.numbers)


def test_what_is_absent_stays_absent():
    bare = LabeledStructure(structure("triclinic"), Labels(energy=-1.0))
    for transform in (RandomRotation(), Centering(), Units(energy_factor=2.0)):
        assert transform.apply(bare, np.random.default_rng(0)).labels.present == ("energy",)


def test_transforms_know_what_they_keep():
    assert (RandomRotation().keeps_distances, RandomRotation().keeps_labels) == (True, True)
    assert (Noise(displacement=0.1).keeps_distances, Noise(displacement=0.1).keeps_labels) == (False, False)
    assert Units(energy_factor=2.0).keeps_distances
    assert not Units(length_factor=2.0).keeps_distances
    both = Compose(RandomRotation(), Noise(displacement=0.1))
    assert (both.keeps_distances, both.keeps_labels) == (False, False)
    assert Compose(RandomRotation(), Centering()).keeps_distances


def test_impossible_transforms_are_refused():
    with pytest.raises(DataError, match="orthogonal"):
        Rotation(np.diag([1, 1, 2]))
    for value in (np.nan, np.inf):
        with pytest.raises(DataError, match="orthogonal"):
            Rotation(np.full((3, 3), value))
    with pytest.raises(DataError, match="RandomRotation has no inverse"):
        Compose(Centering().of(structure("slab")), RandomRotation()).inverse()
    with pytest.raises(PlanError, match="displacement"):
        Noise.parse({"displacement": 0}, where="augmentation")


@KINDS
def test_hessian_rows_turn_and_change_their_units(kind: str) -> None:
    potential, rng = lennard_jones(**SETTINGS), np.random.default_rng(0)
    s = structure(kind)
    along = [rng.normal(size=(len(s), 3, 3))]
    rows = Labels(hessian_directions=along[0], hessian_products=potential.hessian_products([s], along)[0])
    turned = RandomRotation(reflection=True).apply(LabeledStructure(s, rows), rng)
    found = potential.hessian_products([turned.structure], [turned.labels.hessian_directions])[0]
    np.testing.assert_allclose(turned.labels.hessian_products, found, atol=1e-9)
    assert not np.allclose(turned.labels.hessian_directions, along[0])
    units = Units(energy_factor=27.2, length_factor=0.53)
    converted = units.apply(LabeledStructure(s, rows))
    other = lennard_jones(epsilon=0.3 * 27.2, sigma=1.4 * 0.53, cutoff=4.0 * 0.53)
    expected = other.hessian_products([converted.structure], along)[0]
    np.testing.assert_allclose(converted.labels.hessian_products, expected, rtol=1e-9, atol=1e-9)
    assert np.array_equal(converted.labels.hessian_directions, along[0])
    assert_same_labels(units.inverse().apply(converted).labels, rows)
    assert Noise(displacement=0.1).apply(LabeledStructure(s, rows), rng).labels.present == ()
