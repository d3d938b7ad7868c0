"""Validation errors: plain root mean squares, however the structures are batched or shared."""

import numpy as np
import pytest
import torch
from training_tasks import STUDENT, TRAIN, VALIDATION, clusters, loader

from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.distillation.evaluation import evaluate, selection
from mlff_distiller.distillation.initial import new_student
from mlff_distiller.distillation.losses.force_angle import ForceAngleTerm
from mlff_distiller.potentials.derivatives import derive


def test_errors_are_root_mean_squares_for_any_batches():
    data, student = clusters(7, 4, periodic=True), new_student(STUDENT, TRAIN, seed=1, dtype=torch.float64)
    whole = next(loader(data, batch_size=7, dtype=torch.float64, shuffle=False).all_in_order())
    derived = derive(student, whole.graph, {"forces", "stress"})
    expected = {
        "force_rmse": (derived.forces - whole.forces).square().mean().sqrt(),
        "energy_rmse_per_atom": ((derived.energy - whole.energy) / 8).square().mean().sqrt(),
    }
    for batch_size in (1, 3, 7):
        found = evaluate(student, loader(data, batch_size=batch_size, dtype=torch.float64, shuffle=False))
        for name, value in expected.items():
            assert found[name] == pytest.approx(float(value), rel=1e-12)


def test_what_has_no_labels_is_none_and_terms_add_their_metrics():
    student = new_student(STUDENT, TRAIN, seed=1)
    found = evaluate(student, loader(MolecularDataset(VALIDATION, properties={"energy"})), terms=[ForceAngleTerm()])
    assert (found["force_rmse"], found["stress_rmse"], found["force_angle_rms_degrees"]) == (None, None, None)
    assert selection(found) == found["energy_rmse_per_atom"]
    full = evaluate(student, loader(VALIDATION), terms=[ForceAngleTerm()])
    assert 0 < full["force_angle_rms_degrees"] < 180
    assert selection(full) == full["force_rmse"]
    assert selection({}) == np.inf
