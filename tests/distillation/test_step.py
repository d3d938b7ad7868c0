"""The eager step: the gradient of the loss by finite differences, in parts, and in mixed precision."""

import numpy as np
import pytest
import torch
from training_tasks import STUDENT, TRAIN, loader, plan_with, run

from mlff_distiller.distillation.flat import FlatParameters
from mlff_distiller.distillation.initial import new_student
from mlff_distiller.distillation.losses.loss import Loss
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.distillation.step import EagerStep


def prepared(dtype, *, mixed_precision=False, **settings):
    batches = loader(TRAIN, dtype=dtype, **settings)
    student = new_student(STUDENT, TRAIN, seed=1, dtype=dtype)
    loss = Loss(TrainingPlan().loss, batches.properties, scale=student.scale)
    step = EagerStep(student, loss, mixed_precision=mixed_precision)
    return step, loss, FlatParameters(student).values.detach().clone(), batches


def test_the_gradient_is_that_of_finite_differences():
    step, loss, weights, batches = prepared(torch.float64)
    batch = next(batches.batches(0))
    factors = loss.factors(loss.counts([batch]), progress=0.0)
    _, gradient = step(weights, factors, batch)
    rng = np.random.default_rng(0)
    for _ in range(5):
        direction = torch.from_numpy(rng.normal(size=len(weights)))
        direction /= direction.norm()
        up, down = ((step(weights + h * direction, factors, batch)[0] * factors).sum() for h in (1e-5, -1e-5))
        assert float(gradient @ direction) == pytest.approx(float((up - down) / 2e-5), rel=1e-5, abs=1e-7)


def test_parts_add_up_to_the_whole():
    step, loss, weights, batches = prepared(torch.float64)
    _, _, _, cut = prepared(torch.float64, micro_edges=40)
    whole, parts = next(batches.steps(0)), next(cut.steps(0))
    assert len(parts) > 1
    factors = loss.factors(loss.counts(parts), progress=0.0)
    assert torch.equal(loss.counts(whole), loss.counts(parts))
    expected = step(weights, factors, whole[0])
    found = [step(weights, factors, part) for part in parts]
    for k in (0, 1):
        torch.testing.assert_close(sum(each[k] for each in found), expected[k], rtol=1e-10, atol=1e-12)


def test_mixed_precision_is_close():
    step, loss, weights, batches = prepared(torch.float32)
    mixed, *_ = prepared(torch.float32, mixed_precision=True)
    batch = next(batches.batches(0))
    factors = loss.factors(loss.counts([batch]), progress=0.0)
    exact, rough = step(weights, factors, batch), mixed(weights, factors, batch)
    assert rough[1].dtype == torch.float32
    error = float((rough[1] - exact[1]).norm() / exact[1].norm())
    assert 0 < error < 0.05  # bfloat16 keeps 8 bits
    torch.testing.assert_close(rough[0], exact[0], rtol=0.05, atol=0)


def test_training_in_mixed_precision_learns_as_well(tmp_path):
    exact, rough = (run(tmp_path / str(m), plan_with(mixed_precision=m)) for m in (False, True))
    assert rough.best_error == pytest.approx(exact.best_error, rel=0.05)
