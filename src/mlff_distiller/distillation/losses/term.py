"""The contract of a loss term."""

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

from pydantic import Field

from mlff_distiller.core.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor

    from mlff_distiller.data.loading.batch import Batch
    from mlff_distiller.potentials.derivatives import Derived


_SMALL: Final = 50_000  # parameters
_LARGE: Final = 700_000


class TermPlan(Plan):
    """One thing that a student is asked to match; a frozen object without state, so that a step can be compiled.

    A term says what it compares with :attr:`matches`, how many numbers it compares in a batch with :meth:`count`, and
    what their losses add up to with :meth:`total`. Sums and counts are kept apart so that the mean over a batch is the
    same however the batch was cut: into parts, or over processes.
    """

    matches: ClassVar[str]
    """Label that is compared; one of the properties of :class:`~mlff_distiller.atoms.labels.Labels`."""

    mask: ClassVar[str | None] = None
    """Field of a batch that says which structures have the label; ``has_`` and the label unless given."""

    metric: ClassVar[str]
    """What validations call the root mean square of :meth:`residuals`."""

    weight: float = Field(1.0, ge=0, description="Weight of the term's mean in the loss; 0 leaves it out.")
    final_weight: float | None = Field(
        None, gt=0, description="Weight at the end of the training, if it shall be another one."
    )
    changes_after: float = Field(
        0.5, ge=0, lt=1, description="Share of the training after which the weight moves, evenly in its logarithm."
    )
    by_size: bool = Field(
        False,
        description="Scale the weight with the student's size: none up to 50,000 parameters, all from 700,000 on.",
    )
    labels: Literal["all", "teacher", "reference"] = Field(
        "all", description="Whose labels are matched: the teacher's, those of reference data, or all."
    )

    def weight_at(self, progress: float) -> float:
        """Return the weight after a share of the training (0 to 1).

        Examples
        --------
        >>> from mlff_distiller.distillation.losses.energy import EnergyTerm
        >>> EnergyTerm(weight=1.0, final_weight=100.0).weight_at(0.75)
        10.0
        """
        if self.final_weight is None or not self.weight:
            return self.weight
        moved = max(0.0, (progress - self.changes_after) / (1 - self.changes_after))
        return float(self.weight * (self.final_weight / self.weight) ** min(1.0, moved))

    def balanced(self, n_parameters: int) -> Self:
        """Return the term as it is for a student of this size.

        What asks for much, as Hessian rows do, is a burden for a student that has little to learn it with: published
        for students of 49,000 parameters, against a gain from 700,000 on (arXiv:2501.09009).

        Examples
        --------
        >>> from mlff_distiller.distillation.losses.hessian import HessianTerm
        >>> [HessianTerm(by_size=True).balanced(n).weight for n in (21_000, 700_000)]
        [0.0, 1.0]
        """
        if not self.by_size:
            return self
        share = math.log(max(n_parameters, 1) / _SMALL) / math.log(_LARGE / _SMALL)
        share = min(1.0, max(0.0, share))
        final = None if self.final_weight is None or not share else self.final_weight * share
        return self.model_copy(update={"weight": self.weight * share, "final_weight": final})

    def known(self, batch: "Batch") -> "Tensor":
        """Return which structures (S,) this term compares: those labeled so, by whom the term says."""
        labeled: Tensor = getattr(batch, self.mask or f"has_{self.matches}")
        if self.labels == "all":
            return labeled
        return labeled & (batch.is_reference if self.labels == "reference" else ~batch.is_reference)

    @abstractmethod
    def count(self, batch: "Batch") -> "Tensor":
        """Return how many numbers of a batch are compared, a scalar."""

    @abstractmethod
    def total(self, derived: "Derived", batch: "Batch", *, scale: "Tensor | float") -> "Tensor":
        """Return the sum of the losses of these numbers, a scalar without unit.

        Parameters
        ----------
        derived : Derived
            What the student gives.
        batch : Batch
            What is to be matched; where nothing is known its values mean nothing and must not count.
        scale : float
            RMS force of the training set, eV/Angstrom, by which errors are divided; for labels that do not depend on
            the energy, a scale of their own.
        """

    @abstractmethod
    def residuals(self, derived: "Derived", batch: "Batch") -> "Tensor":
        """Return the errors of everything that is known, in the units of the label, for validations."""
