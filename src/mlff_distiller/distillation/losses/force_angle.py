"""Directions of forces."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mlff_distiller.distillation.losses.term import TermPlan

if TYPE_CHECKING:
    from torch import Tensor

    from mlff_distiller.data.loading.batch import Batch
    from mlff_distiller.potentials.derivatives import Derived


class ForceAngleTerm(TermPlan):
    """Angles between forces: one minus their cosine, which small and large forces share alike.

    Forces far below the RMS force of the training set have no direction worth learning; they fade out below a
    hundredth of it.

    Examples
    --------
    >>> ForceAngleTerm(weight=3.0).matches
    'forces'
    """

    matches: ClassVar[str] = "forces"
    metric: ClassVar[str] = "force_angle_rms_degrees"

    kind: Literal["force_angle"] = Field("force_angle", description="One minus the cosine of the angle of forces.")

    def count(self, batch: "Batch") -> "Tensor":
        """Return the number of labeled atoms."""
        return (self.known(batch) * batch.n_atoms).sum()

    def total(self, derived: "Derived", batch: "Batch", *, scale: "Tensor | float") -> "Tensor":
        """Return the sum over atoms."""
        assert derived.forces is not None
        losses = 1 - _cosine(derived.forces / scale, batch.forces / scale, softening=1e-2)
        return (losses * self.known(batch)[batch.graph.system]).sum()

    def residuals(self, derived: "Derived", batch: "Batch") -> "Tensor":
        """Return angles, degrees, one for each labeled atom."""
        assert derived.forces is not None
        cosine = _cosine(derived.forces, batch.forces, softening=1e-6).clamp(-1, 1)
        return cosine.acos().rad2deg()[self.known(batch)[batch.graph.system]]


def _cosine(ours: "Tensor", theirs: "Tensor", *, softening: float) -> "Tensor":
    """Return cosines of angles (N,) that fall to zero where a vector is shorter than the softening."""
    lengths = [(forces.square().sum(1) + softening**2).sqrt() for forces in (ours, theirs)]
    return (ours * theirs).sum(1) / (lengths[0] * lengths[1])
