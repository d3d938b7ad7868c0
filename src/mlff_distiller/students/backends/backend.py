"""Backend: one way to evaluate a student; every one gives the numbers of the eager network, only faster."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import ClassVar

import torch

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.potentials.derivatives import Derived, derive
from mlff_distiller.students.student import Student


class Backend(ABC):
    """Energies of a student and their derivatives, for one graph at a time.

    Parameters
    ----------
    student : Student
        What is evaluated, on its device and in its precision; it must not change afterwards.

    Attributes
    ----------
    name : str
        As in ``StudentCalculator(path, backend=name)``.

    Raises
    ------
    BackendError
        If this student cannot be evaluated so; :meth:`obstacle` says why.
    """

    name: ClassVar[str]

    def __init__(self, student: Student) -> None:
        self.student = student

    @classmethod
    def knows(cls, student: Student) -> bool:
        """Whether it is made for students of this kind at all; here, for every kind."""
        return True

    @classmethod
    @abstractmethod
    def obstacle(cls, student: Student) -> str:
        """Return why a student cannot be evaluated so here, with the next step; empty if it can."""

    @property
    def tolerance(self) -> float:
        """How far forces may be from those of the eager network, relative to 1 eV/Angstrom or the largest of them."""
        return 1e-4 if self.student.dtype == torch.float32 else 1e-8

    @abstractmethod
    def derive(self, graph: Graph, properties: Collection[str] = ("energy", "forces")) -> Derived:
        """Return energies and what is asked for; see :func:`~mlff_distiller.potentials.derivatives.derive`.

        Parameters
        ----------
        graph : Graph
            Structures of elements that the student covers, on its device and in its precision, all pairs within the
            cutoff in both directions, sorted by center.
        properties : collection of str
            ``"forces"`` and ``"stress"``; energies are always there.
        """


class Eager(Backend):
    """The network as it is written, run by torch: the definition that all others are compared with.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> student = Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6})
    >>> graph = Graph.from_structures([Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])], student.cutoff)
    >>> Eager(student).derive(graph).forces.shape
    torch.Size([2, 3])
    """

    name = "eager"

    @classmethod
    def obstacle(cls, student: Student) -> str:
        """Return nothing: this one is always there."""
        return ""

    def derive(self, graph: Graph, properties: Collection[str] = ("energy", "forces")) -> Derived:
        """Return energies and what is asked for; see :meth:`Backend.derive`."""
        return derive(self.student, graph, properties)
