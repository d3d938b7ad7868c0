"""Forces and stress, derived once for everything that gives atomic energies from a Graph."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from mlff_distiller.atoms.graph import Graph

AtomicEnergies = Callable[[Graph], Tensor]
"""A function of a graph that returns energies of atoms (N,), eV."""

Evaluation = Callable[[Graph], Tensor | tuple[Tensor, Tensor]]
"""A function of a graph that returns energies of atoms (N,), eV, alone or with features of atoms (N, D)."""


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
    hessian_products : (N, K, 3) or None
        Second derivatives of the energy times directions, eV/Angstrom^2.
    embeddings : (N, D) or None
        Features of atoms, if they came with the energies.
    """

    energy: Tensor
    atomic_energies: Tensor
    forces: Tensor | None = None
    virial: Tensor | None = None
    hessian_products: Tensor | None = None
    embeddings: Tensor | None = None


def derive(
    atomic_energies: Evaluation,
    graph: Graph,
    properties: Collection[str] = ("energy", "forces"),
    *,
    create_graph: bool = False,
    directions: Tensor | None = None,
) -> Derived:
    """Evaluate energies and, by one gradient with respect to the edge vectors, forces and virial.

    With g = dE/d(vector of an edge), the force on an atom is the sum of g over the edges that leave it minus the
    sum over those that arrive, and the virial is the sum of vector x g (Thompson et al. 2009, doi:10.1063/1.3245303).

    Parameters
    ----------
    atomic_energies : callable
        Graph to energies of atoms (N,), alone or with features of atoms (N, D).
    graph : Graph
        The batch.
    properties : collection of str
        ``"forces"`` and ``"stress"`` cost the gradient; energies are always there.
    create_graph : bool
        Keep the graph of the gradient, for training on forces.
    directions : (N, K, 3), optional
        Displacements, without unit, that the Hessian is multiplied with; each costs one more gradient.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> pair = Structure([1, 1], [[0, 0, 0], [0, 0, 2.0]])
    >>> spring = lambda graph: torch.zeros(2).index_add(0, graph.centers, graph.vectors.square().sum(-1) / 2)
    >>> derive(spring, Graph.from_structures([pair], cutoff=5.0)).forces.tolist()
    [[0.0, 0.0, 4.0], [0.0, 0.0, -4.0]]
    """
    wanted = {"forces", "stress"} & set(properties)
    if not wanted and directions is None:
        with torch.set_grad_enabled(create_graph):
            energies, embeddings = _evaluated(atomic_energies, graph)
            return Derived(_total(energies, graph), energies, embeddings=embeddings)
    with torch.enable_grad():
        graph = graph.with_vectors(graph.vectors.detach().requires_grad_())
        energies, embeddings = _evaluated(atomic_energies, graph)
        energy = _total(energies, graph)
        gradient = _gradient(energy, graph.vectors, create_graph or directions is not None)
        products = None if directions is None else _products(gradient, graph, directions, create_graph)
        gradient = gradient if create_graph else gradient.detach()
        forces = _forces(gradient, graph) if "forces" in wanted else None
        virial = _virial(gradient, graph) if "stress" in wanted else None
    if create_graph:
        return Derived(energy, energies, forces, virial, products, embeddings)
    embeddings = None if embeddings is None else embeddings.detach()
    return Derived(energy.detach(), energies.detach(), forces, virial, products, embeddings)


def hessian_product(
    atomic_energies: AtomicEnergies, graph: Graph, directions: Tensor, *, create_graph: bool = False
) -> Tensor:
    """Return the product of each structure's Hessian with directions (N, K, 3), eV/Angstrom^2.

    A displacement of the atoms by v changes an edge vector by u = v(neighbor) - v(center). With g = dE/d(edge vectors)
    and the number s = sum of g u over all edges, ds/d(edge vectors) is how fast g changes along v; put together as
    forces are put together from g, it gives minus the product: a gradient of a gradient (Pearlmutter 1994,
    doi:10.1162/neco.1994.6.1.147). Exact, also for periodic images, and about as costly as a second force call for each
    direction. :func:`derive` gives it beside energies and forces, from one evaluation.

    Parameters
    ----------
    atomic_energies : callable
        Graph to energies of atoms (N,).
    graph : Graph
        The batch.
    directions : (N, K, 3)
        Displacements of its atoms, without unit.
    create_graph : bool
        Keep the graph of the products, for training on them.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> pair = Structure([1, 1], [[0, 0, 0], [0, 0, 2.0]])
    >>> spring = lambda graph: torch.zeros(2).index_add(0, graph.centers, graph.vectors.square().sum(-1) / 2)
    >>> apart = torch.tensor([[[0, 0, -1.0]], [[0, 0, 1.0]]])
    >>> hessian_product(spring, Graph.from_structures([pair], cutoff=5.0), apart).tolist()
    [[[0.0, 0.0, -4.0]], [[0.0, 0.0, 4.0]]]
    """
    products = derive(atomic_energies, graph, (), create_graph=create_graph, directions=directions).hessian_products
    assert products is not None
    return products


def _evaluated(atomic_energies: Evaluation, graph: Graph) -> tuple[Tensor, Tensor | None]:
    found = atomic_energies(graph)
    return (found, None) if isinstance(found, Tensor) else found


def _total(energies: Tensor, graph: Graph) -> Tensor:
    return energies.new_zeros(graph.n_systems, dtype=torch.float64).index_add(0, graph.system, energies.double())


def _gradient(energy: Tensor, vectors: Tensor, create_graph: bool) -> Tensor:
    if not energy.requires_grad:  # no edges, or energies that do not depend on them
        return torch.zeros_like(vectors)
    (gradient,) = torch.autograd.grad(
        energy.sum(), vectors, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return gradient


def _products(gradient: Tensor, graph: Graph, directions: Tensor, create_graph: bool) -> Tensor:
    against = directions[graph.centers] - directions[graph.neighbors]  # forces fall where the energy curves upwards
    products = [
        _forces(_along(gradient, graph.vectors, against[:, k], create_graph), graph) for k in range(directions.shape[1])
    ]
    return torch.stack(products, dim=1) if products else torch.zeros_like(directions)


def _along(gradient: Tensor, vectors: Tensor, change: Tensor, create_graph: bool) -> Tensor:
    """Return how fast the gradient changes when the edge vectors change so."""
    if not gradient.requires_grad:  # the energy is linear in the edge vectors
        return torch.zeros_like(vectors)
    (rate,) = torch.autograd.grad(
        gradient,
        vectors,
        change,
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
        materialize_grads=True,
    )
    return rate


def _forces(gradient: Tensor, graph: Graph) -> Tensor:
    zero = gradient.new_zeros(graph.n_atoms, 3)
    return zero.index_add(0, graph.centers, gradient).index_add(0, graph.neighbors, gradient, alpha=-1)


def _virial(gradient: Tensor, graph: Graph) -> Tensor:
    outer = graph.vectors.detach().unsqueeze(2) * gradient.unsqueeze(1)
    systems = graph.system[graph.centers]
    virial = outer.new_zeros(graph.n_systems, 3, 3).index_add(0, systems, outer)
    return (virial + virial.transpose(1, 2)) / 2
