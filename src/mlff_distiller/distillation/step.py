"""One optimizer step's gradient: eager, or traced as a whole and compiled for this machine."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.data.loading.batch import Batch
from mlff_distiller.distillation.losses.loss import Loss
from mlff_distiller.distillation.losses.term import TermPlan


class Step(Protocol):
    """Sums of the loss terms over a batch, and the gradient of their weighted sum."""

    def __call__(self, weights: Tensor, factors: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return sums (T,) and the gradient (P,).

        Parameters
        ----------
        weights : (P,)
            All parameters of the student behind each other.
        factors : (T,) float64
            What each sum is multiplied with in the loss.
        batch : Batch
            A batch, or a part of one.
        """


class EagerStep:
    """The definition: autograd, operation by operation.

    Parameters
    ----------
    student : nn.Module
        Gives atomic energies of a graph, alone or with features of atoms; its own parameters are not used, only their
        names and shapes.
    loss : Loss
        What is differentiated.
    mixed_precision : bool
        Let torch run matrix products in bfloat16.

    Examples
    --------
    >>> from mlff_distiller.atoms.labels import Labels
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.loading.dataset import MolecularDataset
    >>> from mlff_distiller.data.loading.loader import GraphLoader
    >>> from mlff_distiller.distillation.flat import FlatParameters
    >>> from mlff_distiller.distillation.plan import TrainingPlan
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> from mlff_distiller.students.student import Student
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])
    >>> data = MolecularDataset.from_structures([h2], [Labels(energy=-31.0)])
    >>> batch = next(GraphLoader(data, cutoff=5.0, batch_size=1, seed=0).batches(0))
    >>> student = Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6})
    >>> loss, weights = Loss(TrainingPlan().loss, {"energy"}, scale=1.0), FlatParameters(student).values.detach()
    >>> sums, gradient = EagerStep(student, loss)(weights, torch.ones(1), batch)
    >>> gradient.shape == weights.shape
    True
    """

    def __init__(self, student: nn.Module, loss: Loss, *, mixed_precision: bool = False) -> None:
        self._student, self._loss, self._mixed = student, loss, mixed_precision
        self._buffers = dict(student.named_buffers())
        self._shapes = {name: parameter.shape for name, parameter in student.named_parameters()}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        self._scales = loss.scales.to(next(student.parameters()).device)

    def __call__(self, weights: Tensor, factors: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return sums and gradient; see :class:`Step`."""
        return self.pure(weights, factors, batch, self.buffers)

    def pure(self, weights: Tensor, factors: Tensor, batch: Batch, buffers: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return sums and gradient as a function of tensors alone."""
        weights = weights.detach().requires_grad_()
        views = [
            part.view(shape)
            for part, shape in zip(torch.split(weights, self._sizes), self._shapes.values(), strict=True)
        ]
        *own, scales = buffers
        state = dict(zip(self._shapes, views, strict=True)) | dict(zip(self._buffers, own, strict=True))

        def evaluation(graph: Graph) -> Tensor | tuple[Tensor, Tensor]:
            found: Tensor | tuple[Tensor, Tensor] = functional_call(self._student, state, (graph,))
            return found

        with torch.enable_grad(), self._precision(weights):
            sums = self._loss.sums(evaluation, batch, scales)
            (gradient,) = torch.autograd.grad((sums * factors).sum(), weights)
        return sums.detach(), gradient

    def _precision(self, weights: Tensor) -> AbstractContextManager[object]:
        return torch.autocast(weights.device.type, torch.bfloat16) if self._mixed else nullcontext()

    @property
    def buffers(self) -> list[Tensor]:
        """What the student holds besides its parameters, and the scales of the loss."""
        return [*self._buffers.values(), self._scales]

    @property
    def terms(self) -> tuple[TermPlan, ...]:
        """Terms of the loss."""
        return self._loss.terms
