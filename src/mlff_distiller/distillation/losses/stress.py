"""Stress."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mlff_distiller.distillation.losses.term import TermPlan

if TYPE_CHECKING:
    from torch import Tensor

    from mlff_distiller.data.loading.batch import Batch
    from mlff_distiller.potentials.derivatives import Derived


class StressTerm(TermPlan):
    """Squared errors of the virial per atom: of stress, on the scale of energies, whatever the volume.

    Examples
    --------
    >>> StressTerm().weight
    10.0
    """

    matches: ClassVar[str] = "stress"
    metric: ClassVar[str] = "stress_rmse"

    kind: Literal["stress"] = Field("stress", description="Squared errors of the virial per atom.")
    weight: float = Field(10.0, ge=0, description="Weight of the term's mean in the loss; 0 leaves it out.")

    def count(self, batch: "Batch") -> "Tensor":
        """Return the number of labeled components."""
        return 9 * self.known(batch).sum()

    def total(self, derived: "Derived", batch: "Batch", *, scale: "Tensor | float") -> "Tensor":
        """Return the sum of squares, in units of scale times 1 Angstrom."""
        return ((self._errors(derived, batch) / scale).square() * self.known(batch).view(-1, 1, 1)).sum()

    def residuals(self, derived: "Derived", batch: "Batch") -> "Tensor":
        """Return errors of components of the virial per atom (n, 3, 3), eV, for each labeled structure."""
        return self._errors(derived, batch)[self.known(batch)]

    @staticmethod
    def _errors(derived: "Derived", batch: "Batch") -> "Tensor":
        assert derived.virial is not None
        return (derived.virial - batch.stress * batch.volumes.view(-1, 1, 1)) / batch.n_atoms.view(-1, 1, 1)
