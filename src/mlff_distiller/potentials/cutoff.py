"""Switching functions that take an interaction smoothly to zero."""

from torch import Tensor


def polynomial_cutoff(distances: Tensor, cutoff: float, *, power: int = 6) -> Tensor:
    r"""Return the polynomial envelope of Gasteiger et al., one at zero distance and zero beyond the cutoff.

    .. math:: 1 - \frac{(p+1)(p+2)}{2} x^p + p(p+2) x^{p+1} - \frac{p(p+1)}{2} x^{p+2}, \quad x = r / r_c

    Value, first and second derivative vanish at the cutoff. Source: DimeNet, arXiv:2003.03123, eq. 8.

    Parameters
    ----------
    distances : (E,) tensor
        Angstrom.
    cutoff : float
        Angstrom.
    power : int
        Larger values keep the envelope near one for longer.

    Returns
    -------
    (E,) tensor

    Examples
    --------
    >>> import torch
    >>> polynomial_cutoff(torch.tensor([0.0, 5.0, 6.0]), 5.0).tolist()
    [1.0, 0.0, 0.0]
    """
    x = (distances / cutoff).clamp(max=1.0)
    p = power
    return 1.0 + x**p * (-(p + 1) * (p + 2) / 2 + x * (p * (p + 2) - x * (p * (p + 1) / 2)))
