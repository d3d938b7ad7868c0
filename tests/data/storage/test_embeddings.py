"""Embeddings in a store: one number of features, beside Hessian rows of their own number of directions."""

import h5py
import numpy as np
import pytest

from mlff_distiller.atoms.labels import HESSIAN, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.columns import concatenate, pack
from mlff_distiller.data.curation.copying import merge
from mlff_distiller.data.exporters.exporting import export_data
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.storage import shards
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter

STRUCTURES = [Structure([1] * n, np.arange(3.0 * n).reshape(n, 3)) for n in (1, 3, 2, 4, 2, 1)]
FEATURES = [5, 0, 0, 5, 5, 0]


def labels(k: int, n_features: int) -> Labels:
    """Return an energy, features if there are any, and Hessian rows for two of the structures."""
    rng, n = np.random.default_rng(k), len(STRUCTURES[k])
    features = rng.normal(size=(n, n_features)).astype(np.float32) if n_features else None
    rows = {name: rng.normal(size=(n, 2, 3)) for name in HESSIAN if k in (2, 3)}
    return Labels(energy=float(k), embeddings=features, **rows)


def written(path, counts, **settings) -> Store:
    with StoreWriter(path, **settings) as writer:
        for k, count in enumerate(counts):
            writer.append([k], [STRUCTURES[k]], [labels(k, count)])
        return writer.seal()


@pytest.mark.parametrize("settings", [{}, {"shard_atoms": 4}, {"compressed": True}])
@pytest.mark.parametrize("is_large", [False, True])
def test_features_come_back_to_the_last_bit(tmp_path, monkeypatch, same, settings, is_large):
    monkeypatch.setattr(shards, "_MAPPED_BYTES", 0 if is_large else 1 << 30)
    store = written(tmp_path / "data", FEATURES, **settings)
    assert store.properties == {"energy", "embeddings", *HESSIAN}
    assert store.widths == Store.open(store.path).widths == {"K": 2, "D": 5}
    rows = [4, 1, 0, 3, 3, 5]
    taken = store.take(rows)
    for place, row in enumerate(rows):
        assert same(taken.labels(place), labels(row, FEATURES[row]))
        assert same(store.labels(row), labels(row, FEATURES[row]))
    assert taken.labels(0).embeddings.dtype == np.float32


def test_the_layout_is_the_documented_one(tmp_path):
    store = written(tmp_path / "data", FEATURES)
    with h5py.File(store.path / "shards" / "000000.h5") as file:
        assert (file["embeddings"].shape, file["embeddings"].dtype) == ((13, 5), np.float32)
        assert file["mask"][()].tolist() == [257, 1, 193, 449, 257, 1]
        assert np.isnan(file["embeddings"][1:6]).all()
    assert "embeddings" not in store.manifest.units  # they have none


def test_a_store_holds_one_number_of_features(tmp_path):
    sentence = "embeddings have 4 features in .* and 5 in .*, but .*; label all with the same teacher, or keep them"
    with pytest.raises(DataError, match=sentence):
        pack([0, 1], STRUCTURES[:2], [labels(0, 4), labels(1, 5)])
    parts = [pack([k], [STRUCTURES[k]], [labels(k, count)]) for k, count in ((0, 4), (1, 5))]
    with pytest.raises(DataError, match=sentence):
        concatenate(parts)
    writer = StoreWriter(tmp_path / "data")
    writer.append_columns(parts[0])
    writer.close()
    with StoreWriter(tmp_path / "data") as again, pytest.raises(DataError, match=sentence):
        again.append_columns(parts[1])
    stores = [written(tmp_path / name, [count]) for name, count in (("a", 4), ("b", 5))]
    with pytest.raises(DataError, match=sentence):
        merge(stores, tmp_path / "ab")


@pytest.mark.parametrize("shape", [(3,), (2, 5), (3, 5, 1)])
def test_features_of_another_shape_are_refused(shape):
    with pytest.raises(DataError, match=r"embeddings of structure 1 \(H3\) have shape"):
        pack([1], STRUCTURES[1:2], [Labels(embeddings=np.zeros(shape))])


def test_hidden_features_have_no_width(tmp_path):
    store = written(tmp_path / "data", FEATURES)
    assert MolecularDataset(store, properties={"energy", "embeddings"}).widths == {"D": 5}
    assert MolecularDataset(store, properties={"hessian_products"}).widths == {"K": 2}


@pytest.mark.parametrize("name", ["x.xyz", "x.db", "x.npz"])
def test_exports_leave_them_out(tmp_path, name):
    frames = [STRUCTURES[1]] * 2
    data = pack([0, 1], frames, [Labels(energy=1.0, embeddings=np.ones((3, 5)))] * 2)
    export_data(data, tmp_path / name)
    assert (tmp_path / name).stat().st_size
