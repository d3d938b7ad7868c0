"""Embedding matching: a projection of the student's features to the teacher's, trained beside it and thrown away."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.spatial.transform import Rotation
from torch import Tensor
from training_tasks import (
    PLAN,
    STUDENT,
    TEACHER,
    assert_same_files,
    loader,
    plan_with,
    run,
    structures,
)

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.core.console import Silent
from mlff_distiller.core.errors import PropertyError
from mlff_distiller.data.loading.batch import Batch
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter
from mlff_distiller.distillation.compiled_step import traced
from mlff_distiller.distillation.evaluation import evaluate
from mlff_distiller.distillation.events import Listener
from mlff_distiller.distillation.flat import FlatParameters
from mlff_distiller.distillation.losses.embedding import EmbeddingTerm
from mlff_distiller.distillation.losses.energy import EnergyTerm
from mlff_distiller.distillation.losses.forces import ForcesTerm
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.distillation.projection import Projected, trained
from mlff_distiller.distillation.step import EagerStep
from mlff_distiller.labeling.label import LabelingPlan, label
from mlff_distiller.scale.local import LocalPool
from mlff_distiller.students import checkpoint
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.student import Student
from mlff_distiller.students.teacher import StudentTeacherPlan
from mlff_distiller.teachers.ase_factory import ASEFactoryPlan

LARGE = PaiNNPlan(preset="ultra-tiny", n_channels=6, n_layers=2, n_readout=4, n_radial=4, cutoff=3.0)
TERMS = (EnergyTerm(), ForcesTerm(), EmbeddingTerm(weight=5.0))
MATCHING = plan_with(loss=[{"kind": "energy"}, {"kind": "forces"}, {"kind": "embedding", "weight": 5.0}])


def assistant() -> StudentPotential:
    """Return a student whose forces mean nothing, and whose features are far from zero."""
    return StudentPotential(Student(LARGE, {1: 0.0, 6: 0.0}, seed=8).to(torch.float64))


def labeled(n: int, seed: int, *, every: int = 1) -> MolecularDataset:
    """Return clusters with energies and forces, of which some have features too."""
    frames = structures(n, seed)
    labels = TEACHER.predict(frames)
    features = [one.embeddings for one in assistant().predict(frames, ["embeddings"])]
    some = [replace(one, embeddings=features[k]) if k % every == 0 else one for k, one in enumerate(labels)]
    return MolecularDataset.from_structures(frames, some)


TRAIN, VALIDATION = labeled(44, 0, every=2), labeled(12, 1)


def small(dtype: torch.dtype = torch.float64) -> Student:
    return Student(STUDENT, {1: 0.0, 6: 0.0}, scale=0.7, seed=2).to(dtype)


def prepared(train: GraphLoader) -> tuple[FlatParameters, EagerStep, Any]:
    module, loss = trained(small(), TERMS, train)
    return FlatParameters(module), EagerStep(module, loss), loss


def exact(data: MolecularDataset = TRAIN, **settings: Any) -> GraphLoader:
    return loader(data, dtype=torch.float64, **settings)


def gradient(step: Any, weights: Tensor, loss: Any, parts: list[Batch]) -> Tensor:
    factors = loss.factors(loss.counts(parts), progress=0.0)
    return sum(step(weights, factors, part)[1] for part in parts)


def test_features_are_those_that_enter_the_readout():
    frames, potential = structures(3, 5), assistant()
    (one, *_) = potential.predict(frames, ["energy", "forces", "embeddings"])
    assert one.embeddings.shape == (5, 6)
    features = torch.from_numpy(one.embeddings)
    student = potential.student
    energies = student.scale * student.network.readout(features).squeeze(1) + student.reference.energies[0]
    np.testing.assert_allclose(energies.sum() + _repulsion(student, frames[0]), one.energy, rtol=1e-9)
    assert potential.predict(frames)[0].embeddings is None
    np.testing.assert_array_equal(potential.predict(frames, ["embeddings"])[0].embeddings, one.embeddings)


def _repulsion(student: Student, structure: Any) -> float:
    from mlff_distiller.atoms.graph import Graph

    graph = Graph.from_structures([structure], student.cutoff, dtype=student.dtype)
    species = student._species[graph.numbers]
    return float(sum(part(species, graph).sum() for part in student.repulsions))


def test_features_do_not_turn_with_the_structure():
    (frame,), matrix = structures(1, 6), Rotation.random(rng=np.random.default_rng(0)).as_matrix()
    turned = frame.moved(frame.positions @ matrix + 2.0)
    one, other = assistant().predict([frame, turned], ["embeddings"])
    np.testing.assert_allclose(one.embeddings, other.embeddings, atol=1e-10)


def test_batches_carry_features_where_data_hold_them():
    batch = next(exact().all_in_order())
    assert batch.embeddings.shape == (batch.graph.n_atoms, 6)
    assert batch.has_embeddings.tolist() == [True, False] * 4
    np.testing.assert_allclose(batch.embeddings[:5], TRAIN[0].labels.embeddings)
    assert not batch.embeddings[5:10].any()
    assert next(exact(MolecularDataset(TRAIN, properties={"energy"})).all_in_order()).embeddings is None


def test_the_gradient_is_that_of_finite_differences_in_student_and_projection():
    train = exact()
    flat, step, loss = prepared(train)
    batch = next(train.all_in_order())
    factors = loss.factors(loss.counts([batch]), progress=0.0) * torch.tensor([0.0, 0.0, 1.0])
    weights = flat.values.detach()
    _, found = step(weights, factors, batch)
    n_student = small().n_parameters
    assert len(found) == n_student + 6 * 4 + 6
    for part in (slice(n_student), slice(n_student, None)):
        direction = torch.zeros_like(weights)
        direction[part] = found[part] / found[part].norm()
        ahead, behind = (
            (step(weights + sign * 1e-6 * direction, factors, batch)[0] * factors).sum() for sign in (1, -1)
        )
        slope = float(found[part].norm())
        assert slope > 1e-4
        assert float(ahead - behind) / 2e-6 == pytest.approx(slope, rel=1e-5)


def test_the_term_is_the_mean_square_over_labeled_atoms_in_units_of_the_spread():
    train = exact(batch_size=44)
    flat, step, loss = prepared(train)
    module, batch = trained(small(), TERMS, train)[0], next(train.all_in_order())
    counts = loss.counts([batch])
    sums, _ = step(flat.values, torch.ones(3, dtype=torch.float64), batch)
    features = np.concatenate([labels.embeddings for labels in TRAIN.all_labels() if labels.embeddings is not None])
    spread = np.sqrt(np.square(features - features.mean(0)).mean())
    known = batch.has_embeddings[batch.graph.system]
    given = module(batch.graph)[1].detach()[known].numpy()
    assert float(counts[2]) == features.size == 22 * 5 * 6
    assert float(sums[2] / counts[2]) == pytest.approx(np.square((given - features) / spread).mean(), rel=1e-5)
    # of that order from the start, whatever the teacher's features are
    assert 0.5 < float(sums[2] / counts[2]) < 3


def test_features_of_any_scale_and_offset_give_the_same_gradients():
    def changed(labels: Labels) -> Labels:
        return labels if labels.embeddings is None else replace(labels, embeddings=1e3 * labels.embeddings + 50.0)

    other = MolecularDataset.from_structures(TRAIN.structures(), [changed(labels) for labels in TRAIN.all_labels()])
    found = []
    for data in (TRAIN, other):
        train = exact(data)
        flat, step, loss = prepared(train)
        found.append(gradient(step, flat.values, loss, [next(train.all_in_order())]))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4 * float(found[0].abs().max()))


def test_features_that_are_all_alike_do_no_harm():
    frames = structures(4, 3)
    data = MolecularDataset.from_structures(frames, [Labels(energy=0.0, embeddings=np.full((5, 2), 7.7))] * 4)
    module, loss = trained(small(), TERMS, exact(data))
    assert module.spread == 1.0
    assert torch.isfinite(loss.sums(module, next(exact(data).all_in_order()))).all()


def test_parts_of_a_batch_add_up_to_it():
    train = exact()
    flat, step, loss = prepared(train)
    whole, parts = next(train.steps(0)), next(exact(micro_edges=30).steps(0))
    assert len(parts) > 2
    found = gradient(step, flat.values, loss, parts)
    torch.testing.assert_close(found, gradient(step, flat.values, loss, whole), rtol=1e-9, atol=1e-12)


def test_the_traced_step_is_the_eager_one():
    train = exact()
    flat, step, loss = prepared(train)
    first, other = [batch for _, batch in zip(range(2), train.batches(0), strict=False)]
    program, inputs = traced(step, flat.values.detach(), first)
    tensors = [value for part in (first.graph, first) for value in vars(part).values() if isinstance(value, Tensor)]
    assert len(inputs) == 2 + len(tensors) + len(step.buffers)
    factors = loss.factors(loss.counts([other]), progress=0.0)
    given = [value for part in (other.graph, other) for value in vars(part).values() if isinstance(value, Tensor)]
    found = program(flat.values.detach(), factors, *given, *step.buffers)
    for ours, theirs in zip(found, step(flat.values, factors, other), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_it_learns_features_and_keeps_forces(tmp_path):
    plan = PaiNNPlan(**{**LARGE.model_dump(), "n_channels": 32})
    teacher = StudentPotential(Student(plan, {1: 0.0, 6: 0.0}, scale=5.0, seed=8).to(torch.float64))
    train, validation = (
        MolecularDataset.from_structures(frames, teacher.predict(frames, ["energy", "forces", "embeddings"]))
        for frames in (structures(44, 0), structures(12, 1))
    )
    rows = {}
    for name, plan in (("matching", MATCHING), ("plain", PLAN)):
        plan = plan_with(plan, n_steps=150, validation_interval=10, learning_rate=1e-2)
        run(tmp_path / name, plan, train=train, validation=validation)
        history = (tmp_path / name / "history.jsonl").read_text().splitlines()
        rows[name] = [json.loads(line) for line in history]
    features = [row["validation_embedding_rmse"] for row in rows["matching"]]
    assert features[-1] < 0.85 * features[0]  # 0.74 of it where this was written
    assert rows["matching"][-1]["validation_force_rmse"] < 1.5 * rows["plain"][-1]["validation_force_rmse"]


def test_the_metric_is_measured_in_validations(tmp_path):
    run(tmp_path, MATCHING, train=TRAIN, validation=VALIDATION)
    header = (tmp_path / "history.csv").read_text().splitlines()[0]
    assert "validation_embedding_rmse" in header
    module = trained(small(torch.float32), TERMS, loader(TRAIN))[0]
    batch = next(loader(VALIDATION, batch_size=12).all_in_order())
    with torch.no_grad():
        expected = float((module(batch.graph)[1] - batch.embeddings).square().mean().sqrt())
    found = evaluate(module, loader(VALIDATION), terms=TERMS)
    assert found["embedding_rmse"] == pytest.approx(expected, rel=1e-5)
    assert evaluate(module, loader(VALIDATION))["force_rmse"] == found["force_rmse"]


def test_the_projection_is_not_in_the_students_file(tmp_path):
    run(tmp_path / "matching", MATCHING, train=TRAIN, validation=VALIDATION)
    run(tmp_path / "plain", PLAN, train=TRAIN, validation=VALIDATION)
    ours, theirs = (load_file(tmp_path / name / "best.safetensors") for name in ("matching", "plain"))
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: tensor.shape for n, tensor in theirs.items()}
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)
    assert checkpoint.load(tmp_path / "matching" / "best.safetensors").n_parameters == small().n_parameters


class Crash(Listener):
    """Ends the process's work in the middle of a step."""

    def stepped(self, step: int) -> None:
        if step == 8:
            raise RuntimeError


def test_a_run_that_broke_off_ends_with_the_same_bytes(tmp_path):
    run(tmp_path / "whole", MATCHING, train=TRAIN, validation=VALIDATION)
    with pytest.raises(RuntimeError):
        run(tmp_path / "broken", MATCHING, train=TRAIN, validation=VALIDATION, listeners=[Crash()])
    run(tmp_path / "broken", MATCHING, train=TRAIN, validation=VALIDATION)
    assert_same_files(tmp_path / "whole", tmp_path / "broken")


def test_without_features_there_is_no_projection(tmp_path):
    data = MolecularDataset(TRAIN, properties={"energy", "forces"})
    module, loss = trained(small(), TERMS, exact(data))
    assert isinstance(module, Student)
    assert [term.kind for term in loss.terms] == ["energy", "forces"]
    unweighted = [EnergyTerm(), EmbeddingTerm(weight=0.0)]
    assert isinstance(trained(small(), unweighted, exact())[0], Student)
    run(tmp_path / "a", MATCHING, train=data, validation=data)
    run(tmp_path / "b", PLAN, train=data, validation=data)
    ours, theirs = (load_file(tmp_path / name / "last.safetensors") for name in ("a", "b"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_structures_none_of_which_has_features_are_trained_on(tmp_path):
    bare = TRAIN.subset(range(1, 44, 2))
    assert "embeddings" in bare.properties
    outcome = run(tmp_path, plan_with(MATCHING, n_steps=4), train=bare, validation=VALIDATION)
    assert np.isfinite(outcome.best_error)


def test_a_projection_depends_on_its_seed_alone():
    one, same, other = (Projected(small(), np.zeros(6), 1.0, seed=seed).projection.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_labels_of_an_assistant_go_through_a_store_into_a_training(tmp_path):
    model, frames = tmp_path / "assistant.safetensors", structures(6, 4)
    checkpoint.save(assistant().student, model, training={})
    writer = StoreWriter(tmp_path / "structures")
    writer.append(range(6), frames)
    store, plan = writer.seal(), LabelingPlan(properties=("energy", "forces", "embeddings"), chunk_size=4)
    settings = {"pool": LocalPool(1), "reporter": Silent()}
    teacher = StudentTeacherPlan(model=str(model))
    found = label(store, plan, teacher, path=tmp_path / "labels", **settings).store
    assert Store.open(found.path).widths == {"D": 6}
    expected = assistant().predict(frames, ["embeddings"])
    for one, other in zip(found.all_labels(), expected, strict=True):
        np.testing.assert_allclose(one.embeddings, other.embeddings, rtol=1e-6)
    data = MolecularDataset(found)
    run(tmp_path / "run", MATCHING, train=data, validation=data)
    assert (tmp_path / "run" / "best.safetensors").exists()


def test_a_teacher_without_features_is_refused(tmp_path):
    writer = StoreWriter(tmp_path / "structures")
    writer.append([0], structures(1, 4))
    plan = LabelingPlan(properties=("energy", "embeddings"))
    settings = {"pool": LocalPool(1), "reporter": Silent()}
    emt = ASEFactoryPlan(factory="ase.calculators.emt:EMT")
    with pytest.raises(PropertyError, match="cannot give embeddings; it gives"):
        label(writer.seal(), plan, emt, path=tmp_path / "labels", **settings)


def test_it_is_set_by_its_kind():
    plan = TrainingPlan.parse({"loss": [{"kind": "forces"}, {"kind": "embedding", "weight": 2}]}, where="training")
    assert plan.loss[1] == EmbeddingTerm(weight=2.0)
