"""The training state: what is put in comes out, and what is not a state is said in one sentence."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from mlff_distiller.core.errors import CheckpointError, DistillerError
from mlff_distiller.core.files import write_bytes
from mlff_distiller.distillation.state import TrainingState


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.safetensors"


def test_nested_values_come_back_bit_for_bit(path):
    kept = {
        "weights": torch.randn(5),
        "optimizers": [
            {"state": {0: {"step": torch.tensor(3.0), "moment": torch.randn(2, 3, dtype=torch.float64)}, 7: {}}},
            {"param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "fused": None, "nesterov": True, "params": [0, 1]}]},
        ],
    }
    written = TrainingState(step=9, epoch=2, batch=1, kept=kept, history=[{"step": 9, "x": None}], errors=[0.25])
    written.save(path, digest="d")
    read = TrainingState.load(path, digest="d")
    assert (read.step, read.epoch, read.batch, read.history) == (9, 2, 1, [{"step": 9, "x": None}])
    assert torch.equal(read.kept["weights"], kept["weights"])
    group = read.kept["optimizers"][1]["param_groups"][0]
    assert group == {"lr": 0.1, "betas": [0.9, 0.999], "fused": None, "nesterov": True, "params": [0, 1]}
    state = read.kept["optimizers"][0]["state"]
    assert list(state) == [0, 7]
    assert torch.equal(state[0]["moment"], kept["optimizers"][0]["state"][0]["moment"])


def test_the_best_validation_is_the_first_of_the_least_error():
    history = [{"step": step} for step in (10, 20, 30, 40)]
    state = TrainingState(history=history, errors=[3.0, 2.0, 2.0, 2.5])
    assert (state.best_step, state.best_error, state.n_waited) == (20, 2.0, 2)
    new = TrainingState()
    assert (new.best_step, new.best_error, new.n_waited) == (0, float("inf"), 0)


def test_no_file_and_another_digest_are_no_state(path):
    assert TrainingState.load(path, digest="d") is None
    TrainingState(kept={}).save(path, digest="other")
    assert TrainingState.load(path, digest="d") is None


@pytest.mark.parametrize("n_bytes", [0, 4, 200, -8])
def test_a_damaged_file_is_said_in_one_sentence(path, n_bytes):
    TrainingState(kept={"weights": torch.ones(100)}).save(path, digest="d")
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(CheckpointError, match=r"state.safetensors is damaged .*; delete it to start this training"):
        TrainingState.load(path, digest="d")


@pytest.mark.parametrize("metadata", [{"format": "mlffd-student", "version": "1"}, {"format": "x"}, {}])
def test_another_file_is_no_state(path, metadata):
    save_file({"x": torch.ones(1)}, path, {**metadata, "digest": "d", "facts": json.dumps({})})
    with pytest.raises(CheckpointError, match="delete it to start"):
        TrainingState.load(path, digest="d")


def test_a_full_disk_leaves_the_state_from_before(path, monkeypatch):
    TrainingState(step=1, kept={"weights": torch.ones(3)}).save(path, digest="d")

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:50])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(
            DistillerError, match=r"cannot write .*state.safetensors \(No space left on device\); check"
        ):
            TrainingState(step=2, kept={"weights": torch.zeros(3)}).save(path, digest="d")
    assert TrainingState.load(path, digest="d").step == 1
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    write_bytes(path, path.read_bytes())
    assert load_file(path)["kept/weights"].tolist() == [1, 1, 1]
