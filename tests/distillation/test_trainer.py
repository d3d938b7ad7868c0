"""Training: it learns, it stops when it should, and says so when it cannot go on."""

import csv
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_tasks import PAIR, PLAN, STUDENT, TRAIN, VALIDATION, clusters, energies_only, loader, plan_with, run
from training_tasks import structures as disturbed

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError, DistillerError, TrainingError
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.distillation.distill import Task, distill
from mlff_distiller.distillation.evaluation import evaluate
from mlff_distiller.distillation.events import Listener, ProgressBar
from mlff_distiller.distillation.initial import new_student
from mlff_distiller.distillation.state import TrainingState
from mlff_distiller.distillation.trainer import Trainer
from mlff_distiller.students.checkpoint import load
from mlff_distiller.students.painn.plan import PaiNNPlan


def test_it_learns_energies_forces_and_stress(tmp_path):
    train, validation = clusters(32, 0, periodic=True), clusters(8, 1, periodic=True)
    student = PaiNNPlan(preset="ultra-tiny", n_channels=16, cutoff=3.0)
    loss = [{"kind": "energy", "weight": 100}, {"kind": "forces"}, {"kind": "stress"}]
    plan = plan_with(n_steps=150, batch_size=4, validation_interval=150, learning_rate=1e-2, loss=loss)
    outcome = run(tmp_path, plan, train=train, validation=validation, student=student)
    untrained = evaluate(new_student(student, train, seed=3), loader(validation))
    trained = evaluate(load(tmp_path / "best.safetensors"), loader(validation))
    assert trained["force_rmse"] == pytest.approx(outcome.best_error)
    for name in ("force_rmse", "energy_rmse_per_atom", "stress_rmse"):
        assert trained[name] < 0.3 * untrained[name], name


def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    first = run(tmp_path)
    monkeypatch.setattr(Trainer, "step", lambda *_: pytest.fail("trained again"))
    assert run(tmp_path) == first


def test_a_state_of_other_settings_is_not_continued(tmp_path):
    run(tmp_path, plan_with(n_steps=6), digest="one")
    assert run(tmp_path, digest="two").n_steps == PLAN.n_steps
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 4


def test_logs_are_readable_and_complete(tmp_path):
    run(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    table = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == [6, 12, 18, 24] == [int(row["step"]) for row in table]
    assert rows[-1]["epoch"] == pytest.approx(24 / 6, abs=1e-3)
    assert rows[-1]["validation_force_rmse"] == float(table[-1]["validation_force_rmse"])


def test_the_seed_decides(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tmp_path / name, plan_with(n_steps=5), seed=seed)
    a, b, c = (load_file(tmp_path / name / "last.safetensors")["network.readout.0.weight"] for name in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_early_stopping_waits_for_patience(tmp_path):
    plan = plan_with(n_steps=1000, validation_interval=1, patience=3, learning_rate=1e-30, ema_decay=0.0)
    outcome = run(tmp_path, plan, train=TRAIN.subset(range(8)), validation=TRAIN.subset(range(8)))
    assert outcome.stopped_early
    assert outcome.n_steps == outcome.best_step + 3
    assert run(tmp_path, plan, train=TRAIN.subset(range(8)), validation=TRAIN.subset(range(8))) == outcome


def test_an_exploding_loss_is_said_and_a_lower_rate_goes_on(tmp_path, monkeypatch):
    move = Trainer._move

    def exploding(self, state):
        move(self, state)
        if state.step >= 9:
            self.flat.values.data *= 1e30

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_move", exploding)
        with pytest.raises(
            TrainingError, match=r"diverged at step 10 \(the student gives no finite.* of 5 atoms, whose"
        ):
            run(tmp_path)
    assert TrainingState.load(tmp_path / "state.safetensors", digest="d").step == 6
    assert load(tmp_path / "best.safetensors").n_parameters
    assert run(tmp_path, plan_with(learning_rate=1e-4)).n_steps == PLAN.n_steps
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert rows[0]["learning_rate"] > 10 * rows[1]["learning_rate"]  # it went on, it did not begin anew


def test_a_gradient_that_is_not_finite_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "mlff_distiller.distillation.step.EagerStep.__call__",
        lambda self, weights, factors, batch: (torch.zeros_like(factors), torch.full_like(weights, torch.nan)),
    )
    sentence = (
        r"diverged at step 0 \(the gradient of the loss is not finite\); lower training.learning_rate \(now 0.005\)"
    )
    with pytest.raises(TrainingError, match=sentence):
        run(tmp_path)


@pytest.mark.parametrize("what", ["training", "validation"])
def test_labels_that_are_not_finite_are_found_before_training(tmp_path, what):
    labels = TRAIN.all_labels()
    labels[7] = Labels(energy=labels[7].energy, forces=np.full((5, 3), np.nan))
    spoiled = MolecularDataset.from_structures(TRAIN.structures(), labels)
    sets = {"train": spoiled} if what == "training" else {"validation": spoiled}
    with pytest.raises(DistillerError, match=rf"labels of {what} structure 7 \(.*\) are not finite numbers; run"):
        run(tmp_path, **sets)
    assert not list(tmp_path.iterdir())


def test_an_energy_that_is_not_finite_is_found_before_training(tmp_path):
    labels = [*TRAIN.all_labels()[:-1], Labels(energy=float("inf"))]
    with pytest.raises(DistillerError, match="the energy of structure 43 is not finite; remove it"):
        run(tmp_path, train=MolecularDataset.from_structures(TRAIN.structures(), labels))


@pytest.mark.parametrize("n_writes", [1, 5, 6, 9])
def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_space(tmp_path, monkeypatch, n_writes):
    written = 0
    from pathlib import Path

    write = Path.write_bytes

    def full(self, content):
        nonlocal written
        written += 1
        if written >= n_writes:
            write(self, content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        return write(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(DistillerError, match=r"cannot write .* \(No space left on device\); check permissions and"):
            run(tmp_path / "full")
    assert not list((tmp_path / "full").glob(".*"))
    run(tmp_path / "full")
    run(tmp_path / "whole")
    for name in ("best.safetensors", "state.safetensors"):
        ours, theirs = load_file(tmp_path / "full" / name), load_file(tmp_path / "whole" / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_death_of_a_worker_of_the_loader_is_said(tmp_path, monkeypatch):
    def steps(self, epoch, *, start=0):
        raise DataError("a worker process of the loader died (killed by signal 9); run again with fewer n_workers")
        yield

    monkeypatch.setattr(GraphLoader, "steps", steps)
    with pytest.raises(DataError, match="a worker process of the loader died"):
        run(tmp_path)


def test_labels_without_energy_or_weight_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="no training structure has an energy"):
        run(tmp_path, train=MolecularDataset(TRAIN, properties={"forces"}))
    with pytest.raises(TrainingError, match="nothing to train on"):
        run(tmp_path, plan_with(loss=[{"kind": "energy", "weight": 0}]))


def test_a_validation_set_without_labels_or_structures_is_refused(tmp_path):
    bare = MolecularDataset.from_structures(VALIDATION.structures())
    with pytest.raises(TrainingError, match="the validation set has no labels to choose the best student by"):
        run(tmp_path, validation=bare)
    mixed = MolecularDataset.from_structures(TRAIN.structures(), [*TRAIN.all_labels()[:-1], Labels()])
    with pytest.raises(TrainingError, match="no structure of the validation set has a label"):
        run(tmp_path, validation=mixed.subset([len(mixed) - 1]))
    with pytest.raises(DistillerError, match="empty"):
        run(tmp_path, validation=VALIDATION.subset([]))


def test_sets_of_other_widths_are_refused(tmp_path):
    train, validation = (
        MolecularDataset.from_structures([PAIR], [Labels(energy=-1.0, embeddings=np.ones((2, n)))]) for n in (4, 5)
    )
    said = r"embeddings have 4 features in the training set and 5 in the validation set, but a data set holds one"
    with pytest.raises(DataError, match=said):
        run(tmp_path, train=train, validation=validation)


ODD = {
    "one structure": TRAIN.subset([0]),
    "fewer structures than a batch": TRAIN.subset(range(3)),
    "no edges": energies_only([Structure([z], [[0, 0, 0]]) for z in (1, 6, 1)]),
    "far apart": energies_only([Structure([1, 6], [[0, 0, 0], [0, 0, 9.0 + k]]) for k in range(3)]),
    "energies alone": MolecularDataset(TRAIN, properties={"energy"}),
    "labels of several kinds": MolecularDataset.from_structures(
        [*TRAIN.structures()[:4], PAIR, *disturbed(2, 9, periodic=True)],
        [*TRAIN.all_labels()[:3], Labels(forces=np.ones((5, 3))), Labels(energy=-1.0), Labels(), Labels(energy=2.0)],
    ),
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_odd_data_are_trained_on(tmp_path, data):
    outcome = run(tmp_path, plan_with(n_steps=4, validation_interval=2), train=data, validation=data)
    assert outcome.n_steps == 4
    assert np.isfinite(outcome.best_error)
    tensors = load_file(tmp_path / "best.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_listeners_are_told_everything_in_order(tmp_path):
    told = []

    class Recorder(Listener):
        def began(self, n_steps, step, history):
            told.append(("began", n_steps, step, len(history)))

        def stepped(self, step):
            told.append(("stepped", step))

        def validated(self, history):
            told.append(("validated", history[-1]["step"]))

        def ended(self):
            told.append(("ended",))

    run(tmp_path, plan_with(n_steps=3, validation_interval=2), listeners=[Recorder()])
    steps = [("stepped", 1), ("validated", 2), ("stepped", 2), ("validated", 3), ("stepped", 3)]
    assert told == [("began", 3, 0, 0), *steps, ("ended",)]


class Notes:
    """A reporter that remembers its bars."""

    def __init__(self):
        self.bars, self.messages = [], []

    def start(self, title, total, *, done=0):
        self.bars.append((title, total, done))
        return lambda n=1, *, note="": self.bars.append((n, note))

    def message(self, text):
        self.messages.append(text)


def test_the_bar_moves_with_steps_and_shows_errors():
    notes = Notes()
    bar = ProgressBar("training tiny", notes)
    bar.began(10, 4, [])
    bar.stepped(5)
    bar.validated([{"step": 6, "validation_force_rmse": 0.0412, "validation_energy_rmse_per_atom": None}])
    bar.stepped(6)
    bar.noted("compiling")
    assert notes.bars == [("training tiny", 10, 4), (1, ""), (1, "F 41 meV/Å")]
    assert notes.messages == ["  training tiny: compiling"]


def test_batches_of_limited_edges_continue_at_their_batch(tmp_path):
    plan = plan_with(batch_edges=90)
    data = MolecularDataset.from_structures([*TRAIN.structures(), PAIR], [*TRAIN.all_labels(), Labels(energy=-1.0)])
    run(tmp_path / "whole", plan, train=data)

    class Stop(Listener):
        def stepped(self, step):
            if step == 15:
                raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        run(tmp_path / "broken", plan, train=data, listeners=[Stop()])
    run(tmp_path / "broken", plan, train=data)
    ours, theirs = (load_file(tmp_path / name / "state.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_one_composition_in_two_charges_is_refused(tmp_path):
    ions = [Structure(s.numbers, s.positions, charge=1) for s in TRAIN.structures()[:2]]
    mixed = MolecularDataset.from_structures(
        [*TRAIN.structures(), *ions], [*TRAIN.all_labels(), *TRAIN.all_labels()[:2]]
    )
    with pytest.raises(TrainingError, match=r"occurs with charge \+0, spin 1 and with charge \+1.*cannot tell apart"):
        distill(Task(STUDENT, PLAN, mixed, VALIDATION), tmp_path)
