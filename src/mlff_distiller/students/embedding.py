"""Embedding: what a student sees in a structure, as a vector; near for structures that it takes as alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mlff_distiller.atoms.elements import names
from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PropertyError, UnsupportedStructureError
from mlff_distiller.students.student import Student


def energies_and_features(student: Student, graph: Graph) -> tuple[Tensor, Tensor]:
    """Return energies of atoms (N,), eV, and the scalar features that enter the readout (N, C), from one evaluation.

    Invariant under rotation, translation and permutation, as the energies are.

    Parameters
    ----------
    student : Student
        Its network ends in a part called ``readout``.
    graph : Graph
        The batch.

    Raises
    ------
    PropertyError
        If the network has no such part, or does not call it with one tensor (N, C).

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> student = Student(PaiNNPlan(preset="ultra-tiny"), {1: 0.0})
    >>> graph = Graph.from_structures([Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])], student.cutoff)
    >>> energies_and_features(student, graph)[1].shape
    torch.Size([2, 32])
    """
    seen: list[Any] = []

    def note(_: Any, inputs: tuple[Any, ...]) -> None:
        seen.extend(inputs)

    readout = getattr(student.network, "readout", None)
    handle = readout.register_forward_pre_hook(note) if isinstance(readout, nn.Module) else None
    try:
        energies: Tensor = student(graph)
    finally:
        if handle is not None:
            handle.remove()
    if len(seen) != 1 or seen[0].shape[:-1] != graph.numbers.shape:
        raise PropertyError(
            f"students of kind '{student.plan.kind}' give no features of atoms: their network needs a part called "
            "'readout' that is called once, with features (N, C)"
        )
    return energies, seen[0]


def embedding(student: Student, structures: Sequence[Structure], *, batch_size: int = 32) -> NDArray[np.float32]:
    """Return the mean over atoms of the scalar features that enter the readout (S, C).

    Invariant under rotation, translation and permutation, and size-intensive, as the features are.

    Parameters
    ----------
    student : Student
        Trained on structures of these elements; its network ends in a part called ``readout``.
    structures : sequence of Structure
        S structures.
    batch_size : int
        Structures that are evaluated at a time.

    Raises
    ------
    UnsupportedStructureError
        If a structure holds an element that the student does not cover.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> student = Student(PaiNNPlan(preset="ultra-tiny"), {1: 0.0})
    >>> embedding(student, [Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])]).shape[0]
    1
    """
    unknown = {int(z) for s in structures for z in np.unique(s.numbers)} - set(student.elements)
    if unknown:
        raise UnsupportedStructureError(f"the student does not cover {names(unknown)}; use another descriptor")
    with torch.no_grad():
        return np.concatenate(
            [_means(student, structures[k : k + batch_size]) for k in range(0, len(structures), batch_size)]
        )


def _means(student: Student, structures: Sequence[Structure]) -> NDArray[np.float32]:
    graph = Graph.from_structures(structures, student.cutoff, dtype=student.dtype, device=student.device)
    _, features = energies_and_features(student, graph)
    sums = torch.zeros(graph.n_systems, features.shape[1], dtype=torch.float64, device=student.device)
    sums.index_add_(0, graph.system, features.double())
    counts = torch.bincount(graph.system, minlength=graph.n_systems).unsqueeze(1)
    means: NDArray[np.float32] = (sums / counts).float().cpu().numpy()
    return means
