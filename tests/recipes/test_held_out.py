"""Where dynamics starts: held-out frames near the asked temperature with a typical energy."""

import numpy as np
import pytest

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.splits.files import write_split
from mlff_distiller.data.splits.split import Split
from mlff_distiller.data.storage.writer import StoreWriter
from mlff_distiller.recipes.held_out import LabeledData
from mlff_distiller.recipes.run_directory import RunDirectory


def frame(seed: str, energy: float, temperature: float | None) -> tuple[Structure, Labels]:
    info = {"seed": seed, "segment": f"{seed}/x", **({"temperature_K": temperature} if temperature else {})}
    return Structure([1], [[energy, 0, 0]], info=info), Labels(energy=energy)


@pytest.fixture
def data(tmp_path) -> LabeledData:
    directory = RunDirectory(tmp_path)
    rows = [frame("a", e, 300.0) for e in (0, 1, 2, 3, 9)] + [frame("a", e, 600.0) for e in (5, 6, 7)]
    rows += [frame("b", e, None) for e in (0, 4, 8)]
    with StoreWriter(directory.labels) as writer:
        writer.append(range(len(rows)), [s for s, _ in rows], [label for _, label in rows])
        store = writer.seal()
    test = np.array([0, 1, 3, 6, 8, 9])
    split = Split(np.setdiff1d(np.arange(len(rows)), [*test, 2]), np.array([2]), test)
    write_split(directory.split_file, split, data_digest=store.digest)
    return LabeledData.open(directory)


def places(starts):
    return {name: [frame.positions[0, 0] for frame in own] for name, own in starts.items()}


def test_starts_are_typical_held_out_frames_of_the_nearest_temperature(data):
    # the mean of all 300 K frames is 3
    assert places(data.starts(350.0, n=2)) == {"a": [3, 1], "b": [4, 0]}
    assert places(data.starts(2000.0)) == {"a": [6], "b": [4]}


def test_few_frames_are_used_in_turn(data):
    assert places(data.starts(600.0, n=3))["a"] == [6, 6, 6]


def test_held_out_frames_carry_their_origin(data):
    held_out = data.held_out()
    assert list(held_out.systems) == ["a", "a", "a", "a", "b", "b"]


def test_a_split_of_other_labels_is_one_sentence(data, tmp_path):
    write_split(RunDirectory(tmp_path).split_file, data.split, data_digest="other")
    with pytest.raises(DataError, match=r"split.h5 is the split of other data; delete it"):
        LabeledData.open(RunDirectory(tmp_path))


@pytest.mark.parametrize("content", ["", "{}", "[]", None])
def test_a_damaged_split_is_one_sentence(data, tmp_path, content):
    path = RunDirectory(tmp_path).split_file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DataError, match=r"split.h5 is missing or damaged"):
        LabeledData.open(RunDirectory(tmp_path))


def test_of_many_systems_some_are_run_evenly_chosen(data):
    assert list(data.starts(300.0, most=1)) == ["a"]
    assert list(data.starts(300.0, most=2)) == ["a", "b"]


def test_single_atoms_are_left_out_where_there_is_anything_else(tmp_path):
    directory = RunDirectory(tmp_path)
    atoms = [Structure([1], [[0, 0, 0]]) for _ in range(3)]
    pairs = [Structure([1, 1], [[0, 0, 0], [0, 0, 0.7 + 0.1 * k]]) for k in range(3)]
    with StoreWriter(directory.labels, identity={"kind": "a", "version": "1", "weights": ""}) as writer:
        writer.append(
            range(6), [*atoms, *pairs], [Labels(energy=-1.0, forces=np.zeros((len(s), 3))) for s in atoms + pairs]
        )
        store = writer.seal()
    write_split(directory.split_file, Split(*[np.zeros(0, int)] * 2, np.arange(6)), data_digest=store.digest)
    assert list(LabeledData.open(directory).starts(300.0)) == ["H2"]
