"""Optimizers: every weight is stepped, matrices by Muon, and all they keep can be saved."""

import pytest
import torch
from training_tasks import STUDENT, TRAIN

from mlff_distiller.distillation.flat import FlatParameters
from mlff_distiller.distillation.initial import new_student
from mlff_distiller.distillation.optimizers.adamw import AdamWPlan
from mlff_distiller.distillation.optimizers.muon import MuonPlan

MATRIX = torch.nn.Linear(3, 2, bias=False)


@pytest.mark.parametrize("plan", [AdamWPlan(), MuonPlan()], ids=["adamw", "muon"])
def test_every_weight_moves_and_the_student_with_it(plan):
    student = new_student(STUDENT, TRAIN, seed=1)
    flat = FlatParameters(student)
    before = flat.values.detach().clone()
    flat.gradient.copy_(torch.randn(len(before), generator=torch.Generator().manual_seed(0)))
    for optimizer in plan.build(flat, 1e-2):
        optimizer.step()
    assert (flat.values != before).all()
    assert torch.equal(torch.cat([p.detach().flatten() for p in student.parameters()]), flat.values.detach())


def test_muon_takes_matrices_and_leaves_tables_and_vectors_to_adamw():
    flat = FlatParameters(new_student(STUDENT, TRAIN, seed=1))
    muon, adamw = MuonPlan().build(flat, 1e-2)
    matrices = muon.param_groups[0]["params"]
    tables = [flat.named[name] for name in flat.tables]
    assert tables
    assert all(p.ndim == 2 and min(p.shape) > 1 for p in matrices)
    assert not any(p is table for p in matrices for table in tables)
    counted = [p.numel() for each in (muon, adamw) for p in each.param_groups[0]["params"]]
    assert sum(counted) == len(flat.values)


@pytest.mark.parametrize(("module", "kinds"), [(torch.nn.Linear(3, 1), ["AdamW"]), (MATRIX, ["Muon"])])
def test_muon_does_without_matrices_or_with_nothing_else(module, kinds):
    assert [type(each).__name__ for each in MuonPlan().build(FlatParameters(module), 1e-2)] == kinds
