"""Radial basis functions of a distance: fixed functions under a smooth envelope, nothing to train."""

import math
from abc import abstractmethod
from typing import Final

import torch
from torch import Tensor, nn

from mlff_distiller.potentials.cutoff import polynomial_cutoff

FLOOR: Final = 0.5
"""Where radial functions level off unless said, Angstrom: H2, the shortest bond, is not so short at 1000 K."""

_WIDTH: Final = 0.2  # of that distance, over which they level off


class RadialBasis(nn.Module):
    """Base of all radial bases, which give :meth:`functions` of the distance.

    Parameters
    ----------
    n_functions : int
        K.
    cutoff : float
        Angstrom.
    power : int
        Exponent of the envelope; larger values keep it near one for longer.
    floor : float
        Distance below which the functions level off, Angstrom.

    Examples
    --------
    >>> basis = RADIAL_BASES["bessel"](8, 5.0)
    >>> basis.n_functions, basis.cutoff
    (8, 5.0)
    """

    def __init__(self, n_functions: int, cutoff: float, *, power: int = 6, floor: float = FLOOR) -> None:
        super().__init__()
        self.n_functions, self.cutoff, self.power, self.floor = n_functions, cutoff, power, floor
        self.register_buffer("orders", torch.arange(1.0, n_functions + 1), persistent=False)
        self.orders: Tensor  # whole numbers, the same in every precision

    @abstractmethod
    def functions(self, distances: Tensor) -> Tensor:
        """Return the functions (E, K) at distances (E,), Angstrom."""

    def envelope(self, distances: Tensor) -> Tensor:
        """Return the envelope (E, 1) at distances (E,), Angstrom."""
        return polynomial_cutoff(distances, self.cutoff, power=self.power).unsqueeze(1)

    def forward(self, distances: Tensor) -> Tensor:
        """Return the basis (E, K) at distances (E,), Angstrom; below the floor it levels off.

        What a network has never seen it may not say: unbounded functions there would let it outweigh any repulsion.
        Two derivatives are continuous.
        """
        width = _WIDTH * self.floor
        t = ((distances - self.floor) / width + 1).clamp(min=0)
        level = self.floor + width * (t * t * t * (1 - t / 2) - 0.5)
        return self.functions(torch.where(t < 1, level, distances))


class BesselBasis(RadialBasis):
    r"""Spherical Bessel functions of order zero under a smooth envelope.

    .. math:: b_n(r) = \sqrt{2 / r_c} \, \frac{\sin(n \pi r / r_c)}{r} \, u(r), \quad n = 1 \dots K

    Source: DimeNet, arXiv:2003.03123, eq. 7.

    Examples
    --------
    >>> basis = BesselBasis(8, 5.0)
    >>> basis(torch.tensor([1.0, 5.0])).shape
    torch.Size([2, 8])
    """

    def functions(self, distances: Tensor) -> Tensor:
        """Return the functions (E, K) as defined above."""
        r = distances.unsqueeze(1)
        phase = r * (math.pi / self.cutoff)
        return torch.sin(phase * self.orders) * (self.envelope(distances) * (math.sqrt(2 / self.cutoff) / r))


class GaussianBasis(RadialBasis):
    r"""Gaussians at even distances from zero to the cutoff, as wide as their spacing, under a smooth envelope.

    .. math:: b_n(r) = \exp\left(-\tfrac12 (r / w - (n - 1))^2\right) u(r), \quad w = r_c / K, \quad n = 1 \dots K

    Source: SchNet, arXiv:1706.08566, eq. 4, there with a spacing of its own.

    Examples
    --------
    >>> GaussianBasis(8, 5.0)(torch.tensor([1.0, 5.0])).shape
    torch.Size([2, 8])
    """

    def functions(self, distances: Tensor) -> Tensor:
        """Return the functions (E, K) as defined above."""
        place = distances.unsqueeze(1) * (self.n_functions / self.cutoff)
        return torch.exp(-0.5 * (place - (self.orders - 1)).square()) * self.envelope(distances)


RADIAL_BASES: Final[dict[str, type[RadialBasis]]] = {"bessel": BesselBasis, "gaussian": GaussianBasis}
"""Radial bases by the name in a plan."""
