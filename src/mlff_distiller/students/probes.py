"""Probes of the contract: derivatives of a student's energy by other ways than the one that users take."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.potentials.derivatives import derive
from mlff_distiller.students.student import Student

Floats = NDArray[np.float64]

STEPS: Final = (-2, -1, 1, 2)
"""Where :func:`slope` wants its values, in steps."""


def slope(values: Sequence[float] | Floats, step: float) -> Floats:
    """Return the first derivative to fourth order, from values (4, ...) at :data:`STEPS`.

    Examples
    --------
    >>> round(float(slope([(1 + 0.1 * n) ** 4 for n in STEPS], 0.1)), 9)
    4.0
    """
    weights = np.array([1, -8, 8, -1]) / 12
    found: Floats = np.tensordot(weights, np.asarray(values, dtype=np.float64), 1) / step
    return found


def graph_of(student: Student, structures: Sequence[Structure], *, skin: float = 0.0) -> Graph:
    """Return the batch as this student would see it, with a neighbor list that may reach further (Angstrom)."""
    return Graph.from_structures(structures, student.cutoff + skin, dtype=student.dtype, device=student.device)


def hessian(student: Student, structure: Structure) -> Floats:
    """Return the second derivatives (3N, 3N) by two gradients with respect to positions, eV/Angstrom^2.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> student = Student(PaiNNPlan(preset="ultra-tiny"), {1: 0.0}).double()
    >>> hessian(student, Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])).shape
    (6, 6)
    """
    graph = graph_of(student, [structure])
    moves = torch.zeros(len(structure), 3, dtype=student.dtype, requires_grad=True)
    vectors = graph.vectors + moves[graph.neighbors] - moves[graph.centers]
    (gradient,) = torch.autograd.grad(student(graph.with_vectors(vectors)).sum(), moves, create_graph=True)
    rows = [torch.autograd.grad(component, moves, retain_graph=True)[0] for component in gradient.flatten()]
    found: Floats = torch.stack(rows).flatten(1).numpy()
    return found


def pull(student: Student, distance: float) -> Floats:
    """Return energy, its first and its second derivative when H is at a distance (Angstrom) from the C of CO.

    The oxygen lies on the far side, so that hydrogen comes within the cutoff of carbon first.
    """
    way = np.array([0.6, 0.0, 0.8])
    structure = Structure([6, 8, 1], [0 * way, -1.2 * way, distance * way])
    graph = graph_of(student, [structure])
    stretch = torch.zeros((), dtype=student.dtype, requires_grad=True)
    moves = torch.stack([0 * stretch, 0 * stretch, stretch]).unsqueeze(1) * torch.from_numpy(way)
    vectors = graph.vectors + moves[graph.neighbors] - moves[graph.centers]
    energy = student(graph.with_vectors(vectors)).sum()
    (first,) = torch.autograd.grad(energy, stretch, create_graph=True)
    (second,) = torch.autograd.grad(first, stretch)
    return np.array([energy.item(), first.item(), second.item()])


def along(parameter: Tensor, way: Tensor, function: Callable[[], Tensor], *, step: float) -> float:
    """Return the derivative of a function along a direction of a parameter, which is left as it was."""
    kept, values = parameter.detach().clone(), []
    for n in STEPS:
        with torch.no_grad():
            parameter.copy_(kept + n * step * way)
        values.append(float(function().detach()))
    with torch.no_grad():
        parameter.copy_(kept)
    return float(slope(values, step))


def energies_and_forces(student: Student) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return energies (S,) and forces (N, 3) as a function of tensors alone, as :func:`arguments` gives them."""

    def function(weights: dict[str, Tensor], *batch: Tensor) -> tuple[Tensor, Tensor]:
        numbers, system, edges, vectors, like = batch
        graph = Graph(numbers, system, edges[0], edges[1], vectors, like.shape[0])
        derived = derive(lambda graph: functional_call(student, weights, graph), graph)
        assert derived.forces is not None
        return derived.energy, derived.forces

    return function


def arguments(student: Student, structures: Sequence[Structure]) -> tuple[dict[str, Tensor] | Tensor, ...]:
    """Return weights and batch as tensors; the number of structures is the length of the last."""
    weights = {name: tensor.detach() for name, tensor in [*student.named_parameters(), *student.named_buffers()]}
    graph = graph_of(student, structures)
    edges = torch.stack([graph.centers, graph.neighbors])
    return weights, graph.numbers, graph.system, edges, graph.vectors, torch.zeros(graph.n_systems)
