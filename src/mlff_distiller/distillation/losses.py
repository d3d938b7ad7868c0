"""Loss terms: each compares one property of a student with its labels."""

from collections.abc import Callable
from typing import Final

from torch import Tensor

from mlff_distiller.data.loading.batch import Batch
from mlff_distiller.distillation.plan import LossPlan
from mlff_distiller.potentials.derivatives import Derived

Residual = Callable[[Derived, Batch], Tensor]
"""Errors of one property over a batch, eV or eV/Angstrom; what is not labeled is left out."""


def energy_residual(derived: Derived, batch: Batch) -> Tensor:
    """Return energy errors per atom, eV, one per labeled structure."""
    return ((derived.energy - batch.energy) / batch.n_atoms)[batch.has_energy]


def force_residual(derived: Derived, batch: Batch) -> Tensor:
    """Return errors of force components (n, 3), eV/Angstrom, one row per labeled atom."""
    assert derived.forces is not None
    return (derived.forces - batch.forces)[batch.has_forces[batch.graph.system]]


def stress_residual(derived: Derived, batch: Batch) -> Tensor:
    """Return virial errors per atom (n, 3, 3), eV: stress errors on the scale of energies, whatever the volume."""
    assert derived.virial is not None
    volume, n_atoms = batch.volumes.view(-1, 1, 1), batch.n_atoms.view(-1, 1, 1)
    return ((derived.virial - batch.stress * volume) / n_atoms)[batch.has_stress]


TERMS: Final[dict[str, tuple[str, Residual]]] = {
    "energy": ("energy_weight", energy_residual),
    "forces": ("force_weight", force_residual),
    "stress": ("stress_weight", stress_residual),
}
"""Property to the name of its weight and its residual."""


class Loss:
    """Weighted sum of mean squared residuals, in units of the training set's force scale.

    Parameters
    ----------
    plan : LossPlan
        Weights; a term of weight zero is not evaluated.
    properties : collection of str
        What the labels hold; a term without labels is left out.
    scale : float
        RMS force of the training set, eV/Angstrom.

    Examples
    --------
    >>> Loss(LossPlan(), {"energy", "forces"}, scale=1.3).properties
    ('energy', 'forces')
    """

    def __init__(self, plan: LossPlan, properties: set[str] | frozenset[str], *, scale: float) -> None:
        weights = {name: getattr(plan, weight) for name, (weight, _) in TERMS.items() if name in properties}
        self._weights = {name: weight for name, weight in weights.items() if weight > 0}
        self._scale = scale

    @property
    def properties(self) -> tuple[str, ...]:
        """What the student must give for this loss."""
        return tuple(self._weights)

    def __call__(self, derived: Derived, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        total = derived.energy.new_zeros(())
        for name, weight in self._weights.items():
            residual = TERMS[name][1](derived, batch)
            if residual.numel():
                total = total + weight * (residual / self._scale).square().mean()
        return total
