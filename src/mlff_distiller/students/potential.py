"""StudentPotential: a trained student behind the Potential contract."""

import hashlib
from collections.abc import Collection
from functools import cached_property, partial
from typing import Any

import torch

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.labels import EMBEDDINGS, SINGLE
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.provenance import digest
from mlff_distiller.potentials.base import Identity
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.derivatives import Derived, Evaluation
from mlff_distiller.potentials.graph_potential import GraphPotential
from mlff_distiller.students.backends.choice import Choice, choose
from mlff_distiller.students.embedding import energies_and_features
from mlff_distiller.students.student import Student


class StudentPotential(GraphPotential):
    """A student as a Potential: energy, forces, stress, atomic energies and embeddings for batches of structures.

    Embeddings are the scalar features of each atom that enter the readout.

    Parameters
    ----------
    student : Student
        Trained student; its elements, and the charges and spins it was trained in, bound what may be asked.
    batching : Batching, optional
        How many atoms are evaluated at once.
    backend : str
        What evaluates: ``"auto"`` takes the fastest that is here; see
        :func:`~mlff_distiller.students.backends.choice.choose`.
    **settings
        Of the backend that is named, such as ``n_threads`` of ``"kernel"``.

    Raises
    ------
    BackendError
        If the backend that is named cannot evaluate the student here.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> potential = StudentPotential(Student(PaiNNPlan(preset="ultra-tiny"), {1: 0.0}))
    >>> potential.predict([Structure([6], [[0, 0, 0]])])
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.UnsupportedStructureError: C holds C, which student (painn ...) does not cover; ...
    """

    properties = frozenset(SINGLE + EMBEDDINGS)

    def __init__(
        self, student: Student, *, batching: Batching | None = None, backend: str = "auto", **settings: Any
    ) -> None:
        self.student = student.eval().requires_grad_(False)
        self.charges = frozenset(student.charges)
        self.spins = frozenset(spin for _, spin in student.states.values()) or None
        super().__init__(
            student,
            cutoff=student.cutoff,
            elements=student.elements,
            identity=Identity(
                "student",
                f"{student.plan.kind} with {student.n_parameters:,} parameters",
                _digest(student),
                str(student.dtype).removeprefix("torch."),
                torch.device(student.device).type,
            ),
            dtype=student.dtype,
            device=student.device,
            batching=batching,
        )
        self._asked = backend, settings
        if backend != "auto":
            self.choice  # noqa: B018 - what cannot be used is said now

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the backend, which holds threads and machine code; a copy makes its own."""
        return {name: value for name, value in vars(self).items() if name != "choice"}

    @cached_property
    def choice(self) -> Choice:
        """The backend that evaluates, and why this one; made when it is first needed."""
        name, settings = self._asked
        return choose(self.student, name, **settings)

    def _derive(self, graph: Graph, properties: Collection[str]) -> Derived:
        if "embeddings" in properties:
            return super()._derive(graph, properties)
        return self.choice.backend.derive(graph, properties)

    def _evaluation(self, properties: Collection[str]) -> Evaluation:
        return partial(energies_and_features, self.student) if "embeddings" in properties else self.student

    def _uncovered(self, structure: Structure) -> tuple[str, str] | None:
        return super()._uncovered(structure) or self._other_state(structure)

    def _other_state(self, structure: Structure) -> tuple[str, str] | None:
        """Return charge and spin if the composition was seen in training, but in others."""
        if not self._has_states:
            return None
        charge, spin = self.student.states.get(structure.formula, (structure.charge, structure.spin))
        if (charge, spin) == (structure.charge, structure.spin):
            return None
        return (
            f"has charge {structure.charge:+d} and spin multiplicity {structure.spin}",
            f"it learned this composition with charge {charge:+d} and spin multiplicity {spin}",
        )

    @cached_property
    def _has_states(self) -> bool:
        """Whether charges and spins alone do not say it; with one state for all, formulas need not be made."""
        return len(set(self.student.states.values())) > 1


def _digest(student: Student) -> str:
    tensors = {name: tensor.double().cpu().numpy() for name, tensor in student.state_dict().items()}
    weights = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in tensors.items()}
    settings = [student.plan.model_dump(mode="json"), student.scale, student.neighbor_norm, student.elements]
    return digest([*settings, weights])
