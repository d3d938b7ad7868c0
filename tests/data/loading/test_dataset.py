"""A data set gives what its source holds: masked, transformed, as a subset, lazily or from memory."""

import gc
import pickle
import tracemalloc

import numpy as np
import pytest

from mlff_distiller.atoms.labels import HESSIAN, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.loading.transforms import Noise, RandomRotation
from mlff_distiller.data.storage.writer import StoreWriter

N = 40


@pytest.fixture(scope="module")
def store(tmp_path_factory, structure, label):
    with StoreWriter(tmp_path_factory.mktemp("data") / "store") as writer:
        writer.append(range(N), [structure(i) for i in range(N)], [label(i) for i in range(N)])
        return writer.seal()


@pytest.fixture(params=["store", "columns", "in memory", "structures"])
def dataset(request, store):
    if request.param == "structures":
        return MolecularDataset.from_structures(store.structures(), store.all_labels())
    if request.param == "columns":
        return MolecularDataset(store.take(np.arange(N)))
    return MolecularDataset(store, in_memory=request.param == "in memory")


def test_it_gives_what_was_stored(dataset, structure, label, same):
    assert len(dataset) == N
    for i in (0, 7, N - 1, -1):
        found = dataset[i]
        assert same(found.structure, structure(i % N))
        assert same(found.labels, label(i % N))
    several = dataset.__getitems__([5, 3, 5])
    assert all(same(x.structure, structure(i)) for x, i in zip(several, (5, 3, 5), strict=True))
    assert [len(s) for s, _ in dataset] == dataset.sizes.tolist() == [len(structure(i)) for i in range(N)]
    assert len(dataset.structures()) == len(dataset.all_labels()) == N
    assert dataset.properties == {"energy", "forces", "stress", "atomic_energies", *HESSIAN}


def test_rows_choose_and_order(dataset, structure, same):
    part = dataset.subset([9, 2, 30]).subset(np.array([2, 0]))
    assert len(part) == 2
    assert same(part[0].structure, structure(30))
    assert same(part[1].structure, structure(9))
    assert part.sizes.tolist() == [len(structure(30)), len(structure(9))]
    assert part.take([1, 0]).arrays["ids"].tolist() == [9, 30]
    again = MolecularDataset(part, in_memory=True)
    assert again.is_in_memory
    assert again.take([0, 1]).arrays["ids"].tolist() == [30, 9]


def test_masked_labels_are_not_given(dataset, label, same):
    masked = MolecularDataset(dataset, properties={"energy", "stress"})
    assert set(masked.take([0, 1], only={"numbers", "forces"}).arrays) <= {"numbers", "offsets"}
    assert masked.properties == {"energy", "stress"}
    assert "forces" not in masked.take(range(N)).arrays
    for i in range(N):
        assert same(masked[i].labels, label(i).only({"energy", "stress"}))
    assert all(labels.present == () for labels in MolecularDataset(dataset, properties=()).all_labels())
    assert len(dataset.all_labels()[1].present) == len(label(1).present), "the source keeps its labels"


def test_impossible_settings(dataset):
    with pytest.raises(DataError, match=r"row 40 is not in a data set of 40; rows count from 0 to 39"):
        dataset.subset([1, 40])
    for rows in ([0, -1], [40]):  # -1 means a row to a store and nothing to columns
        with pytest.raises(DataError, match=f"row {rows[-1]} is not in a data set of 40"):
            dataset.take(rows)
        with pytest.raises(DataError, match=f"row {rows[-1]} is not"):
            dataset.__getitems__(rows)
    with pytest.raises(DataError, match="row -1 is not"):
        MolecularDataset(dataset, rows=[-1])
    with pytest.raises(DataError, match="'force' is no property"):
        MolecularDataset(dataset, properties={"force"})
    with pytest.raises(IndexError, match="structure 40 of a data set of 40"):
        dataset[40]
    with pytest.raises(DataError, match="2 structures and 1 labels"):
        MolecularDataset.from_structures([Structure([1], [[0, 0, 0]])] * 2, [Labels()])


def test_transforms_depend_on_seed_epoch_and_id_alone(dataset):
    turned = MolecularDataset(dataset, transform=RandomRotation(), seed=4)
    first = turned[11].structure.positions
    part = turned.subset([30, 11])
    assert np.array_equal(part[1].structure.positions, first)
    assert np.array_equal(turned.take([3, 11, 4]).structure(1).positions, first)
    assert np.array_equal(turned.at_epoch(0)[11].structure.positions, first)
    in_memory = MolecularDataset(dataset.subset([11]), in_memory=True)
    assert np.array_equal(MolecularDataset(in_memory, transform=RandomRotation(), seed=4)[0].structure.positions, first)
    others = [turned.at_epoch(1)[11], MolecularDataset(dataset, transform=RandomRotation(), seed=5)[11], dataset[11]]
    assert all(np.abs(x.structure.positions - first).max() > 1e-3 for x in others)
    assert turned.epoch == 0


def test_transformed_columns_are_the_transformed_structures(dataset, same):
    turned = MolecularDataset(dataset, transform=RandomRotation(reflection=True), properties={"forces", "stress"})
    columns = turned.take([4, 1, 13])
    assert columns.arrays["ids"].tolist() == [4, 1, 13]
    for k, i in enumerate((4, 1, 13)):
        assert same(columns.structure(k), turned[i].structure)
        assert same(columns.labels(k), turned[i].labels)
    noisy = MolecularDataset(dataset, transform=Noise(displacement=0.1))
    assert noisy.properties == set()
    assert noisy.take([1]).properties == []


def test_it_travels_as_a_path(store):
    lazy = MolecularDataset(store, rows=[3, 4], transform=RandomRotation())
    lazy.take([0])
    pickled = pickle.dumps(lazy)
    assert len(pickled) < 5000
    assert np.array_equal(pickle.loads(pickled)[1].structure.positions, lazy[1].structure.positions)
    assert not lazy.is_in_memory


def test_reading_everything_keeps_nothing(store):
    lazy = MolecularDataset(store, transform=RandomRotation())
    list(lazy)
    gc.collect()
    tracemalloc.start()
    for epoch in range(3):
        for _ in lazy.at_epoch(epoch):
            pass
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 50_000
