"""Forces and stress, derived once for everything that gives atomic energies from a Graph."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from mlff_distiller.atoms.graph import Graph

AtomicEnergies = Callable[[Graph], Tensor]
"""A function of a graph that returns energies of atoms (N,), eV."""


@dataclass(frozen=True, eq=False)
class Derived:
    """Energies of a batch and the derivatives that were asked for.

    Attributes
    ----------
    energy : (S,)
        Total energies, eV, summed in float64.
    atomic_energies : (N,)
        eV.
    forces : (N, 3) or None
        eV/Angstrom.
    virial : (S, 3, 3) or None
        dE/d(strain), eV, symmetric; divided by the volume it is the stress.
    """

    energy: Tensor
    atomic_energies: Tensor
    forces: Tensor | None = None
    virial: Tensor | None = None


def derive(
    atomic_energies: AtomicEnergies,
    graph: Graph,
    properties: Collection[str] = ("energy", "forces"),
    *,
    create_graph: bool = False,
) -> Derived:
    """Evaluate energies and, by one gradient with respect to the edge vectors, forces and virial.

    With g = dE/d(vector of an edge), the force on an atom is the sum of g over the edges that leave it minus the
    sum over those that arrive, and the virial is the sum of vector x g (Thompson et al. 2009, doi:10.1063/1.3245303).

    Parameters
    ----------
    atomic_energies : callable
        Graph to energies of atoms (N,).
    graph : Graph
        The batch.
    properties : collection of str
        ``"forces"`` and ``"stress"`` cost the gradient; energies are always there.
    create_graph : bool
        Keep the graph of the gradient, for training on forces.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> pair = Structure([1, 1], [[0, 0, 0], [0, 0, 2.0]])
    >>> spring = lambda graph: torch.zeros(2).index_add(0, graph.centers, graph.vectors.square().sum(-1) / 2)
    >>> derive(spring, Graph.from_structures([pair], cutoff=5.0)).forces.tolist()
    [[0.0, 0.0, 4.0], [0.0, 0.0, -4.0]]
    """
    wanted = {"forces", "stress"} & set(properties)
    if not wanted:
        with torch.set_grad_enabled(create_graph):
            energies = atomic_energies(graph)
            return Derived(_total(energies, graph), energies)
    with torch.enable_grad():
        graph = graph.with_vectors(graph.vectors.detach().requires_grad_())
        energies = atomic_energies(graph)
        energy = _total(energies, graph)
        gradient = _gradient(energy, graph.vectors, create_graph)
        forces = _forces(gradient, graph) if "forces" in wanted else None
        virial = _virial(gradient, graph) if "stress" in wanted else None
    if create_graph:
        return Derived(energy, energies, forces, virial)
    return Derived(energy.detach(), energies.detach(), forces, virial)


def _total(energies: Tensor, graph: Graph) -> Tensor:
    return energies.new_zeros(graph.n_systems, dtype=torch.float64).index_add(0, graph.system, energies.double())


def _gradient(energy: Tensor, vectors: Tensor, create_graph: bool) -> Tensor:
    if not energy.requires_grad:  # no edges, or energies that do not depend on them
        return torch.zeros_like(vectors)
    (gradient,) = torch.autograd.grad(
        energy.sum(), vectors, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return gradient


def _forces(gradient: Tensor, graph: Graph) -> Tensor:
    zero = gradient.new_zeros(graph.n_atoms, 3)
    return zero.index_add(0, graph.centers, gradient).index_add(0, graph.neighbors, gradient, alpha=-1)


def _virial(gradient: Tensor, graph: Graph) -> Tensor:
    outer = graph.vectors.detach().unsqueeze(2) * gradient.unsqueeze(1)
    systems = graph.system[graph.centers]
    virial = outer.new_zeros(graph.n_systems, 3, 3).index_add(0, systems, outer)
    return (virial + virial.transpose(1, 2)) / 2
