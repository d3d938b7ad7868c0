"""From labeled structures and an architecture to a trained student."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.core.console import Reporter, Silent
from mlff_distiller.core.errors import TrainingError
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.data.statistics import Statistics
from mlff_distiller.distillation.events import Listener, ProgressBar, Row, TensorBoard
from mlff_distiller.distillation.initial import continued_student, new_student
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.distillation.trainer import Outcome, Trainer
from mlff_distiller.distillation.world import World
from mlff_distiller.students import checkpoint
from mlff_distiller.students.plan import StudentPlan
from mlff_distiller.students.record import Domain, TrainingRecord, shortest_distances
from mlff_distiller.students.student import Student


@dataclass(frozen=True, eq=False)
class Task:
    """What is trained on what.

    Parameters
    ----------
    student : StudentPlan
        Architecture.
    plan : TrainingPlan
        Settings of the run.
    train, validation : MolecularDataset
        Disjoint sets; the second chooses the best weights.
    seed : int
        Seed of weights and order.
    digest : str
        Of everything the result depends on.
    data_digest : str
        Of the training data, for the student's file.
    teacher : dict
        Identity of the potential that made the labels, for the student's file.
    """

    student: StudentPlan
    plan: TrainingPlan
    train: MolecularDataset
    validation: MolecularDataset
    seed: int = 1
    digest: str = ""
    data_digest: str | None = None
    teacher: dict[str, str] | None = None


def distill(
    task: Task,
    folder: Path,
    *,
    title: str = "training",
    reporter: Reporter | None = None,
    listeners: Sequence[Listener] = (),
    world: World | None = None,
) -> Outcome:
    """Train a student; the best one is left in ``folder / "best.safetensors"``.

    Called again with the same ``digest`` after an interruption, it continues from the last saved state.

    Parameters
    ----------
    task : Task
        Student, settings and data.
    folder : Path
        Where the files go.
    title : str
        Title of the progress bar.
    reporter : Reporter, optional
        Where progress is shown.
    listeners : sequence of Listener
        Who else is told of validations.
    world : World, optional
        Processes that train together.

    Raises
    ------
    TrainingError
        If there is nothing to train on, a label is not a finite number, or training diverges.
    """
    plan, world = task.plan, world or World()
    device = plan.chosen_device(world.local_rank)
    student = initial_student(task).to(device)
    settings: dict[str, Any] = {"cutoff": student.cutoff, "seed": task.seed, "dtype": student.dtype, "device": device}
    settings |= {"share": (world.rank, world.size), "micro_edges": plan.edges_at_once}
    limit: dict[str, Any] = {"max_edges": plan.batch_edges} if plan.batch_edges else {"batch_size": plan.batch_size}
    train = GraphLoader(task.train, **limit, **settings)
    record = _record(task, student.cutoff)
    smallest = task.train.subset(np.argsort(task.train.sizes, kind="stable")[:3]).structures()

    def save(student: Student, path: Path, row: Row) -> None:
        metrics = {name: value for name, value in row.items() if name.startswith("validation_")}
        own = record.model_copy(update={"metrics": metrics})
        checkpoint.save(student, path, training=row, record=own, references=smallest)

    shown: list[Listener] = [ProgressBar(title, reporter or Silent())]
    shown += [TensorBoard(folder)] if plan.tensorboard else []
    trainer = Trainer(
        student,
        plan,
        train=train,
        validation=GraphLoader(task.validation, batch_size=64, shuffle=False, **settings),
        folder=folder,
        digest=task.digest,
        save=save,
        listeners=[*shown, *listeners],
        world=world,
    )
    return trainer.run()


def initial_student(task: Task) -> Student:
    """Return the student that the training of a task begins with: new, or going on from another.

    Raises
    ------
    TrainingError
        If the student to go on from has other settings, or the data give no reference energies.
    """
    dtype = getattr(torch, task.plan.dtype)
    if task.plan.start_from is None:
        return new_student(task.student, task.train, seed=task.seed, dtype=dtype)
    start = checkpoint.load(task.plan.start_from, dtype=torch.float64)
    unbounded = {"shortest_distance": None}  # is measured anew, in the old data and the new
    if start.plan.model_copy(update=unbounded) != task.student.model_copy(update=unbounded):
        raise TrainingError(
            f"{task.plan.start_from} is a student of other settings than the one to train; "
            "give the student the settings that `mlffd info` shows for that file, or leave out training.start_from"
        )
    return continued_student(start, task.train, seed=task.seed, dtype=dtype)


def _record(task: Task, cutoff: float) -> TrainingRecord:
    """Return what the student's file says of its training data.

    Raises
    ------
    TrainingError
        If a label is not a finite number.
    """
    train = task.train
    found = Statistics.of(train)
    for data, what in ((train, "training"), (task.validation, "validation")):
        if (found if data is train else Statistics.of(data)).n_not_finite:
            raise TrainingError(_first_not_finite(data, what))
    loader = GraphLoader(train, cutoff=cutoff, batch_size=64, seed=0, shuffle=False)
    n_atoms: Counter[str] = Counter()
    for system, energies in found.systems.items():
        n_atoms.update({SYMBOLS[z]: n * energies.n_structures for z, n in system.counts})
    domain = Domain(
        n_structures=len(train),
        n_atoms=n_atoms,
        shortest_distances=shortest_distances(batch.graph for batch in loader.all_in_order()),
        force_rms=found.force_rms,
        force_max=found.force_max,
        energy_per_atom_range=found.energy_range,
    )
    return TrainingRecord(data_digest=task.data_digest, teacher=task.teacher, domain=domain)


def _first_not_finite(data: MolecularDataset, what: str) -> str:
    row, structure = next((row, s) for row, (s, labels) in enumerate(data) if not labels.is_finite)
    return (
        f"the labels of {what} structure {row} ({structure.formula}) are not finite numbers; "
        "run `mlffd data check` on the data and leave such structures out"
    )
