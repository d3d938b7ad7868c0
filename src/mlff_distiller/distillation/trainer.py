"""Trainer: AdamW on energies, forces and stress, with an averaged student, validation and exact resume."""

import csv
import io
import itertools
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from mlff_distiller.core.console import Reporter, Silent
from mlff_distiller.core.errors import TrainingError
from mlff_distiller.core.files import write_text
from mlff_distiller.data.loading.batch import Batch
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.distillation.evaluation import Errors, evaluate
from mlff_distiller.distillation.losses import Loss
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.distillation.schedules import learning_rate
from mlff_distiller.distillation.state import FlatParameters, TrainingState
from mlff_distiller.potentials.derivatives import derive
from mlff_distiller.students import checkpoint
from mlff_distiller.students.student import Student


@dataclass(frozen=True)
class Outcome:
    """How a training run ended: the best validation and why it stopped."""

    best_step: int
    best_error: float
    n_steps: int
    stopped_early: bool


class Trainer:
    """Trains one student in one folder.

    The folder holds ``state.safetensors`` (to continue), ``best.safetensors`` and ``last.safetensors`` (students,
    averaged weights), ``history.jsonl`` and ``history.csv``. The order of batches is a function of seed and epoch,
    the learning rate of the step, and nothing else is random: a run that was killed and continued ends with the
    same bytes as one that was not.

    Parameters
    ----------
    student : Student
        Untrained, or trained before.
    plan : TrainingPlan
        Settings.
    train, validation : GraphLoader
        Batches.
    folder : Path
        Where the files go.
    digest : str
        Of everything the result depends on; a state with another digest is not continued.
    """

    def __init__(
        self,
        student: Student,
        plan: TrainingPlan,
        *,
        train: GraphLoader,
        validation: GraphLoader,
        folder: Path,
        digest: str,
    ) -> None:
        self.student, self.plan, self.folder, self.digest = student, plan, folder, digest
        self.train_batches, self.validation = train, validation
        self.loss = Loss(plan.loss, train.properties, scale=student.scale)
        if not self.loss.properties:
            raise TrainingError("nothing to train on: no label has a loss weight above zero; see training.loss")
        self.flat = FlatParameters(student)
        self.optimizer = torch.optim.AdamW([self.flat.values], weight_decay=plan.weight_decay, fused=True)
        self.average = self.flat.values.detach().clone()

    def run(self, *, title: str = "training", reporter: Reporter | None = None) -> Outcome:
        """Train to the end, or continue to it.

        Raises
        ------
        TrainingError
            If the loss is no longer a finite number; the last good state stays on disk.
        """
        state = self._resume()
        plan, began = self.plan, time.monotonic() - state.elapsed_s
        advance = (reporter or Silent()).start(title, plan.n_steps, done=state.step)
        losses = torch.zeros((), dtype=torch.float64)
        steps = range(state.step, plan.n_steps)
        for step, (epoch, number, batch) in zip(steps, self._batches(state.epoch, state.batch), strict=False):
            if self._is_out_of_patience(state):
                break
            losses += self._step(step, batch)
            if (step + 1) % plan.validation_interval == 0 or step + 1 == plan.n_steps:
                n_new = step + 1 - state.step
                state.step, state.epoch, state.batch = step + 1, epoch, number + 1
                state.elapsed_s = time.monotonic() - began
                self._validate(state, train_loss=float(losses) / n_new)
                advance(n_new, note=_note(state))
                losses.zero_()
        return Outcome(state.best_step, state.best_error, state.step, state.step < plan.n_steps)

    def _batches(self, epoch: int, start: int) -> Iterator[tuple[int, int, Batch]]:
        """Yield epoch, number in the epoch, and batch, from one batch of an epoch on, epoch after epoch."""
        for current in itertools.count(epoch):
            for number, batch in enumerate(self.train_batches.batches(current, start=start), start):
                yield current, number, batch
            start = 0

    def _step(self, step: int, batch: Batch) -> torch.Tensor:
        flat, plan = self.flat, self.plan
        assert flat.values.grad is not None
        flat.values.grad.zero_()
        loss = self.loss(derive(self.student, batch.graph, self.loss.properties, create_graph=True), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.linalg.vector_norm(flat.values.grad)
        if not math.isfinite(norm):
            raise TrainingError(
                f"training diverged at step {step}; lower training.learning_rate (now {plan.learning_rate:g}) "
                "and run again"
            )
        flat.values.grad.mul_((plan.gradient_clip / (norm + 1e-6)).clamp(max=1.0))
        self.optimizer.param_groups[0]["lr"] = learning_rate(plan, step)
        self.optimizer.step()
        decay = min(plan.ema_decay, (1 + step) / (10 + step))  # short memory while the weights still run
        self.average.lerp_(flat.values.detach(), 1 - decay)
        return loss.detach()

    def _validate(self, state: TrainingState, *, train_loss: float) -> None:
        weights = self.flat.values.detach().clone()
        self.flat.values.data.copy_(self.average)
        errors = evaluate(self.student, self.validation)
        state.history.append(self._row(state, train_loss, errors))
        checkpoint.save(self.student, self.folder / "last.safetensors", training=state.history[-1])
        if errors.selection < state.best_error:
            state.best_step, state.best_error = state.step, errors.selection
            checkpoint.save(self.student, self.folder / "best.safetensors", training=state.history[-1])
        self.flat.values.data.copy_(weights)
        state.tensors = self._tensors()
        state.save(self.folder / "state.safetensors", digest=self.digest)
        self._write_history(state)

    def _row(self, state: TrainingState, train_loss: float, errors: Errors) -> dict[str, float | int | None]:
        return {
            "step": state.step,
            "epoch": round(state.epoch + state.batch / self.train_batches.n_batches(state.epoch), 3),
            "train_loss": train_loss,
            "validation_force_rmse": errors.force_rmse,
            "validation_energy_rmse_per_atom": errors.energy_rmse_per_atom,
            "validation_stress_rmse": errors.stress_rmse,
            "learning_rate": learning_rate(self.plan, state.step - 1),
            "elapsed_s": round(state.elapsed_s, 2),
        }

    def _is_out_of_patience(self, state: TrainingState) -> bool:
        waited = [row for row in state.history if row["step"] > state.best_step]
        return len(waited) >= self.plan.patience

    def _tensors(self) -> dict[str, torch.Tensor]:
        moments = self.optimizer.state[self.flat.values]
        return {
            "weights": self.flat.values.detach().clone(),
            "average": self.average.clone(),
            "first_moment": moments["exp_avg"].clone(),
            "second_moment": moments["exp_avg_sq"].clone(),
        }

    def _resume(self) -> TrainingState:
        state = TrainingState.load(self.folder / "state.safetensors", digest=self.digest)
        if state is None:
            return TrainingState()
        tensors = state.tensors
        self.flat.values.data.copy_(tensors["weights"])
        self.average.copy_(tensors["average"])
        self.optimizer.state[self.flat.values] = {
            "step": torch.tensor(float(state.step)),
            "exp_avg": tensors["first_moment"].clone(),
            "exp_avg_sq": tensors["second_moment"].clone(),
        }
        return state

    def _write_history(self, state: TrainingState) -> None:
        rows = state.history
        write_text(self.folder / "history.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        table = io.StringIO()
        writer = csv.DictWriter(table, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.folder / "history.csv", table.getvalue())


def _note(state: TrainingState) -> str:
    row = state.history[-1]
    force, energy = row["validation_force_rmse"], row["validation_energy_rmse_per_atom"]
    parts = [f"F {1e3 * force:.0f} meV/Å"] if force is not None else []
    parts += [f"E {1e3 * energy:.1f} meV/atom"] if energy is not None else []
    return " ".join(parts)
