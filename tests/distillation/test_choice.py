"""Which step a run uses."""

import pytest
import torch
from training_tasks import STUDENT, TRAIN, loader, plan_with

from mlff_distiller.core.errors import TrainingError
from mlff_distiller.distillation import compiled_step
from mlff_distiller.distillation.choice import choose_step
from mlff_distiller.distillation.flat import FlatParameters
from mlff_distiller.distillation.initial import new_student
from mlff_distiller.distillation.losses.loss import Loss
from mlff_distiller.distillation.step import EagerStep
from mlff_distiller.distillation.world import World


def chosen(told, world=None, **changes):
    student, batches, plan = new_student(STUDENT, TRAIN, seed=1), loader(TRAIN), plan_with(**changes)
    eager = EagerStep(student, Loss(plan.loss, batches.properties, scale=1.0))
    weights = FlatParameters(student).values
    step = choose_step(eager, plan, weights=weights, train=batches, world=world or World(), tell=told.append)
    return step is eager


class NoCompiler:
    def __init__(self, *_, **__):
        raise TrainingError("the training step cannot be compiled (no C++ compiler is found); set training.compile ...")


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setattr(compiled_step, "CompiledStep", NoCompiler)


@pytest.mark.parametrize("changes", [{"compile": "never", "n_steps": 10**6}, {"compile": "auto", "n_steps": 100}])
def test_short_runs_and_never_are_eager_without_a_word(no_compiler, changes):
    told = []
    assert chosen(told, **changes)
    assert told == []


def test_auto_without_a_compiler_says_so_once_and_goes_on(no_compiler):
    told = []
    assert chosen(told, compile="auto", n_steps=10**6)
    assert told[1:] == [
        "training goes on with the slower step: the training step cannot be compiled (no C++ compiler is found); "
        "set training.compile ..."
    ]


def test_always_without_a_compiler_is_an_error(no_compiler):
    with pytest.raises(TrainingError, match="no C\\+\\+ compiler"):
        chosen([], compile="always")


@pytest.mark.parametrize("local_rank", [0, 1])
def test_the_first_of_a_machine_compiles_while_the_others_wait(monkeypatch, local_rank):
    events = []

    class Together(World):
        size = 2

        def wait(self):
            events.append("wait")

    together = Together()
    together.rank = together.local_rank = local_rank
    monkeypatch.setattr(compiled_step, "CompiledStep", lambda *_, **__: events.append("compile") or torch.ones(1))
    chosen([], together, compile="always")
    assert events == (["compile", "wait", "wait"] if local_rank == 0 else ["wait", "compile", "wait"])
