"""Rows of the Hessian."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mlff_distiller.distillation.losses.term import TermPlan

if TYPE_CHECKING:
    from torch import Tensor

    from mlff_distiller.data.loading.batch import Batch
    from mlff_distiller.potentials.derivatives import Derived


class HessianTerm(TermPlan):
    """Squared errors of the Hessian's product with a few random directions (Amin et al. 2025, arXiv:2501.09009).

    Examples
    --------
    >>> HessianTerm().matches
    'hessian_products'
    """

    matches: ClassVar[str] = "hessian_products"
    mask: ClassVar[str | None] = "has_hessian"
    metric: ClassVar[str] = "hessian_rmse"

    kind: Literal["hessian"] = Field("hessian", description="Squared errors of products of the Hessian.")
    weight: float = Field(1.0, ge=0, description="Weight of the term's mean in the loss; 0 leaves it out.")

    def count(self, batch: "Batch") -> "Tensor":
        """Return the number of labeled components."""
        assert batch.hessian_directions is not None
        return (self.known(batch) * batch.n_atoms).sum() * 3 * batch.hessian_directions.shape[1]

    def total(self, derived: "Derived", batch: "Batch", *, scale: "Tensor | float") -> "Tensor":
        """Return the sum of squares, in units of scale per Angstrom."""
        assert derived.hessian_products is not None
        assert batch.hessian_products is not None
        errors = (derived.hessian_products - batch.hessian_products) / scale
        return (errors.square() * self.known(batch)[batch.graph.system].view(-1, 1, 1)).sum()

    def residuals(self, derived: "Derived", batch: "Batch") -> "Tensor":
        """Return errors of components (n, K, 3), eV/Angstrom^2, for each labeled atom."""
        assert derived.hessian_products is not None
        assert batch.hessian_products is not None
        return (derived.hessian_products - batch.hessian_products)[self.known(batch)[batch.graph.system]]
