"""Hessian rows in a store: one number of directions, through journals, shards and sealing; older data know nothing."""

import h5py
import numpy as np
import pytest

from mlff_distiller.atoms.labels import HESSIAN, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.columns import concatenate, pack
from mlff_distiller.data.curation.copying import merge
from mlff_distiller.data.schema import units_of
from mlff_distiller.data.storage import shards
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter

STRUCTURES = [Structure([1] * n, np.arange(3.0 * n).reshape(n, 3)) for n in (1, 3, 2, 4, 2, 1, 3, 2)]


def labels(k: int, n_directions: int) -> Labels:
    """Return a label with an energy and, unless there are no directions, with Hessian rows."""
    rng, n = np.random.default_rng(k), len(STRUCTURES[k])
    rows = {name: rng.normal(size=(n, n_directions, 3)) for name in HESSIAN if n_directions}
    return Labels(energy=float(k), **rows)


def written(path, counts, **settings) -> Store:
    with StoreWriter(path, **settings) as writer:
        for k, count in enumerate(counts):
            writer.append([k], [STRUCTURES[k]], [labels(k, count)])
        return writer.seal()


@pytest.mark.parametrize("settings", [{}, {"shard_atoms": 4}, {"compressed": True}])
@pytest.mark.parametrize("is_large", [False, True])
def test_rows_come_back_to_the_last_bit(tmp_path, monkeypatch, same, settings, is_large):
    monkeypatch.setattr(shards, "_MAPPED_BYTES", 0 if is_large else 1 << 30)
    counts = [3, 0, 0, 3, 3, 0, 3, 0]
    store = written(tmp_path / "data", counts, **settings)
    assert store.properties == {"energy", *HESSIAN}
    assert store.widths == Store.open(store.path).widths == {"K": 3}
    rows = [6, 1, 0, 7, 3, 3, 5]
    taken = store.take(rows)
    assert taken.widths == {"K": 3}
    for place, row in enumerate(rows):
        assert same(taken.labels(place), labels(row, counts[row]))
        assert same(store.labels(row), labels(row, counts[row]))
    assert store.take([1, 2]).properties == ["energy"]
    assert set(store.take(rows, only={"hessian_products"}).arrays) == {"offsets", "hessian_products"}


def test_the_layout_is_the_documented_one(tmp_path):
    store = written(tmp_path / "data", [2, 0])
    with h5py.File(store.path / "shards" / "000000.h5") as file:
        assert file["hessian_products"].shape == file["hessian_directions"].shape == (4, 2, 3)
        assert file["mask"][()].tolist() == [1 + 64 + 128, 1]
        assert np.isnan(file["hessian_products"][1:]).all()
    assert store.manifest.units == units_of(["energy", "hessian_products"])
    assert store.manifest.units["hessian_products"] == "eV/Angstrom^2"
    without = written(tmp_path / "other", [0, 0])
    assert without.widths == {}
    assert "hessian_products" not in without.manifest.units


def test_a_store_holds_one_number_of_directions(tmp_path):
    sentence = "Hessians are known in 2 directions in .* and in 3 in .*; label all with the same hessian_directions"
    with pytest.raises(DataError, match=sentence):
        pack([0, 1], STRUCTURES[:2], [labels(0, 2), labels(1, 3)])
    parts = [pack([k], [STRUCTURES[k]], [labels(k, count)]) for k, count in ((0, 2), (1, 3))]
    with pytest.raises(DataError, match=sentence):
        concatenate(parts)
    writer = StoreWriter(tmp_path / "data")
    writer.append_columns(parts[0])
    with pytest.raises(DataError, match=sentence):
        writer.append_columns(parts[1])
    writer.close()
    with StoreWriter(tmp_path / "data") as again, pytest.raises(DataError, match=sentence):
        again.append_columns(parts[1])
    with StoreWriter(tmp_path / "data") as again:
        again.append([2], [STRUCTURES[2]], [labels(2, 2)])
        assert again.seal().widths == {"K": 2}


def test_sealed_shards_are_remembered_too(tmp_path):
    with StoreWriter(tmp_path / "data", shard_atoms=1) as writer:
        for k in range(3):
            writer.append([k], [STRUCTURES[k]], [labels(k, 2 if k == 0 else 0)])
    with StoreWriter(tmp_path / "data") as again, pytest.raises(DataError, match="known in 2 directions"):
        again.append([5], [STRUCTURES[5]], [labels(5, 1)])


def test_writers_at_once_that_differ_cannot_be_sealed(tmp_path):
    one, other = StoreWriter(tmp_path / "data"), StoreWriter(tmp_path / "data")
    one.append([0], [STRUCTURES[0]], [labels(0, 2)])
    other.append([1], [STRUCTURES[1]], [labels(1, 3)])
    other.close()
    with pytest.raises(DataError, match=r"known in 2 directions in \S*00-000000.h5 and in 3 in \S*01-000000.h5"):
        one.seal()
    one.close()


def test_data_of_different_numbers_are_not_merged(tmp_path):
    stores = [written(tmp_path / name, [count]) for name, count in (("a", 2), ("b", 3), ("c", 0))]
    with pytest.raises(DataError, match="keep them apart"):
        merge(stores[:2], tmp_path / "ab")
    merged = merge([stores[0], stores[2]], tmp_path / "ac")
    assert [one.present for one in merged.all_labels()] == [("energy", *HESSIAN), ("energy",)]


@pytest.mark.parametrize("missing", HESSIAN)
def test_products_without_directions_mean_nothing(missing):
    rows = {name: np.zeros((1, 2, 3)) for name in HESSIAN if name != missing}
    with pytest.raises(DataError, match=r"structure 0 \(H\) has one of hessian_directions and hessian_products"):
        pack([0], STRUCTURES[:1], [Labels(**rows)])


@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 2, 3), (3, 2, 2)])
def test_rows_of_another_shape_are_refused(shape):
    rows = {"hessian_directions": np.zeros((3, 2, 3)), "hessian_products": np.zeros(shape)}
    with pytest.raises(DataError, match=r"hessian_products of structure 1 \(H3\) have shape"):
        pack([1], STRUCTURES[1:2], [Labels(**rows)])


def test_asking_for_products_gives_their_directions():
    both = labels(1, 2)
    assert both.only(["hessian_products"]).present == HESSIAN
    assert both.only(["energy"]).present == ("energy",)
    assert both.widths == {"K": 2}
    assert not Labels(hessian_directions=both.hessian_directions, hessian_products=np.full((3, 2, 3), np.nan)).is_finite
