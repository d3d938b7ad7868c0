"""Student: a network and its priors, the atomic energies of a Graph."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.core.randomness import derived_seed
from mlff_distiller.students.plan import StudentPlan
from mlff_distiller.students.priors import REPULSIONS, ReferenceEnergies, Scaling


class Student(nn.Module):
    """Atomic energies from a Graph: reference energies, short-range repulsion and a scaled network.

    Parameters
    ----------
    plan : StudentPlan
        Architecture, for instance :class:`~mlff_distiller.students.painn.plan.PaiNNPlan`.
    reference_energies : dict[int, float]
        Energy of each element it covers, eV.
    charges : sequence of int
        Total charges seen in training, beside those of the states; 0 if none are known.
    states : mapping of str to (int, int)
        Charge and spin multiplicity in which each composition (Hill formula) was seen in training, as far as known.
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
        plan: StudentPlan,
        reference_energies: dict[int, float],
        *,
        charges: Sequence[int] = (),
        states: Mapping[str, tuple[int, int]] | None = None,
        scale: float = 1.0,
        neighbor_norm: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.elements = tuple(sorted(reference_energies))
        self.states = {formula: (charge, spin) for formula, (charge, spin) in (states or {}).items()}
        self.charges = tuple(sorted({*charges, *(charge for charge, _ in self.states.values())} or {0}))
        self.scale = scale
        self.neighbor_norm = neighbor_norm
        self.scaling = Scaling(scale)
        self.reference = ReferenceEnergies([reference_energies[z] for z in self.elements])
        self.repulsions = nn.ModuleList(
            [repulsion(self.elements, cutoff=plan.cutoff) for repulsion in REPULSIONS[plan.repulsion]]
        )
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
        energies: Tensor = self.reference(species) + self.scaling(self.network(species, graph))
        for repulsion in self.repulsions:
            energies = energies + repulsion(species, graph)
        return energies
