"""Forces."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mlff_distiller.distillation.losses.term import TermPlan

if TYPE_CHECKING:
    from torch import Tensor

    from mlff_distiller.data.loading.batch import Batch
    from mlff_distiller.potentials.derivatives import Derived


class ForcesTerm(TermPlan):
    """Errors of force vectors; every form follows the vector's length, so that it does not depend on orientation.

    Examples
    --------
    >>> ForcesTerm(form="huber", huber_delta=0.2).weight
    100.0
    """

    matches: ClassVar[str] = "forces"
    metric: ClassVar[str] = "force_rmse"

    kind: Literal["forces"] = Field("forces", description="Errors of forces.")
    weight: float = Field(100.0, ge=0, description="Weight of the term's mean in the loss; 0 leaves it out.")
    form: Literal["mse", "mae", "huber", "relative"] = Field(
        "mse",
        description="mse: squares; mae: lengths of error vectors; huber: squares of small errors, lengths of large "
        "ones; relative: squares, divided by the mean square force of the structure.",
    )
    huber_delta: float = Field(
        0.1, gt=0, description="Where 'huber' turns from squares to lengths, in RMS forces of the training set."
    )

    def count(self, batch: "Batch") -> "Tensor":
        """Return the number of labeled components."""
        return 3 * (self.known(batch) * batch.n_atoms).sum()

    def total(self, derived: "Derived", batch: "Batch", *, scale: "Tensor | float") -> "Tensor":
        """Return the sum over atoms."""
        assert derived.forces is not None
        system, known = batch.graph.system, self.known(batch)
        squares = ((derived.forces - batch.forces) / scale).square().sum(1)
        if self.form == "mae":
            losses = _length(squares)
        elif self.form == "huber":
            losses = 2 * self.huber_delta**2 * ((1 + squares / self.huber_delta**2).sqrt() - 1)
        elif self.form == "relative":
            losses = squares / self._mean_squares(batch, scale)[system]
        else:
            losses = squares
        return (losses * known[system]).sum()

    def residuals(self, derived: "Derived", batch: "Batch") -> "Tensor":
        """Return errors of components (n, 3), eV/Angstrom, a row for each labeled atom."""
        assert derived.forces is not None
        return (derived.forces - batch.forces)[self.known(batch)[batch.graph.system]]

    def _mean_squares(self, batch: "Batch", scale: "Tensor | float") -> "Tensor":
        """Return mean squared force components of structures (S,), in squares of scale; not below a hundredth."""
        squares = (batch.forces / scale).square().sum(1)
        sums = squares.new_zeros(batch.n_atoms.shape[0]).index_add(0, batch.graph.system, squares)
        return (sums / (3 * batch.n_atoms)).clamp(min=0.01).to(squares.dtype)


def _length(squares: "Tensor") -> "Tensor":
    """Return roots whose slope stays finite at zero."""
    return (squares + 1e-8).sqrt()
