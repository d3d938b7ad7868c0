"""GraphPotential: a Potential from anything that gives atomic energies of a Graph."""

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
import torch

from mlff_distiller.atoms.device_neighbors import DeviceGraphs
from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.labels import SINGLE, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.atoms.verlet import VerletGraphs
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.derivatives import AtomicEnergies, Derived, Evaluation, derive, hessian_product
from mlff_distiller.potentials.hessian import Floats

_MOST_REMEMBERED: Final = 1024  # structures, whose check costs more than comparing them with those of the last call


class GraphPotential(Potential):
    """A conservative potential whose energy is a sum of atomic energies within a cutoff.

    Where the same atoms come again, as in dynamics, neighbors are found from lists of the calls before; see
    :class:`~mlff_distiller.atoms.verlet.VerletGraphs`. Threads may call it at the same time.

    Parameters
    ----------
    atomic_energies : callable
        Graph to energies of atoms (N,), eV; differentiable in the edge vectors.
    cutoff : float
        Angstrom.
    elements : collection of int
        Atomic numbers it covers.
    identity : Identity
        Kind, version and digest.
    dtype, device : optional
        Of the edge vectors; float64 on the CPU unless said.
    batching : Batching, optional
        How many atoms are evaluated at once; 2,048 unless given.
    """

    properties = frozenset(SINGLE)
    is_conservative = True

    def __init__(
        self,
        atomic_energies: AtomicEnergies,
        *,
        cutoff: float,
        elements: Collection[int],
        identity: Identity,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        batching: Batching | None = None,
    ) -> None:
        self.atomic_energies = atomic_energies
        self.cutoff: float = cutoff
        self.elements = frozenset(elements)
        self.identity = identity
        self.dtype, self.device = dtype, device
        self.batching = batching or Batching(2048)
        on_cpu = torch.device(device).type == "cpu"
        self._graphs: VerletGraphs | DeviceGraphs = (
            VerletGraphs(cutoff, dtype=dtype) if on_cpu else DeviceGraphs(cutoff, dtype=dtype, device=device)
        )
        self._covered: tuple[Structure, ...] = ()

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        """Return labels for structures, in order; see :meth:`Potential.predict`."""
        self.check(structures, properties)
        return self.batching.run_slices(structures, lambda piece: self._evaluated(structures, piece, properties))

    def check(self, structures: Sequence[Structure], properties: Collection[str]) -> None:
        """Raise what :meth:`predict` promises to raise; atoms that were found to be covered are not looked at again."""
        known = self._covered
        if len(known) == len(structures) and all(map(_same_kind, known, structures)):
            structures = ()
        super().check(structures, properties)
        if structures:
            self._covered = tuple(structures) if len(structures) <= _MOST_REMEMBERED else ()

    def hessian_products(self, structures: Sequence[Structure], directions: Sequence[Floats]) -> list[Floats]:
        """Return the products of each structure's Hessian with directions, exact; see the base class."""
        self.check(structures, ("forces",))
        return self.batching.run_slices(structures, lambda piece: self._products(structures[piece], directions[piece]))

    def _products(self, batch: Sequence[Structure], directions: Sequence[Floats]) -> list[Floats]:
        graph = Graph.from_structures(batch, self.cutoff, dtype=self.dtype, device=self.device)
        along = torch.from_numpy(np.concatenate(directions)).to(graph.vectors)
        products = hessian_product(self.atomic_energies, graph, along).double().cpu().numpy()
        return np.split(products, np.cumsum([len(structure) for structure in batch])[:-1])

    def _evaluated(self, structures: Sequence[Structure], piece: slice, properties: Collection[str]) -> list[Labels]:
        batch = structures[piece]
        graph = self._graphs.graph(batch, place=piece.start)
        return _labels(batch, self._derive(graph, properties), properties)

    def _derive(self, graph: Graph, properties: Collection[str]) -> Derived:
        """Return energies and what is asked for, in tensors that no later call writes to."""
        return derive(self._evaluation(properties), graph, properties)

    def _evaluation(self, properties: Collection[str]) -> Evaluation:
        """Return what is evaluated for some properties; where embeddings are asked for, it must give them, too."""
        return self.atomic_energies


def _same_kind(a: Structure, b: Structure) -> bool:
    """Return whether two structures share all that decides whether they are covered, so that one check does."""
    return a.numbers is b.numbers and a.pbc is b.pbc and a.cell is b.cell and a.charge == b.charge and a.spin == b.spin


def _labels(structures: Sequence[Structure], derived: Derived, properties: Collection[str]) -> list[Labels]:
    energies = derived.energy.tolist() if "energy" in properties else [None] * len(structures)
    virials = _array(derived.virial, "stress" in properties)
    forces = _array(derived.forces, "forces" in properties)
    atomic_energies = _array(derived.atomic_energies, "atomic_energies" in properties)
    embeddings = _array(derived.embeddings, "embeddings" in properties)
    labels, first = [], 0
    for index, structure in enumerate(structures):
        atoms = slice(first, first := first + len(structure))
        labels.append(
            Labels(
                energy=energies[index],
                forces=None if forces is None else forces[atoms],
                stress=None if virials is None else _stress(virials[index], structure),
                atomic_energies=None if atomic_energies is None else atomic_energies[atoms],
                embeddings=None if embeddings is None else embeddings[atoms],
            )
        )
    return labels


def _array(tensor: torch.Tensor | None, asked: bool) -> np.ndarray | None:
    if tensor is None or not asked:
        return None
    return (tensor if tensor.dtype == torch.float64 else tensor.double()).cpu().numpy()


def _stress(virial: np.ndarray, structure: Structure) -> np.ndarray | None:
    return virial / structure.volume if structure.is_periodic else None
