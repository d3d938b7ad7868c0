"""New stores from old ones: what goes in comes out, once, and says where it came from."""

import os
import signal

import numpy as np
import pytest

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.curation.copying import merge, subset
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter

IDENTITY = {"kind": "xtb", "version": "GFN2-xTB", "weights": "0"}


@pytest.fixture
def make(tmp_path, structure, label):
    def store(name, numbers, **settings):
        writer = StoreWriter(tmp_path / name, **{"identity": IDENTITY, **settings})
        writer.append(numbers, [structure(i) for i in numbers], [label(i) for i in numbers])
        return writer.seal()

    return store


def test_merged_stores_hold_everything_and_name_their_parents(tmp_path, make, structure, label, same):
    parents = [make("a", range(5)), make("b", [100, 7, 9], header={"content": "b"}), make("c", [0])]
    merged = merge(parents, tmp_path / "all")
    expected = [*range(5), 7, 9, 100, 0]
    assert len(merged) == 9
    assert merged.ids.tolist() == list(range(9))
    assert all(same(merged.structure(k), structure(i)) for k, i in enumerate(expected))
    assert all(same(merged.labels(k), label(i)) for k, i in enumerate(expected))
    assert merged.identity == IDENTITY
    said = merged.header["parents"]
    assert [(p["name"], p["first_id"], p["n_structures"]) for p in said] == [("a", 0, 5), ("b", 5, 3), ("c", 8, 1)]
    assert [p["digest"] for p in said] == [p.digest for p in parents]
    assert said[1]["header"] == {"content": "b"}


def test_labels_of_two_potentials_are_not_merged(tmp_path, make):
    ours, theirs = make("a", [1]), make("b", [2], identity={**IDENTITY, "version": "GFN1-xTB"})
    with pytest.raises(DataError, match=r"different potentials \(xtb GFN2-xTB and xtb GFN1-xTB\)"):
        merge([ours, theirs], tmp_path / "all")
    with pytest.raises(DataError, match="given twice"):
        merge([ours, ours], tmp_path / "all")
    with pytest.raises(DataError, match="nothing to merge"):
        merge([], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_a_subset_keeps_ids_and_says_how_it_was_chosen(tmp_path, make, structure, same):
    whole = make("a", range(10, 30))
    part = subset(whole, np.array([7, 3, 3, 12]), tmp_path / "part", settings={"why": "test"})
    assert part.ids.tolist() == [13, 17, 22]
    assert all(same(part.structure(k), structure(i)) for k, i in enumerate([13, 17, 22]))
    assert part.header["settings"] == {"why": "test"}
    assert part.header["parents"][0]["digest"] == whole.digest
    with pytest.raises(DataError, match=r"no structure of .* is left"):
        subset(whole, np.array([], dtype=np.int64), tmp_path / "none", settings={})
    with pytest.raises(DataError, match="begun with another settings"):
        subset(whole, np.array([1]), tmp_path / "part", settings={"why": "other"})


def test_the_same_call_again_does_nothing(tmp_path, make):
    whole = make("a", range(10))
    first = subset(whole, np.arange(5), tmp_path / "part", settings={})
    before = {p: p.stat().st_mtime_ns for p in first.path.rglob("*")}
    subset(whole, np.arange(5), tmp_path / "part", settings={})
    assert {p: p.stat().st_mtime_ns for p in first.path.rglob("*")} == before


@pytest.mark.skipif(os.name != "posix", reason="forks and signals are POSIX")
def test_a_killed_merge_continues(tmp_path, make, monkeypatch):
    monkeypatch.setattr("mlff_distiller.data.curation.copying._BLOCK_ATOMS", 10)
    parents = [make("a", range(40)), make("b", range(50, 90))]
    whole = merge(parents, tmp_path / "whole")
    child = os.fork()
    if child == 0:
        append, count = StoreWriter.append_columns, [0]

        def dying(self, columns):
            count[0] += 1
            if count[0] == 7:
                os.kill(os.getpid(), signal.SIGKILL)
            append(self, columns)

        StoreWriter.append_columns = dying
        merge(parents, tmp_path / "killed")
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    writer = StoreWriter(tmp_path / "killed", identity=IDENTITY)
    assert 0 < len(writer.done_ids) < 80
    writer.close()
    assert merge(parents, tmp_path / "killed").digest == whole.digest


def test_an_archive_is_equal(tmp_path, make):
    whole = make("a", range(20))
    packed = merge([whole], tmp_path / "packed", compressed=True)
    assert merge([Store.open(packed.path)], tmp_path / "back").digest == whole.digest != packed.digest
