"""Priors: the parts of a student's energy that are known before training."""

from collections.abc import Callable, Sequence
from typing import Final, Self

import numpy as np
import torch
from ase.data import covalent_radii
from torch import Tensor, nn

from mlff_distiller.atoms.graph import Graph

COULOMB: Final = 14.399645
"""Energy of two unit charges at a distance of 1 Angstrom, eV (CODATA 2018)."""

INNER, OUTER = 0.4, 0.7
"""Between these fractions of the sum of covalent radii the repulsion goes to zero. Bonds do not get there: triple bonds
are the shortest, at 0.77 to 0.8 in equilibrium (N2, HCN, CO), and stay above 0.73 at 1000 K."""


def repulsion_range(elements: Sequence[int]) -> float:
    """Return how far the repulsion of nuclei reaches at most between atoms of these elements, Angstrom.

    Examples
    --------
    >>> round(repulsion_range([1, 6]), 3)
    1.064
    """
    return float(OUTER * 2 * _RADII[list(elements)].max())


class Exact(nn.Module):
    """A module whose buffers move with it but stay in float64.

    Examples
    --------
    >>> ReferenceEnergies([-10.7]).float().energies.dtype
    torch.float64
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        exact = dict(self.named_buffers())
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in exact.items():
            setattr(self, name, buffer.to(getattr(self, name).device))
        return self


class Scaling(Exact):
    """The unit of a network's output; a tensor, so that what is compiled for one unit serves all.

    Parameters
    ----------
    unit : float
        eV.

    Examples
    --------
    >>> Scaling(1.5)(torch.ones(2)).tolist()
    [1.5, 1.5]
    """

    def __init__(self, unit: float) -> None:
        super().__init__()
        self.register_buffer("unit", torch.tensor(unit, dtype=torch.float64), persistent=False)
        self.unit: Tensor

    def forward(self, output: Tensor) -> Tensor:
        """Return energies (N,), eV, in float64."""
        return self.unit * output.double()


class ReferenceEnergies(Exact):
    """Energies of elements, fitted on the training set; the network learns what is left.

    Total energies need more digits than float32 has.

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


class ZBL(Exact):
    r"""The universal repulsion of nuclei, for atoms far closer than bonded, where no data tell the network what to do.

    .. math::
        E_{ij} = \frac{k_e z_i z_j}{r} \, s(r) \sum_{n=1}^4 c_n e^{-d_n r / a_{ij}}, \quad
        a_{ij} = \frac{0.46850}{z_i^{0.23} + z_j^{0.23}}

    The switch s falls from one to zero between 0.4 and 0.7 of the sum of covalent radii; value, first and second
    derivative are continuous. A pair's range never exceeds the cutoff. Source: Ziegler, Biersack and Littmark 1985,
    doi:10.1007/978-1-4615-8103-1_3; radii: Cordero et al. 2008, doi:10.1039/B801115J.

    Parameters
    ----------
    elements : sequence of int
        Atomic numbers, in the order of the student's elements.
    cutoff : float
        Range of the graphs, Angstrom.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> for distance in (0.74, 0.3):
    ...     graph = Graph.from_structures([Structure([1, 1], [[0, 0, 0], [0, 0, distance]])], 5.0)
    ...     print(round(ZBL([1], cutoff=5.0)(torch.tensor([0, 0]), graph).sum().item(), 2))
    0.0
    14.27
    """

    AMPLITUDES: Final = (0.18175, 0.50986, 0.28022, 0.02817)
    DECAYS: Final = (3.19980, 0.94229, 0.40290, 0.20162)

    def __init__(self, elements: Sequence[int], *, cutoff: float) -> None:
        super().__init__()
        z = torch.tensor(elements, dtype=torch.float64)
        radii = torch.from_numpy(_RADII[list(elements)])
        charges = COULOMB * z.outer(z)
        inverse_lengths = (z[:, None] ** 0.23 + z**0.23) / 0.46850
        ranges = (OUTER * (radii[:, None] + radii)).clamp(max=cutoff)
        decays = inverse_lengths[..., None] * torch.tensor(self.DECAYS, dtype=torch.float64)
        self.register_buffer("charges", charges, persistent=False)
        self.register_buffer("decays", decays, persistent=False)
        self.register_buffer("ranges", ranges, persistent=False)
        self.register_buffer("amplitudes", torch.tensor(self.AMPLITUDES, dtype=torch.float64), persistent=False)
        self.charges: Tensor
        self.decays: Tensor
        self.ranges: Tensor
        self.amplitudes: Tensor

    def forward(self, species: Tensor, graph: Graph) -> Tensor:
        """Return energies of atoms (N,), eV, in float64; each atom has half of its pairs.

        Parameters
        ----------
        species : (N,) int64
            Index of each atom's element.
        graph : Graph
            The batch.
        """
        distances = torch.linalg.vector_norm(graph.vectors.double(), dim=1)
        pair = species[graph.centers], species[graph.neighbors]
        screening = torch.exp(-self.decays[pair] * distances.unsqueeze(1)) @ self.amplitudes
        energies = self.charges[pair] * screening / distances * _switch(distances, self.ranges[pair])
        zero: Tensor = energies.new_zeros(species.shape[0])
        return zero.index_add(0, graph.centers, energies / 2)


REPULSIONS: Final[dict[str, Sequence[type[ZBL]]]] = {"zbl": (ZBL,), "none": ()}
"""Pair energies by the name in the plan."""

_RADII = np.where(np.arange(len(covalent_radii)) > 96, covalent_radii[96], covalent_radii)  # none is known beyond Cm


def _switch(distances: Tensor, ranges: Tensor) -> Tensor:
    """Return a polynomial that falls from one at INNER / OUTER of the range to zero at the range."""
    x: Tensor = ((1 - distances / ranges) / (1 - INNER / OUTER)).clamp(0.0, 1.0)
    return x.pow(3) * (10 + x * (6 * x - 15))
