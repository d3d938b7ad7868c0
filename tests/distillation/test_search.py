"""Search: what its trials are made of; whole searches are run by the command line's tests."""

from training_tasks import STUDENT, TRAIN, VALIDATION, plan_with

from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.distillation.distill import Task
from mlff_distiller.distillation.search import changed, steps_per_s
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.student import Student


def test_steps_are_timed_with_whatever_the_loss_needs():
    assistant = StudentPotential(Student(STUDENT, {1: 0.0, 6: 0.0}), batching=Batching(10**6))
    frames = TRAIN.structures()
    data = MolecularDataset.from_structures(frames, assistant.predict(frames, ["energy", "forces", "embeddings"]))
    plan = plan_with(loss=[{"kind": "forces"}, {"kind": "embedding"}])
    assert steps_per_s(Task(STUDENT, plan, data, VALIDATION), 4) > 0


def test_a_batch_size_of_a_trial_replaces_a_limit_on_edges():
    found = changed(plan_with(batch_edges=500), {"batch_size": 4})
    assert (found.batch_size, found.batch_edges) == (4, None)
    assert changed(plan_with(batch_edges=500), {"learning_rate": 0.01}).batch_edges == 500
