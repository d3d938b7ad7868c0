"""Total energies."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mlff_distiller.distillation.losses.term import TermPlan

if TYPE_CHECKING:
    from torch import Tensor

    from mlff_distiller.data.loading.batch import Batch
    from mlff_distiller.potentials.derivatives import Derived


class EnergyTerm(TermPlan):
    """Squared errors of energies per atom.

    Examples
    --------
    >>> EnergyTerm().weight
    1.0
    """

    matches: ClassVar[str] = "energy"
    metric: ClassVar[str] = "energy_rmse_per_atom"

    kind: Literal["energy"] = Field("energy", description="Squared errors of energies per atom.")
    final_weight: float | None = Field(
        30.0, gt=0, description="Weight at the end of the training: energies come last, when forces are known."
    )

    def count(self, batch: "Batch") -> "Tensor":
        """Return the number of labeled structures."""
        return self.known(batch).sum()

    def total(self, derived: "Derived", batch: "Batch", *, scale: "Tensor | float") -> "Tensor":
        """Return the sum of squares, in units of scale times 1 Angstrom."""
        errors = (derived.energy - batch.energy) / batch.n_atoms / scale
        return (errors.square() * self.known(batch)).sum()

    def residuals(self, derived: "Derived", batch: "Batch") -> "Tensor":
        """Return errors per atom, eV, one for each labeled structure."""
        return ((derived.energy - batch.energy) / batch.n_atoms)[self.known(batch)]
