"""Trainees: who is trained in a run, on what, and in which order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mlff_distiller.data.splits.plan import SplitPlan
from mlff_distiller.distillation.plan import AssistantPlan, TrainingPlan
from mlff_distiller.recipes.run_directory import Asking
from mlff_distiller.students.plan import StudentPlan


class Trained(Asking, Protocol):
    """What every recipe says about training: one that begins with a teacher, and one that begins with data."""

    @property
    def seed(self) -> int:
        """Seed of everything random."""

    @property
    def split(self) -> SplitPlan:
        """What is held out."""

    @property
    def students(self) -> dict[str, Any]:
        """Architectures by name."""

    @property
    def training(self) -> TrainingPlan:
        """How they are trained."""

    @property
    def assistants(self) -> dict[str, AssistantPlan]:
        """Who helps whom, by the name of the smaller student."""

    @property
    def origin(self) -> dict[str, Any]:
        """What a student's file says of where its labels come from."""

    def labels(self, folder: Path) -> Path:
        """Return the store of labels of the run in a folder."""


@dataclass(frozen=True)
class Trainee:
    """One student to train.

    Attributes
    ----------
    name : str
        Its name.
    student : StudentPlan
        Architecture.
    training : TrainingPlan
        Settings.
    assistant : AssistantPlan or None
        Who labels more structures for it.
    on_reference : bool
        Whether it is trained on reference data alone: the baseline of another one.
    """

    name: str
    student: StudentPlan
    training: TrainingPlan
    assistant: AssistantPlan | None = None
    on_reference: bool = False


def trainees(recipe: Trained) -> list[Trainee]:
    """Return all who are trained, assistants before those they help."""
    plan = recipe.training
    found = [
        Trainee(name, recipe.students[name], plan, recipe.assistants.get(name))
        for name in training_order(recipe.students, recipe.assistants)
    ]
    if plan.reference_data is None or not plan.baseline:
        return found
    scratch = plan.model_copy(update={"start_from": None})
    return found + [Trainee(f"{name}-baseline", recipe.students[name], scratch, None, True) for name in recipe.students]


def training_order(students: Iterable[str], assistants: Mapping[str, AssistantPlan]) -> list[str]:
    """Return names of students such that an assistant comes before those it helps.

    Raises
    ------
    ValueError
        If an assistant or a helped student is not there, or they help each other in a circle.

    Examples
    --------
    >>> training_order(["small", "large"], {"small": AssistantPlan(student="large")})
    ['large', 'small']
    """
    waiting = list(students)
    for name, plan in assistants.items():
        for who in (name, plan.student):
            if who not in waiting:
                raise ValueError(f"assistants: there is no student '{who}'; known: {', '.join(waiting)}")
    order: list[str] = []
    while waiting:
        ready = [n for n in waiting if n not in assistants or assistants[n].student in order]
        if not ready:
            raise ValueError(f"assistants: {' and '.join(waiting)} wait for each other; leave one of them out")
        order += ready
        waiting = [name for name in waiting if name not in ready]
    return order


def check_trainees(students: Sequence[str], assistants: Mapping[str, AssistantPlan], training: TrainingPlan) -> None:
    """Check that assistants can help and that names of baselines are free.

    Raises
    ------
    ValueError
        With what is wrong; the validation of a recipe makes a sentence of it.
    """
    training_order(students, assistants)
    taken = {f"{name}-baseline" for name in students} & set(students)
    if taken and training.reference_data is not None and training.baseline:
        raise ValueError(f"students: '{min(taken)}' is the name of a baseline; give the student another name")
