"""Priors: the parts of a student's energy that are known before training."""

import torch
from torch import Tensor, nn


class ReferenceEnergies(nn.Module):
    """Energies of elements, fitted on the training set; the network learns what is left.

    Parameters
    ----------
    energies : list[float]
        One per element, eV, in the order of the student's elements.

    Examples
    --------
    >>> ReferenceEnergies([-10.7, -57.0])(torch.tensor([1, 0])).tolist()
    [-57.0, -10.7]
    """

    def __init__(self, energies: list[float]) -> None:
        super().__init__()
        self.register_buffer("energies", torch.tensor(energies, dtype=torch.float64))
        self.energies: Tensor

    def forward(self, species: Tensor) -> Tensor:
        """Return the reference energies of atoms (N,), eV, in float64."""
        return self.energies[species]

    def _apply(self, fn: object, recurse: bool = True) -> "ReferenceEnergies":
        """Move with the module but stay in float64: total energies need more digits than float32 has."""
        exact = self.energies
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.energies = exact.to(self.energies.device)
        return self
