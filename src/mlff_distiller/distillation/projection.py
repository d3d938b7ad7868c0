"""Projection: a student that is trained to see what its teacher sees, through a linear map that is thrown away."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.randomness import derived_seed
from mlff_distiller.data.blocks import blocks, has, owners
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.data.source import Source
from mlff_distiller.distillation.losses.loss import Loss
from mlff_distiller.distillation.losses.term import TermPlan
from mlff_distiller.students.embedding import energies_and_features
from mlff_distiller.students.student import Student


class Projected(nn.Module):
    """A student, and a linear map of its features to the teacher's.

    The map gives deviations from the means over the training set, in units of their root mean square: one unit for all
    features, since in units of its own each feature that hardly varies would count as much as those that tell atoms
    apart.

    Parameters
    ----------
    student : Student
        What is trained; its parameters are those of this module, but for the map's.
    means : (D,)
        Mean of each of the teacher's features.
    spread : float
        Root mean square of the deviations from these.
    seed : int
        Seed of the map.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> student = Student(PaiNNPlan(preset="ultra-tiny"), {1: 0.0})
    >>> graph = Graph.from_structures([Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])], student.cutoff)
    >>> energies, embeddings = Projected(student, np.zeros(64), 1.0, seed=1)(graph)
    >>> embeddings.shape
    torch.Size([2, 64])
    """

    def __init__(self, student: Student, means: NDArray[np.float64], spread: float, *, seed: int) -> None:
        super().__init__()
        self.student = student
        lone = Graph.from_structures(
            [Structure(student.elements[:1], np.zeros((1, 3)))],
            student.cutoff,
            dtype=student.dtype,
            device=student.device,
        )
        with torch.no_grad():
            n_features = energies_and_features(student, lone)[1].shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "projection"))
            projection = nn.Linear(n_features, len(means))
        self.projection = projection.to(student.device, student.dtype)
        self.register_buffer("means", torch.from_numpy(means).to(student.device, student.dtype))
        self.register_buffer("spread", torch.tensor(spread).to(student.device, student.dtype))
        self.means: Tensor
        self.spread: Tensor

    def forward(self, graph: Graph) -> tuple[Tensor, Tensor]:
        """Return energies of atoms (N,), eV, and what the teacher's features of them should be (N, D)."""
        energies, features = energies_and_features(self.student, graph)
        return energies, self.means + self.spread * self.projection(features)


def trained(student: Student, terms: Sequence[TermPlan], train: GraphLoader) -> tuple[nn.Module, Loss]:
    """Return the module whose parameters are trained, and its loss: the student, with a projection where it needs one.

    Parameters
    ----------
    student : Student
        The student.
    terms : sequence of TermPlan
        What the user asks for.
    train : GraphLoader
        Training set; its seed is that of the projection.

    Examples
    --------
    >>> from mlff_distiller.atoms.labels import Labels
    >>> from mlff_distiller.data.loading.dataset import MolecularDataset
    >>> from mlff_distiller.distillation.losses.embedding import EmbeddingTerm
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> atom, labels = Structure([1], [[0, 0, 0]]), Labels(energy=-13.6, embeddings=np.ones((1, 4)))
    >>> train = GraphLoader(MolecularDataset.from_structures([atom], [labels]), cutoff=5.0, batch_size=1, seed=0)
    >>> module, loss = trained(Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6}), [EmbeddingTerm()], train)
    >>> type(module).__name__, len(loss.terms)
    ('Projected', 1)
    """
    n_parameters = student.n_parameters
    loss = Loss(terms, train.properties, scale=student.scale, n_parameters=n_parameters)
    if not any(term.matches == "embeddings" for term in loss.terms):
        return student, loss
    means, spread = _statistics(train.dataset)
    module = Projected(student, means, spread, seed=train.seed)
    scales = {"embeddings": spread}
    return module, Loss(terms, train.properties, scale=student.scale, scales=scales, n_parameters=n_parameters)


def _statistics(source: Source) -> tuple[NDArray[np.float64], float]:
    """Return means of features over labeled atoms (D,), and their RMS deviation from these; 1 if all are alike.

    There may be no such atoms: those of a baseline, which shares a data set with what has them.
    """
    sums, squares, count = np.zeros(source.widths["D"]), 0.0, 0
    for _, columns in blocks(source):
        if "embeddings" in columns.arrays:
            rows = columns.arrays["embeddings"][has(columns, "embeddings")[owners(columns)]].astype(np.float64)
            sums, squares, count = sums + rows.sum(0), squares + float(np.square(rows).sum()), count + len(rows)
    means = sums / max(count, 1)
    whole = squares / max(count * len(means), 1)
    varying = whole - float(np.square(means).mean())
    return means, math.sqrt(varying) if varying > 1e-12 * whole else 1.0
