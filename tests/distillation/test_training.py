"""Training: it learns, it resumes to the same bytes, it stops when it should and says so when it cannot go on."""

import csv
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import CheckpointError, TrainingError
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.distillation.distill import distill, new_student
from mlff_distiller.distillation.evaluation import evaluate
from mlff_distiller.distillation.losses import Loss
from mlff_distiller.distillation.plan import LossPlan, TrainingPlan
from mlff_distiller.distillation.schedules import learning_rate
from mlff_distiller.distillation.state import TrainingState
from mlff_distiller.distillation.trainer import Trainer
from mlff_distiller.potentials.analytic import morse
from mlff_distiller.potentials.derivatives import derive
from mlff_distiller.students.checkpoint import load
from mlff_distiller.students.painn.plan import PaiNNPlan

TEACHER = morse(depth=2.0, width=1.5, distance=1.2, cutoff=3.0)
STUDENT = PaiNNPlan(preset="ultra-tiny", n_channels=16, cutoff=3.0)
PLAN = TrainingPlan(n_steps=40, batch_size=8, validation_interval=10, learning_rate=5e-3)


def clusters(n: int, seed: int, *, periodic: bool = False) -> MolecularDataset:
    rng = np.random.default_rng(seed)
    corners = 1.3 * np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])[: 8 if periodic else 5]
    cell = {"cell": 2.6 * np.eye(3), "pbc": True} if periodic else {}
    structures = [
        Structure(rng.choice([1, 6], len(corners)), corners + rng.normal(0, 0.08, corners.shape), **cell)
        for _ in range(n)
    ]
    return MolecularDataset.from_structures(structures, TEACHER.predict(structures, {"energy", "forces", "stress"}))


PAIR = Structure([1, 6], [[0, 0, 0], [0, 0, 1.1]])
TRAIN, VALIDATION = clusters(48, 0), clusters(16, 1)


def run(folder, plan=PLAN, *, train=TRAIN, validation=VALIDATION, seed=3, digest="d"):
    return distill(STUDENT, plan, train=train, validation=validation, folder=folder, seed=seed, digest=digest)


def loader(data: MolecularDataset, **settings) -> GraphLoader:
    return GraphLoader(data, **{"cutoff": 3.0, "batch_size": 8, "seed": 0} | settings)


def test_it_learns_energies_forces_and_stress(tmp_path):
    train, validation = clusters(32, 0, periodic=True), clusters(8, 1, periodic=True)
    plan = TrainingPlan(n_steps=150, batch_size=4, validation_interval=150, learning_rate=1e-2)
    outcome = run(tmp_path, plan, train=train, validation=validation)
    untrained = evaluate(new_student(STUDENT, train, seed=3), loader(validation))
    trained = evaluate(load(tmp_path / "best.safetensors"), loader(validation))
    assert trained.force_rmse == pytest.approx(outcome.best_error)
    for name in ("force_rmse", "energy_rmse_per_atom", "stress_rmse"):
        assert getattr(trained, name) < 0.3 * getattr(untrained, name), name


class Killed(Exception):
    pass


@pytest.mark.parametrize("killed_at", [1, 9, 10, 15, 25, 39])
def test_a_killed_run_ends_with_the_same_bytes(tmp_path, monkeypatch, killed_at):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(whole)
    step = Trainer._step

    def dying(self, number, batch):
        if number == killed_at:
            raise Killed
        return step(self, number, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", dying)
        with pytest.raises(Killed):
            run(broken)
    run(broken)
    for name in ("best.safetensors", "last.safetensors", "state.safetensors"):
        ours, theirs = load_file(whole / name), load_file(broken / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name


def test_a_run_with_batches_of_limited_atoms_continues_at_its_batch(tmp_path, monkeypatch):
    train = MolecularDataset.from_structures([*TRAIN.structures(), PAIR], [*TRAIN.all_labels(), Labels(energy=-1.0)])

    def trained(folder):
        batches = loader(train, batch_size=None, max_atoms=37)
        student = new_student(STUDENT, train, seed=3)
        return Trainer(student, PLAN, train=batches, validation=loader(VALIDATION), folder=folder, digest="d").run()

    entered, batches_of = [], GraphLoader.batches

    def noted(self, epoch, *, start=0):
        entered.append((epoch, start))
        return batches_of(self, epoch, start=start)

    step = Trainer._step

    def dying(self, number, batch):
        if number == 25:
            raise Killed
        return step(self, number, batch)

    trained(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", dying)
        with pytest.raises(Killed):
            trained(tmp_path / "broken")
    monkeypatch.setattr(GraphLoader, "batches", noted)
    trained(tmp_path / "broken")
    counts = [loader(train, batch_size=None, max_atoms=37).n_batches(epoch) for epoch in range(5)]
    epoch = next(k for k in range(5) if sum(counts[: k + 1]) >= 20)
    assert entered[0] == (epoch, 20 - sum(counts[:epoch]))  # where validation 20 was
    ours, theirs = (load_file(tmp_path / name / "state.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    rows = [json.loads(line) for line in (tmp_path / "broken" / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    assert rows[1]["epoch"] == pytest.approx(epoch + entered[0][1] / counts[epoch], abs=1e-3)


def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    first = run(tmp_path)
    monkeypatch.setattr(Trainer, "_step", lambda *_: pytest.fail("trained again"))
    assert run(tmp_path) == first


def test_a_state_of_other_settings_is_not_continued(tmp_path):
    run(tmp_path, PLAN.model_copy(update={"n_steps": 10}), digest="one")
    assert run(tmp_path, digest="two").n_steps == PLAN.n_steps
    assert json.loads((tmp_path / "history.jsonl").read_text().splitlines()[0])["step"] == 10


def test_a_damaged_state_is_said_in_one_sentence(tmp_path):
    run(tmp_path, PLAN.model_copy(update={"n_steps": 10}))
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:200])
    with pytest.raises(CheckpointError, match=r"state.safetensors is damaged.*delete it"):
        run(tmp_path)


def test_logs_are_readable_and_complete(tmp_path):
    run(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    table = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == [10, 20, 30, 40] == [int(row["step"]) for row in table]
    assert rows[-1]["epoch"] == pytest.approx(40 / 6, abs=1e-3)
    assert rows[-1]["validation_force_rmse"] == float(table[-1]["validation_force_rmse"])


def test_the_seed_decides(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tmp_path / name, PLAN.model_copy(update={"n_steps": 5}), seed=seed)
    a, b, c = (load_file(tmp_path / name / "last.safetensors")["network.readout.0.weight"] for name in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_early_stopping_waits_for_patience(tmp_path):
    plan = TrainingPlan(
        n_steps=1000, batch_size=8, validation_interval=1, patience=3, learning_rate=1e-9, ema_decay=0.0
    )
    frozen = clusters(8, 5)
    outcome = run(tmp_path, plan.model_copy(update={"learning_rate": 1e-30}), train=frozen, validation=frozen)
    assert outcome.stopped_early
    assert outcome.n_steps == outcome.best_step + 3


def test_divergence_is_said_and_the_last_good_state_kept(tmp_path):
    spoiled = MolecularDataset.from_structures(
        TRAIN.structures(), [*TRAIN.all_labels()[:-1], Labels(energy=1e38, forces=np.full((5, 3), 1e38))]
    )
    with pytest.raises(TrainingError, match=r"diverged at step \d+; lower training.learning_rate"):
        run(tmp_path, train=spoiled)
    assert list(tmp_path.glob("*.tmp")) == []


def test_labels_without_energy_or_weight_are_refused(tmp_path):
    bare = MolecularDataset(TRAIN, properties={"forces"})
    with pytest.raises(TrainingError, match="no training structure has an energy"):
        run(tmp_path, train=bare)
    nothing = LossPlan(energy_weight=0, force_weight=0, stress_weight=0)
    with pytest.raises(TrainingError, match="nothing to train on"):
        run(tmp_path, PLAN.model_copy(update={"loss": nothing}))


def test_missing_labels_do_not_count():
    full = clusters(4, 2, periodic=True)
    labels = full.all_labels()
    partial = MolecularDataset.from_structures(
        full.structures(), [labels[0], Labels(energy=labels[1].energy), labels[2], Labels()]
    )
    student = new_student(STUDENT, full, seed=1, dtype=torch.float64)
    rows = {"energy": [0, 1, 2], "forces": [0, 2], "stress": [0, 2]}
    for name, weight in (("energy", "energy_weight"), ("forces", "force_weight"), ("stress", "stress_weight")):
        plan = LossPlan(**{w: float(w == weight) for w in ("energy_weight", "force_weight", "stress_weight")})
        losses = []
        for data in (partial, full.subset(rows[name])):
            batch = next(loader(data, dtype=torch.float64, shuffle=False).batches(0))
            loss = Loss(plan, {"energy", "forces", "stress"}, scale=1.0)
            losses.append(float(loss(derive(student, batch.graph, loss.properties, create_graph=True), batch).detach()))
        assert losses[0] == pytest.approx(losses[1], rel=1e-12), name


def test_the_loss_is_what_the_plan_says():
    student = new_student(STUDENT, TRAIN, seed=1, dtype=torch.float64)
    batch = next(loader(TRAIN, dtype=torch.float64).batches(0))
    loss = Loss(LossPlan(energy_weight=2.0, force_weight=50.0), {"energy", "forces"}, scale=1.7)
    derived = derive(student, batch.graph, loss.properties, create_graph=True)
    energy = ((derived.energy - batch.energy) / 5 / 1.7).square().mean()
    forces = ((derived.forces - batch.forces) / 1.7).square().mean()
    assert float((loss(derived, batch) - 2 * energy - 50 * forces).detach()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_schedules_rise_to_the_peak_and_fall(schedule):
    plan = TrainingPlan(n_steps=1000, learning_rate=0.01, schedule=schedule, warmup_fraction=0.1)
    rates = np.array([learning_rate(plan, step) for step in range(1000)])
    peak = int(rates.argmax())
    assert rates.max() == pytest.approx(0.01)
    assert 90 <= peak <= 310
    assert (np.diff(rates[:peak]) >= 0).all()
    assert (np.diff(rates[peak + 1 :]) <= 0).all()
    assert rates[-1] < 2e-5


def test_an_empty_folder_has_no_state(tmp_path):
    assert TrainingState.load(tmp_path / "state.safetensors", digest="d") is None


def test_one_composition_in_two_charges_is_refused(tmp_path):
    ions = [Structure(s.numbers, s.positions, charge=1) for s in TRAIN.structures()[:2]]
    mixed = MolecularDataset.from_structures(
        [*TRAIN.structures(), *ions], [*TRAIN.all_labels(), *TRAIN.all_labels()[:2]]
    )
    with pytest.raises(TrainingError, match=r"occurs with charge \+0, spin 1 and with charge \+1.*cannot tell apart"):
        run(tmp_path, train=mixed)
