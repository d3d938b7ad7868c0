"""From labeled structures and an architecture to a trained student."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Reporter
from mlff_distiller.core.errors import TrainingError
from mlff_distiller.data.loader import GraphLoader
from mlff_distiller.data.statistics import fit_reference_energies, force_rms, mean_neighbors
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.distillation.trainer import Outcome, Trainer
from mlff_distiller.students.student import Student


@dataclass(frozen=True, eq=False)
class LabeledSet:
    """Structures and their labels, in step."""

    structures: Sequence[Structure]
    labels: Sequence[Labels]


def new_student(plan: Any, train: LabeledSet, *, seed: int, dtype: torch.dtype = torch.float32) -> Student:
    """Return an untrained student whose reference energies, scale and normalization come from the training set.

    Parameters
    ----------
    plan : Plan
        Architecture.
    train : LabeledSet
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
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])
    >>> new_student(PaiNNPlan(preset="tiny"), LabeledSet([h2], [Labels(energy=-31.0)]), seed=1).elements
    (1,)
    """
    energies = [(s, label.energy) for s, label in zip(train.structures, train.labels, strict=True)]
    known = [(structure, energy) for structure, energy in energies if energy is not None]
    if not known:
        raise TrainingError("no training structure has an energy, which reference energies need; label energies too")
    _check_states(train.structures)
    has_forces = any(label.forces is not None for label in train.labels)
    scale = force_rms(train.labels) if has_forces else 1.0
    student = Student(
        plan,
        fit_reference_energies([structure for structure, _ in known], [energy for _, energy in known]),
        charges=sorted({structure.charge for structure in train.structures}),
        scale=scale if scale > 0 else 1.0,
        neighbor_norm=math.sqrt(max(1.0, mean_neighbors(train.structures, plan.cutoff))),
        seed=seed,
    )
    return student.to(dtype=dtype)


def _check_states(structures: Sequence[Structure]) -> None:
    """Refuse one composition in two charges or spins: a student sees only elements, and would learn their average."""
    known: dict[str, tuple[int, int]] = {}
    for structure in structures:
        state = (structure.charge, structure.spin)
        first = known.setdefault(structure.formula, state)
        if first != state:
            raise TrainingError(
                f"{structure.formula} occurs with charge {first[0]:+d}, spin {first[1]} and with charge {state[0]:+d}, "
                f"spin {state[1]}, which a student cannot tell apart; train a student for each"
            )


def distill(  # noqa: PLR0913 - what a run consists of
    student_plan: Any,
    plan: TrainingPlan,
    *,
    train: LabeledSet,
    validation: LabeledSet,
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
    train, validation : LabeledSet
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
        train=GraphLoader(train.structures, train.labels, batch_size=plan.batch_size, **settings),
        validation=GraphLoader(validation.structures, validation.labels, batch_size=64, shuffle=False, **settings),
        folder=folder,
        digest=digest,
    )
    return trainer.run(title=title, reporter=reporter)
