"""Loss: the weighted sum of its terms over a batch that may be in parts."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from mlff_distiller.data.loading.batch import Batch
from mlff_distiller.distillation.losses.term import TermPlan
from mlff_distiller.potentials.derivatives import Evaluation, derive


class Loss:
    """Weighted sum of means, in units of the training set's force scale.

    Parameters
    ----------
    terms : sequence of TermPlan
        Those of weight zero, and those whose labels are not there, are left out.
    properties : collection of str
        What the labels hold.
    scale : float
        RMS force of the training set, eV/Angstrom.
    scales : mapping of str to float, optional
        By what errors of other labels are divided; all that depend on the energy go by its scale.
    n_parameters : int
        Size of the student, for terms that depend on it.

    Examples
    --------
    >>> from mlff_distiller.distillation.plan import TrainingPlan
    >>> [term.kind for term in Loss(TrainingPlan().loss, {"energy", "forces"}, scale=1.3).terms]
    ['energy', 'forces']
    """

    def __init__(
        self,
        terms: Sequence[TermPlan],
        properties: Collection[str],
        *,
        scale: float,
        scales: Mapping[str, float] | None = None,
        n_parameters: int = 0,
    ) -> None:
        terms = [term.balanced(n_parameters) for term in terms]
        self.terms = tuple(term for term in terms if term.matches in properties and term.weight > 0)
        units = [(scales or {}).get(term.matches, scale) for term in self.terms]
        self.scales = torch.tensor(units, dtype=torch.float64)
        matched = {term.matches for term in self.terms}
        self._derived = matched & {"forces", "stress"}
        self._wants_hessian = "hessian_products" in matched

    def sums(self, atomic_energies: Evaluation, batch: Batch, scales: Tensor | None = None) -> Tensor:
        """Return the sum of each term over a batch (T,), in float64, ready to be differentiated.

        ``scales`` (T,) are those of :attr:`scales`, where these must be an input of a program.
        """
        scales = self.scales.to(batch.n_atoms.device) if scales is None else scales
        directions = batch.hessian_directions if self._wants_hessian else None
        derived = derive(atomic_energies, batch.graph, self._derived, create_graph=True, directions=directions)
        totals = [term.total(derived, batch, scale=scales[row]) for row, term in enumerate(self.terms)]
        return torch.stack([total.double() for total in totals])

    def counts(self, batches: Sequence[Batch]) -> Tensor:
        """Return how many numbers each term compares in the parts of a batch together (T,), in float64."""
        counts = [torch.stack([term.count(batch).double() for term in self.terms]) for batch in batches]
        return torch.stack(counts).sum(0)

    def factors(self, counts: Tensor, *, progress: float) -> Tensor:
        """Return what each sum is multiplied with (T,): its weight over the number of things it compares."""
        weights = torch.tensor([term.weight_at(progress) for term in self.terms], dtype=torch.float64)
        return weights.to(counts.device) / counts.clamp(min=1)
