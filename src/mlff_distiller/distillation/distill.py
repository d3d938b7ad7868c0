"""From labeled structures and an architecture to a trained student."""

import math
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from mlff_distiller.core.console import Reporter
from mlff_distiller.core.errors import TrainingError
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.data.statistics import Statistics, System, mean_neighbors
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.distillation.trainer import Outcome, Trainer
from mlff_distiller.students.student import Student


def new_student(plan: Any, train: MolecularDataset, *, seed: int, dtype: torch.dtype = torch.float32) -> Student:
    """Return an untrained student whose reference energies, scale and normalization come from the training set.

    Parameters
    ----------
    plan : Plan
        Architecture.
    train : MolecularDataset
        Training set.
    seed : int
        Seed of the initial weights.
    dtype : torch.dtype
        Precision.

    Raises
    ------
    TrainingError
        If no label holds an energy, or one composition occurs with two charges or spins.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> from mlff_distiller.atoms.labels import Labels
    >>> from mlff_distiller.atoms.structure import Structure
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])
    >>> data = MolecularDataset.from_structures([h2], [Labels(energy=-31.0)])
    >>> new_student(PaiNNPlan(preset="tiny"), data, seed=1).elements
    (1,)
    """
    found = Statistics.of(train)
    if not found.properties["energy"]:
        raise TrainingError("no training structure has an energy, which reference energies need; label energies too")
    _check_states(found.systems)
    student = Student(
        plan,
        found.reference_energies(),
        charges=sorted({system.charge for system in found.systems}),
        scale=found.force_rms or 1.0,
        neighbor_norm=math.sqrt(max(1.0, mean_neighbors(train, plan.cutoff))),
        seed=seed,
    )
    return student.to(dtype=dtype)


def _check_states(systems: Iterable[System]) -> None:
    """Refuse one composition in two charges or spins: a student sees only elements, and would learn their average."""
    for first, second in pairwise(sorted(systems)):
        if first.counts == second.counts:
            raise TrainingError(
                f"{first.formula} occurs with charge {first.charge:+d}, spin {first.spin} and with charge "
                f"{second.charge:+d}, spin {second.spin}, which a student cannot tell apart; train a student for each"
            )


def distill(  # noqa: PLR0913 - what a run consists of
    student_plan: Any,
    plan: TrainingPlan,
    *,
    train: MolecularDataset,
    validation: MolecularDataset,
    folder: Path,
    seed: int,
    digest: str,
    title: str = "training",
    reporter: Reporter | None = None,
) -> Outcome:
    """Train a student; the best one is left in ``folder / "best.safetensors"``.

    Called again with the same ``digest`` after an interruption, it continues from the last validation.

    Parameters
    ----------
    student_plan : Plan
        Architecture.
    plan : TrainingPlan
        Settings of the run.
    train, validation : MolecularDataset
        Disjoint sets; the second chooses the best weights.
    folder : Path
        Where the files go.
    seed : int
        Seed of weights and order.
    digest : str
        Of everything the result depends on.
    title : str
        Title of the progress bar.
    reporter : Reporter, optional
        Where progress is shown.

    Raises
    ------
    TrainingError
        If there is nothing to train on or training diverges.
    """
    dtype = getattr(torch, plan.dtype)
    student = new_student(student_plan, train, seed=seed, dtype=dtype)
    settings: dict[str, Any] = {"cutoff": student_plan.cutoff, "seed": seed, "dtype": dtype}
    trainer = Trainer(
        student,
        plan,
        train=GraphLoader(train, batch_size=plan.batch_size, **settings),
        validation=GraphLoader(validation, batch_size=64, shuffle=False, **settings),
        folder=folder,
        digest=digest,
    )
    return trainer.run(title=title, reporter=reporter)
