"""Files of splits: they come back, and those of other data, other formats or newer releases are refused."""

import h5py
import numpy as np
import pytest

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.splits.files import read_split, split_file, split_names, write_split
from mlff_distiller.data.splits.plan import SplitPlan
from mlff_distiller.data.splits.split import Split

SPLIT = Split.from_assignment(np.random.default_rng(0).integers(0, 3, 1000))


@pytest.fixture
def path(tmp_path):
    path = split_file(tmp_path, "mine")
    write_split(path, SPLIT, data_digest="abc", plan=SplitPlan(kind="formula"), seed=3)
    return path


def test_a_split_comes_back_with_its_origin(path):
    record = read_split(path, data_digest="abc")
    assert np.array_equal(record.split.assignment, SPLIT.assignment)
    assert record.split.train.dtype == np.int64
    assert (record.plan, record.seed) == (SplitPlan(kind="formula"), 3)
    assert record.provenance["versions"]["numpy"] == np.__version__
    assert split_names(path.parents[1]) == ["mine"]


def test_a_foreign_split_needs_no_plan(tmp_path):
    write_split(tmp_path / "s.h5", SPLIT, data_digest="abc")
    assert read_split(tmp_path / "s.h5", data_digest="abc").plan is None


def test_a_million_structures_take_a_megabyte(tmp_path):
    write_split(tmp_path / "s.h5", Split.from_assignment(np.zeros(1_000_000, np.uint8)), data_digest="abc")
    assert (tmp_path / "s.h5").stat().st_size < 1_010_000


def test_the_split_of_other_data_is_refused(path):
    with pytest.raises(DataError, match=r"mine.h5 is the split of other data; delete it and split"):
        read_split(path, data_digest="abd")


def change(**attributes):
    def edit(file):
        file.attrs.update(attributes)

    return edit


def lose(file):
    del file["assignment"]


def spoil(file):
    file["assignment"][5] = 9


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (change(version=np.int64(2)), "format version 2, written by a newer release"),
        (change(format=np.bytes_("mlffd-data")), "no split of format mlffd-split"),
        (change(facts=np.bytes_(b"{")), "missing or damaged"),
        (change(facts=np.bytes_(b"{}")), "missing or damaged"),
        (change(facts=np.bytes_(b"[]")), "missing or damaged"),
        (lose, "missing or damaged"),
        (spoil, "missing or damaged"),
    ],
)
def test_other_files_are_one_sentence(path, edit, sentence):
    with h5py.File(path, "r+") as file:
        edit(file)
    with pytest.raises(DataError, match=sentence):
        read_split(path, data_digest="abc")


@pytest.mark.parametrize("content", [None, b"", b"not HDF5"])
def test_a_missing_or_broken_file_is_one_sentence(path, content):
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match="missing or damaged"):
        read_split(path, data_digest="abc")


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "x" * 65])
def test_names_are_plain(tmp_path, name):
    with pytest.raises(DataError, match="cannot name a split"):
        split_file(tmp_path, name)
