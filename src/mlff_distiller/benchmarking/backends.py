"""A student by one of its backends, ready to be timed."""

from typing import Any

from mlff_distiller.benchmarking.turns import torch_threads
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.student import Student


def ready(student: Student, backend: str, n_threads: int) -> StudentPotential:
    """Return a student with a backend that is ready to be called and uses so many threads.

    Raises
    ------
    BackendError
        If it cannot be used.
    UnknownNameError
        If there is no backend of that name.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> ready(Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6}), "kernel", 2).choice.backend.n_threads
    2
    """
    settings: dict[str, Any] = {"n_threads": n_threads} if backend == "kernel" else {}
    with torch_threads(n_threads):  # compiled code keeps the number of threads it was compiled with
        potential = StudentPotential(student, backend=backend, **settings)
        potential.choice  # noqa: B018 - what "auto" takes is chosen with these threads
    return potential
