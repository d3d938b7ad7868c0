"""Student: a network and its priors, the atomic energies of a Graph."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.core.randomness import derived_seed
from mlff_distiller.students.priors import ReferenceEnergies


class Student(nn.Module):
    """Atomic energies from a Graph: reference energies plus a scaled network.

    Parameters
    ----------
    plan : Plan
        Architecture, for instance :class:`~mlff_distiller.students.painn.plan.PaiNNPlan`.
    reference_energies : dict[int, float]
        Energy of each element it covers, eV.
    charges : sequence of int
        Total charges seen in training.
    scale : float
        Unit of the network's output, eV; the RMS force in eV/Angstrom is a good choice.
    neighbor_norm : float
        Divisor of messages.
    seed : int
        Seed of the initial weights.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> student = Student(PaiNNPlan(preset="ultra-tiny"), {1: -10.7, 8: -102.0})
    >>> graph = Graph.from_structures([Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])], student.cutoff)
    >>> student(graph).shape
    torch.Size([2])
    """

    def __init__(
        self,
        plan: Any,
        reference_energies: dict[int, float],
        *,
        charges: Sequence[int] = (0,),
        scale: float = 1.0,
        neighbor_norm: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.elements = tuple(sorted(reference_energies))
        self.charges = tuple(sorted(set(charges)))
        self.scale = scale
        self.neighbor_norm = neighbor_norm
        self.reference = ReferenceEnergies([reference_energies[z] for z in self.elements])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "weights"))
            self.network = plan.build(len(self.elements), neighbor_norm=neighbor_norm)
        species = torch.full((119,), -1)
        species[list(self.elements)] = torch.arange(len(self.elements))
        self.register_buffer("_species", species, persistent=False)
        self._species: Tensor

    @property
    def cutoff(self) -> float:
        """Range of a message, Angstrom."""
        return float(self.plan.cutoff)

    @property
    def n_parameters(self) -> int:
        """Number of trained numbers."""
        return sum(p.numel() for p in self.parameters())

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return next(self.parameters()).device

    def forward(self, graph: Graph) -> Tensor:
        """Return energies of atoms (N,), eV, in float64; the network itself runs in its own precision."""
        species = self._species[graph.numbers]
        energies: Tensor = self.reference(species) + self.scale * self.network(species, graph).double()
        return energies
