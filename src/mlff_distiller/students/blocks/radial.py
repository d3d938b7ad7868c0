"""Radial basis functions of a distance."""

import math

import torch
from torch import Tensor, nn

from mlff_distiller.potentials.cutoff import polynomial_cutoff


class BesselBasis(nn.Module):
    r"""Spherical Bessel functions of order zero under a smooth envelope.

    .. math:: b_n(r) = \sqrt{2 / r_c} \, \frac{\sin(n \pi r / r_c)}{r} \, u(r), \quad n = 1 \dots K

    Source: DimeNet, arXiv:2003.03123, eq. 7.

    Parameters
    ----------
    n_functions : int
        K.
    cutoff : float
        Angstrom.

    Examples
    --------
    >>> basis = BesselBasis(8, 5.0)
    >>> basis(torch.tensor([1.0, 5.0])).shape
    torch.Size([2, 8])
    """

    def __init__(self, n_functions: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        frequencies = torch.arange(1, n_functions + 1, dtype=torch.float64) * math.pi / cutoff
        self.register_buffer("frequencies", frequencies.to(torch.get_default_dtype()), persistent=False)
        self.frequencies: Tensor

    def forward(self, distances: Tensor) -> Tensor:
        """Return the basis (E, K) at distances (E,), Angstrom."""
        envelope = polynomial_cutoff(distances, self.cutoff) * (math.sqrt(2 / self.cutoff) / distances)
        return torch.sin(distances.unsqueeze(1) * self.frequencies.to(distances.dtype)) * envelope.unsqueeze(1)
