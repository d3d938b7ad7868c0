"""GraphPotential: a Potential from anything that gives atomic energies of a Graph."""

from collections.abc import Collection, Sequence

import numpy as np
import torch

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.labels import SINGLE, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.derivatives import AtomicEnergies, Derived, Evaluation, derive, hessian_product
from mlff_distiller.potentials.hessian import Floats


class GraphPotential(Potential):
    """A conservative potential whose energy is a sum of atomic energies within a cutoff.

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

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        """Return labels for structures, in order; see :meth:`Potential.predict`."""
        self.check(structures, properties)
        return self.batching.run(structures, lambda batch: self._evaluated(batch, properties))

    def hessian_products(self, structures: Sequence[Structure], directions: Sequence[Floats]) -> list[Floats]:
        """Return the products of each structure's Hessian with directions, exact; see the base class."""
        self.check(structures, ("forces",))
        return self.batching.run_slices(structures, lambda piece: self._products(structures[piece], directions[piece]))

    def _products(self, batch: Sequence[Structure], directions: Sequence[Floats]) -> list[Floats]:
        graph = Graph.from_structures(batch, self.cutoff, dtype=self.dtype, device=self.device)
        along = torch.from_numpy(np.concatenate(directions)).to(graph.vectors)
        products = hessian_product(self.atomic_energies, graph, along).double().cpu().numpy()
        return np.split(products, np.cumsum([len(structure) for structure in batch])[:-1])

    def _evaluated(self, batch: Sequence[Structure], properties: Collection[str]) -> list[Labels]:
        graph = Graph.from_structures(batch, self.cutoff, dtype=self.dtype, device=self.device)
        return _labels(batch, derive(self._evaluation(properties), graph, properties), properties)

    def _evaluation(self, properties: Collection[str]) -> Evaluation:
        """Return what is evaluated for some properties; where embeddings are asked for, it must give them, too."""
        return self.atomic_energies


def _labels(structures: Sequence[Structure], derived: Derived, properties: Collection[str]) -> list[Labels]:
    arrays = {
        name: tensor.double().cpu().numpy()
        for name, tensor in vars(derived).items()
        if isinstance(tensor, torch.Tensor)
    }
    labels, first = [], 0
    for index, structure in enumerate(structures):
        atoms = slice(first, first := first + len(structure))
        everything = Labels(
            energy=float(arrays["energy"][index]),
            forces=arrays["forces"][atoms] if "forces" in arrays else None,
            stress=_stress(arrays["virial"][index], structure) if "virial" in arrays else None,
            atomic_energies=arrays["atomic_energies"][atoms],
            embeddings=arrays["embeddings"][atoms] if "embeddings" in arrays else None,
        )
        labels.append(everything.only(properties))
    return labels


def _stress(virial: np.ndarray, structure: Structure) -> np.ndarray | None:
    return virial / structure.volume if structure.is_periodic else None
