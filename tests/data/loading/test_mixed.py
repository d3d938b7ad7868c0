"""Reference data behind the teacher's: every label at its place, on one scale, marked."""

import pickle

import numpy as np
import pytest
import torch

from mlff_distiller.atoms.labels import HESSIAN, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.columns import pack
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.data.loading.mixed import Mixed, energy_shifts
from mlff_distiller.data.loading.transforms import RandomRotation
from mlff_distiller.data.storage.writer import StoreWriter

TEACHER = {1: -13.0, 6: -100.0, 8: -110.0}
REFERENCE = {1: -16.5, 6: -1030.0, 8: -2040.0}
SHIFTS = {z: REFERENCE[z] - TEACHER[z] for z in TEACHER}
FORMULAS = ([8, 1, 1], [6, 1, 1, 1, 1], [6, 8], [1, 1], [6, 8, 1, 1])


def structures(seed: int, count: int) -> list[Structure]:
    rng = np.random.default_rng(seed)
    return [Structure(z, 2 * rng.normal(size=(len(z), 3))) for z in (FORMULAS[k % 5] for k in range(count))]


def source(seed, count, atoms, *, rows=0, forces=True, atomic=False):
    """Return structures whose energies are those of their atoms plus something small that both methods agree on."""
    made, rng = structures(seed, count), np.random.default_rng(seed)
    labels = [
        Labels(
            energy=sum(atoms[z] for z in s.numbers.tolist()) + 0.01 * float(rng.normal()),
            forces=rng.normal(size=(len(s), 3)) if forces else None,
            atomic_energies=np.array([atoms[z] for z in s.numbers.tolist()]) if atomic else None,
            **{name: rng.normal(size=(len(s), rows, 3)) for name in HESSIAN if rows},
        )
        for s in made
    ]
    return pack(range(count), made, labels)


def stored(path, columns):
    with StoreWriter(path) as writer:
        writer.append_columns(columns)
        return writer.seal()


@pytest.fixture(params=["columns", "store", "dataset"])
def mixed(request, tmp_path):
    sides = source(1, 7, TEACHER, rows=2), source(2, 5, REFERENCE, forces=False, atomic=True)
    if request.param == "store":
        sides = tuple(stored(tmp_path / str(k), side) for k, side in enumerate(sides))
    if request.param == "dataset":
        sides = tuple(MolecularDataset(side) for side in sides)
    return Mixed(*sides, SHIFTS)


def test_every_structure_is_at_its_place(mixed, same):
    assert len(mixed) == 12
    assert mixed.widths == {"K": 2}
    assert mixed.properties == {"energy", "forces", "atomic_energies", *HESSIAN}
    everything = structures(1, 7) + structures(2, 5)
    assert mixed.sizes.tolist() == [len(s) for s in everything]
    for rows in ([3, 11, 0, 7, 3], [10, 7], [2, 1], list(range(12))):
        taken = mixed.take(np.array(rows))
        assert taken.arrays["ids"].tolist() == rows
        for place, row in enumerate(rows):
            found, expected = taken.structure(place), everything[row]
            assert found.formula == expected.formula
            assert np.array_equal(found.positions, expected.positions)
            present = ("energy", "forces", *HESSIAN) if row < 7 else ("energy", "atomic_energies")
            assert taken.labels(place).present == present
    assert len(mixed.take(np.array([], dtype=np.int64))) == 0


def test_reference_energies_are_on_the_scale_of_the_teacher(mixed):
    taken = mixed.take(np.arange(12))
    for row in range(12):
        atoms = [TEACHER[z] for z in taken.structure(row).numbers.tolist()]
        assert taken.labels(row).energy == pytest.approx(sum(atoms), abs=0.05)
        if row >= 7:
            np.testing.assert_allclose(taken.labels(row).atomic_energies, atoms, atol=1e-9)


def test_some_arrays_alone(mixed):
    for rows in ([0, 8], [8], [1]):
        taken = mixed.take(np.array(rows), only={"energy", "mask"})
        assert set(taken.arrays) == {"offsets", "energy", "mask"}
        whole = mixed.take(np.array(rows))
        assert np.array_equal(taken.arrays["energy"], whole.arrays["energy"])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
@pytest.mark.parametrize("settings", [{}, {"neighbors": "cached"}, {"n_workers": 1}])
@pytest.mark.parametrize("transform", [None, RandomRotation()])
def test_batches_know_which_labels_are_of_the_reference(mixed, settings, transform):
    if transform is not None and settings.get("neighbors") == "cached":
        settings = {"neighbors": "device"}
    data = MolecularDataset(mixed, transform=transform)
    loader = GraphLoader(data, cutoff=3.0, batch_size=4, seed=0, **settings)
    assert loader.properties == {"energy", "forces", "atomic_energies", "hessian_products"}
    seen = torch.cat([batch.is_reference for batch in loader.all_in_order()])
    assert seen.tolist() == mixed.is_reference.tolist() == [False] * 7 + [True] * 5
    for batch in loader.batches(0):
        assert torch.equal(batch.has_hessian, ~batch.is_reference)
        assert torch.equal(batch.has_forces, ~batch.is_reference)
        assert torch.equal(batch.has_atomic_energies, batch.is_reference)
        assert batch.has_energy.all()


def test_a_part_keeps_its_marks(mixed):
    part = MolecularDataset(MolecularDataset(mixed).subset([9, 1, 7]), in_memory=True)
    loader = GraphLoader(part, cutoff=3.0, batch_size=3, seed=0)
    (batch,) = loader.all_in_order()
    assert batch.is_reference.tolist() == [True, False, True]
    again = pickle.loads(pickle.dumps(mixed)).take(np.array([9]))
    assert again.labels(0).energy == mixed.take(np.array([9])).labels(0).energy


def test_the_fit_finds_the_shifts():
    found = energy_shifts(source(1, 40, TEACHER), source(2, 30, REFERENCE))
    assert found.keys() == SHIFTS.keys()
    for z, shift in SHIFTS.items():
        assert found[z] == pytest.approx(shift, abs=0.05)


def test_one_composition_is_enough_for_itself():
    """Which element a shift belongs to is then not known, but their sum is."""
    water = [Structure([8, 1, 1], np.eye(3))]
    one, other = (pack([0], water, [Labels(energy=energy)]) for energy in (-138.0, -2073.0))
    mixed = Mixed(one, other, energy_shifts(one, other))
    assert mixed.take(np.array([1])).labels(0).energy == pytest.approx(-138.0)


def test_what_cannot_be_mixed_is_said():
    helium = pack([0], [Structure([2], [[0, 0, 0]])], [Labels(energy=-80.0)])
    with pytest.raises(DataError, match="the teacher's data hold no energies with He"):
        energy_shifts(source(1, 5, TEACHER), helium)
    with pytest.raises(DataError, match="the energy shift of He in the reference data is not known"):
        Mixed(source(1, 5, TEACHER), helium, SHIFTS).take(np.array([5]))
    with pytest.raises(DataError, match="in 2 directions in the teacher's data and in 3 in the reference data"):
        Mixed(source(1, 5, TEACHER, rows=2), source(2, 5, REFERENCE, rows=3), SHIFTS)
