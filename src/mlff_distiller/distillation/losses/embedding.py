"""Features of atoms."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mlff_distiller.distillation.losses.term import TermPlan

if TYPE_CHECKING:
    from torch import Tensor

    from mlff_distiller.data.loading.batch import Batch
    from mlff_distiller.potentials.derivatives import Derived


class EmbeddingTerm(TermPlan):
    """Squared errors of the teacher's features, as a projection of the student's gives them (FitNets, arXiv:1412.6550).

    The projection is linear, learned beside the student and thrown away with the training;
    :class:`~mlff_distiller.distillation.projection.Projected` holds it.

    Examples
    --------
    >>> EmbeddingTerm().matches
    'embeddings'
    """

    matches: ClassVar[str] = "embeddings"
    metric: ClassVar[str] = "embedding_rmse"

    kind: Literal["embedding"] = Field(
        "embedding", description="Squared errors of the teacher's features of atoms, projected from the student's."
    )
    weight: float = Field(10.0, ge=0, description="Weight of the term's mean in the loss; 0 leaves it out.")

    def count(self, batch: "Batch") -> "Tensor":
        """Return the number of features of labeled atoms."""
        assert batch.embeddings is not None
        return (self.known(batch) * batch.n_atoms).sum() * batch.embeddings.shape[1]

    def total(self, derived: "Derived", batch: "Batch", *, scale: "Tensor | float") -> "Tensor":
        """Return the sum of squares; ``scale`` is here the RMS deviation of the teacher's features from their means."""
        errors = self._errors(derived, batch) / scale
        return (errors.square() * self.known(batch)[batch.graph.system].unsqueeze(1)).sum()

    def residuals(self, derived: "Derived", batch: "Batch") -> "Tensor":
        """Return errors (n, D), without unit, a row for each labeled atom."""
        return self._errors(derived, batch)[self.known(batch)[batch.graph.system]]

    @staticmethod
    def _errors(derived: "Derived", batch: "Batch") -> "Tensor":
        assert derived.embeddings is not None
        assert batch.embeddings is not None
        return derived.embeddings - batch.embeddings
