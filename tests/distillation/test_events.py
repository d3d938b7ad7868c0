"""What follows a training: log files are covered by the trainer's tests, here TensorBoard's."""

import sys

import pytest

from mlff_distiller.core.errors import TrainingError
from mlff_distiller.distillation.events import TensorBoard

ROWS = [
    {"step": 5, "train_loss": 1.0, "validation_force_rmse": 0.2, "validation_stress_rmse": None},
    {"step": 10, "train_loss": 0.5, "validation_force_rmse": 0.1, "validation_stress_rmse": None},
]


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {name: [(e.step, round(e.value, 6)) for e in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_tensorboard_sees_every_validation_once_also_after_an_interruption(tmp_path):
    board = TensorBoard(tmp_path)
    board.began(20, 0, [])
    for n in (1, 2):
        board.validated(ROWS[:n])
    board.ended()
    continued = TensorBoard(tmp_path)
    continued.began(20, 5, ROWS[:1])  # the state that was saved is older than what was logged
    continued.validated([ROWS[0], {**ROWS[1], "train_loss": 0.4}])
    continued.ended()
    assert read(tmp_path) == {
        "train_loss": [(5, 1.0), (10, 0.4)],
        "validation_force_rmse": [(5, 0.2), (10, 0.1)],
    }


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match=r"mlff-distiller\[tensorboard\]"):
        TensorBoard(tmp_path)
