"""Energies of atoms."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mlff_distiller.distillation.losses.term import TermPlan

if TYPE_CHECKING:
    from torch import Tensor

    from mlff_distiller.data.loading.batch import Batch
    from mlff_distiller.potentials.derivatives import Derived


class AtomicEnergiesTerm(TermPlan):
    """Squared errors of the energies of atoms, for teachers that share their energy out.

    How a teacher shares its energy between atoms is its own affair: the total is physics, the shares are not. They
    are a rich signal all the same, N numbers for a structure instead of one.

    Examples
    --------
    >>> AtomicEnergiesTerm(weight=5.0).matches
    'atomic_energies'
    """

    matches: ClassVar[str] = "atomic_energies"
    metric: ClassVar[str] = "atomic_energy_rmse"

    kind: Literal["atomic_energies"] = Field("atomic_energies", description="Squared errors of the energies of atoms.")

    def count(self, batch: "Batch") -> "Tensor":
        """Return the number of labeled atoms."""
        return (self.known(batch) * batch.n_atoms).sum()

    def total(self, derived: "Derived", batch: "Batch", *, scale: "Tensor | float") -> "Tensor":
        """Return the sum of squares, in units of scale times 1 Angstrom."""
        assert batch.atomic_energies is not None
        errors = (derived.atomic_energies - batch.atomic_energies) / scale
        return (errors.square() * self.known(batch)[batch.graph.system]).sum()

    def residuals(self, derived: "Derived", batch: "Batch") -> "Tensor":
        """Return errors, eV, one for each labeled atom."""
        assert batch.atomic_energies is not None
        return (derived.atomic_energies - batch.atomic_energies)[self.known(batch)[batch.graph.system]]
