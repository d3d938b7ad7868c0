"""Trainer: steps an optimizer, averages the weights, validates, keeps the best student, and can stop anywhere."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from mlff_distiller.core.errors import TrainingError
from mlff_distiller.data.columns import common_widths
from mlff_distiller.data.loading.batch import Batch
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.distillation.choice import choose_step
from mlff_distiller.distillation.diagnosis import what_is_not_finite
from mlff_distiller.distillation.evaluation import ALWAYS, Errors, evaluate, selection
from mlff_distiller.distillation.events import HistoryFiles, Listener, Row
from mlff_distiller.distillation.flat import FlatParameters
from mlff_distiller.distillation.interruption import stop_requests
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.distillation.projection import trained
from mlff_distiller.distillation.schedules import learning_rate
from mlff_distiller.distillation.state import TrainingState
from mlff_distiller.distillation.step import EagerStep, Step
from mlff_distiller.distillation.world import World
from mlff_distiller.students.student import Student

Save = Callable[[Student, Path, Row], None]
"""Writes a student to a file, with the validation that it comes from."""


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
    the learning rate of step and history, and nothing else is random: a run that was killed and continued ends with
    the same bytes as one that was not. Of several processes that train together, the first alone reads and writes.

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
    save : callable
        Writes a student's file.
    listeners : sequence of Listener
        Who is told what happens.
    world : World, optional
        Processes that train together.

    Raises
    ------
    TrainingError
        If no label has a loss weight above zero, or there is nothing to validate with.
    DataError
        If Hessians or embeddings of the two sets differ in their widths.
    """

    def __init__(  # noqa: PLR0913 - what a run consists of
        self,
        student: Student,
        plan: TrainingPlan,
        *,
        train: GraphLoader,
        validation: GraphLoader,
        folder: Path,
        digest: str,
        save: Save,
        listeners: Sequence[Listener] = (),
        world: World | None = None,
    ) -> None:
        self.student, self.plan, self.folder, self.digest, self.save = student, plan, folder, digest, save
        self.train_batches, self.validation, self.world = train, validation, world or World()
        self.listeners: list[Listener] = [HistoryFiles(folder), *listeners] if self.world.rank == 0 else []
        common_widths({"the training set": train.dataset.widths, "the validation set": validation.dataset.widths})
        self.module, self.loss = trained(student, plan.loss, train)
        if not self.loss.terms:
            raise TrainingError("nothing to train on: no label has a loss weight above zero; see training.loss")
        if not {term.matches for term in ALWAYS} & validation.properties:
            raise TrainingError("the validation set has no labels to choose the best student by; label its structures")
        self.flat = FlatParameters(self.module)
        self.optimizers = plan.optimizer.build(self.flat, plan.learning_rate)
        self.average = self.flat.values.detach().clone()
        self.seen = torch.zeros(2, dtype=torch.float64)  # losses since the last validation: their sum and number

    @cached_property
    def compute(self) -> Step:
        """What gives the gradient; compiled, if that pays, when it is first asked for."""
        return choose_step(
            EagerStep(self.module, self.loss, mixed_precision=self.plan.mixed_precision),
            self.plan,
            weights=self.flat.values,
            train=self.train_batches,
            world=self.world,
            tell=lambda text: self._tell(lambda listener: listener.noted(text)),
        )

    def run(self) -> Outcome:
        """Train to the end, or continue to it.

        Asked to end by Ctrl-C or SIGTERM, it finishes the step it is in and saves the state.

        Raises
        ------
        TrainingError
            If the loss is no longer a finite number; the last good state stays on disk.
        KeyboardInterrupt
            If it was asked to end; the message says where it stopped.
        """
        state = self._resumed()
        self._tell(lambda listener: listener.began(self.plan.n_steps, state.step, state.history))
        try:
            with stop_requests() as asked_to_stop:
                if not self._is_finished(state):
                    self._train(state, asked_to_stop)
        finally:
            self._tell(lambda listener: listener.ended())
        return Outcome(state.best_step, state.best_error, state.step, state.step < self.plan.n_steps)

    def _train(self, state: TrainingState, asked_to_stop: Callable[[], bool]) -> None:
        began = time.monotonic() - state.elapsed_s
        saved = time.monotonic()
        for epoch, number, parts in self._batches(state.epoch, state.batch):
            is_due = time.monotonic() - saved >= self.plan.state_interval_s
            is_due, stops = self.step(parts, state, is_due, asked_to_stop())
            state.epoch, state.batch = epoch, number + 1
            state.elapsed_s = time.monotonic() - began
            validates = state.step % self.plan.validation_interval == 0 or state.step == self.plan.n_steps
            if validates:
                self._validate(state)
            self._tell(lambda listener: listener.stepped(state.step))
            if validates or is_due or stops:
                self._keep(state)
                saved = time.monotonic()
            if self._is_finished(state):
                return
            if stops:
                raise KeyboardInterrupt(
                    f"training stopped at step {state.step} of {self.plan.n_steps}, which is saved; "
                    "run the same command again to continue"
                )

    def _batches(self, epoch: int, start: int) -> Iterator[tuple[int, int, list[Batch]]]:
        """Yield epoch, number in the epoch, and the parts of a batch, from one batch of an epoch on, without end."""
        for current in itertools.count(epoch):
            for number, parts in enumerate(self.train_batches.steps(current, start=start), start):
                yield current, number, [part for part in parts if part.graph.n_systems]
            start = 0

    def step(self, parts: Sequence[Batch], state: TrainingState, *flags: bool) -> list[bool]:
        """Take one optimizer step.

        Parameters
        ----------
        parts : sequence of Batch
            Structures of this process; there may be none.
        state : TrainingState
            Where the run is; its step is counted on.
        *flags : bool
            What this process would like to do after the step, which all must do together.

        Returns
        -------
        list of bool
            Whether any process would like to, for each of the flags.

        Raises
        ------
        TrainingError
            If the gradient is not finite.
        """
        counts, wishes = self._agreed(parts, flags)
        factors = self.loss.factors(counts, progress=state.step / self.plan.n_steps)
        sums, gradient = torch.zeros_like(factors), self.flat.gradient.zero_()
        for part in parts:
            part_sums, part_gradient = self.compute(self.flat.values, factors, part)
            sums += part_sums
            gradient += part_gradient
        norm = torch.linalg.vector_norm(self.world.sum(gradient))
        if not math.isfinite(norm):
            raise TrainingError(self._why_it_diverged(parts, state))
        gradient *= (self.plan.gradient_clip / (norm + 1e-6)).clamp(max=1.0)
        self._move(state)
        loss = (self.world.sum(sums) * factors).sum().cpu()
        self.seen += torch.stack([loss, torch.ones_like(loss)])
        state.step += 1
        return wishes

    def _agreed(self, parts: Sequence[Batch], flags: Sequence[bool]) -> tuple[Tensor, list[bool]]:
        """Return what the terms compare in all processes together, and which flags any of them has: one exchange."""
        counts = torch.zeros(len(self.loss.terms), dtype=torch.float64, device=self.student.device)
        for part in parts:
            counts += self.loss.counts([part])
        together = self.world.sum(torch.cat([counts, counts.new_tensor(flags)]))
        return together[: len(counts)], [value > 0 for value in together[len(counts) :].tolist()]

    def _move(self, state: TrainingState) -> None:
        """Let the optimizers act on the gradient, and the average follow."""
        rate = learning_rate(self.plan, state.step, state.errors)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        decay = min(self.plan.ema_decay, (1 + state.step) / (10 + state.step))  # short memory while the weights run
        self.average.lerp_(self.flat.values.detach(), 1 - decay)

    def _why_it_diverged(self, parts: Sequence[Batch], state: TrainingState) -> str:
        causes = self.world.collect(what_is_not_finite(self.module, parts))
        cause = next(filter(None, causes), "the gradient of the loss is not finite")
        return (
            f"training diverged at step {state.step} ({cause}); lower training.learning_rate "
            f"(now {self.plan.learning_rate:g}) and run again; what was saved before is kept in {self.folder}"
        )

    def _validate(self, state: TrainingState) -> None:
        weights = self.flat.values.detach().clone()
        self.flat.set(self.average)
        errors = evaluate(self.module, self.validation, terms=self.loss.terms, world=self.world)
        if not math.isfinite(selection(errors)):
            raise TrainingError(_without_errors(errors, state.step, self.folder))
        rate = learning_rate(self.plan, state.step - 1, state.errors)
        state.history.append(
            {
                "step": state.step,
                "epoch": round(state.epoch + state.batch / self.train_batches.n_batches(state.epoch), 3),
                "train_loss": float(self.seen[0] / self.seen[1]),
                **{f"validation_{metric}": error for metric, error in errors.items()},
                "learning_rate": rate,
                "elapsed_s": round(state.elapsed_s, 2),
            }
        )
        state.errors.append(selection(errors))
        self.seen.zero_()
        if self.world.rank == 0:
            for name in ("last", "best") if state.best_step == state.step else ("last",):
                self.save(self.student, self.folder / f"{name}.safetensors", state.history[-1])
        self.flat.set(weights)
        self._tell(lambda listener: listener.validated(state.history))

    def _keep(self, state: TrainingState) -> None:
        """Write the state: weights, averages, moments of the optimizers, and the losses since the last validation."""
        if self.world.rank == 0:
            state.kept = {
                "weights": self.flat.values,
                "average": self.average,
                "seen": self.seen,
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            }
            state.save(self.folder / "state.safetensors", digest=self.digest)

    def _resumed(self) -> TrainingState:
        """Return where all processes go on, which is what the first of them finds on its disk."""
        digests = self.world.collect(self.digest)
        if set(digests) != {self.digest}:
            other = next(rank for rank, digest in enumerate(digests) if digest != digests[0])
            raise TrainingError(
                f"process {other} has other settings or data than process 0; "
                "give all machines the same command and the same files, on a shared disk or copied to each"
            )
        path = self.folder / "state.safetensors"
        state = self.world.agree(TrainingState.load(path, digest=self.digest) if self.world.rank == 0 else None)
        if state is None:
            return TrainingState()
        kept = state.kept
        self.flat.set(kept["weights"])
        self.average.copy_(kept["average"])
        self.seen.copy_(kept["seen"])
        for optimizer, values in zip(self.optimizers, kept["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        return state

    def _is_finished(self, state: TrainingState) -> bool:
        return state.step >= self.plan.n_steps or state.n_waited >= self.plan.patience

    def _tell(self, what: Callable[[Listener], None]) -> None:
        for listener in self.listeners:
            what(listener)


def _without_errors(errors: Errors, step: int, folder: Path) -> str:
    if all(error is None for error in errors.values()):
        return "no structure of the validation set has a label to choose the best student by; label them"
    return (
        f"training diverged before step {step} (the validation error is not finite); lower training.learning_rate "
        f"and run again; what was saved before is kept in {folder}"
    )
