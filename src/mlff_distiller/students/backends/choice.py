"""Which backend evaluates a student: the fastest that is here, checked against the eager network before it is used."""

import warnings
from inspect import signature
from typing import Any, Final, NamedTuple

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.core.errors import BackendError, DistillerError
from mlff_distiller.core.patience import patience
from mlff_distiller.core.registry import nearest
from mlff_distiller.students.backends import BACKENDS
from mlff_distiller.students.backends.backend import Backend, Eager
from mlff_distiller.students.self_check import canonical
from mlff_distiller.students.student import Student

_FASTEST: Final = {"cpu": ("kernel",), "cuda": ("triton",)}
"""What ``auto`` tries on each device before the eager network."""


_CALLS: Final = 3  # a backend may record its first calls and replay them later


class Choice(NamedTuple):
    """A backend and why it was taken.

    Parameters
    ----------
    backend : Backend
        What evaluates.
    reason : str
        A sentence for the user.
    """

    backend: Backend
    reason: str


def choose(student: Student, name: str = "auto", **settings: Any) -> Choice:
    """Return the backend of a name, or the fastest one that can evaluate a student here.

    Its forces on a chain of all elements must be those of the eager network. With ``auto``, one that cannot be used
    though it knows the student is left out with a warning.

    Parameters
    ----------
    student : Student
        On the device and in the precision of the evaluation.
    name : str
        A name in ``BACKENDS``, or ``"auto"``.
    **settings
        Of the named backend, such as ``n_threads`` of ``kernel``.

    Raises
    ------
    BackendError
        If the named one cannot be used or does not agree with the eager network.
    UnknownNameError
        If there is no backend of that name.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> choose(Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6})).reason
    'kernel: the fastest that is here for a painn on cpu'
    """
    if name != "auto":
        return Choice(_checked(student, name, settings), f"{name}: as asked")
    if settings:
        raise BackendError(
            f"{', '.join(settings)} is a setting of one backend, and 'auto' takes any; name it, for instance 'kernel'"
        )
    where = f"a {student.plan.kind} on {student.device.type}"
    obstacles = []
    for fast in _FASTEST.get(student.device.type, ()):
        if not BACKENDS.get(fast).knows(student):
            continue
        try:
            return Choice(_checked(student, fast, {}), f"{fast}: the fastest that is here for {where}")
        except DistillerError as error:
            obstacles.append(str(error))
            warnings.warn(f"the slower backend 'eager' is used: {error}", stacklevel=2)
    reason = "; ".join(obstacles) or f"there is no faster one for {where}"
    return Choice(Eager(student), f"eager: {reason}")


def _checked(student: Student, name: str, settings: dict[str, Any]) -> Backend:
    kind = BACKENDS.get(name)
    known = [setting for setting in signature(kind).parameters if setting != "student"]
    for setting in settings:
        if setting not in known:
            raise BackendError(
                f"backend '{name}' has no setting '{setting}'{nearest(setting, known)}; "
                f"it has {', '.join(known) or 'none'}"
            )
    try:
        with patience(f"the backend '{name}' is compiled for this machine: up to a minute, the first time only"):
            return _agreeing(student, name, kind(student, **settings))
    except DistillerError:
        raise
    except Exception as error:  # of compilers, drivers and libraries there is no complete list
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackendError(f"backend '{name}' does not work here ({first[:200]}); use backend='eager'") from error


def _agreeing(student: Student, name: str, backend: Backend) -> Backend:
    """Return a backend if its forces on a chain of all elements are those of the eager network."""
    if name == Eager.name:
        return backend
    structure = canonical(student.elements)
    graph = Graph.from_structures([structure], student.cutoff, dtype=student.dtype, device=student.device)
    expected = Eager(student).derive(graph).forces
    found = [backend.derive(graph).forces for _ in range(_CALLS)][-1]
    assert expected is not None
    assert found is not None
    apart = (found.double() - expected.double()).abs()
    apart[expected.isnan() & found.isnan()] = 0.0  # a broken student is broken in every backend
    error = float(apart.max())
    if not error <= backend.tolerance * max(1.0, float(expected.abs().nan_to_num().max())):
        raise BackendError(
            f"backend '{name}' differs from the eager network by {error:.1e} eV/Angstrom; use backend='eager', and "
            "report this with your processor and the versions of numba and torch"
        )
    return backend
