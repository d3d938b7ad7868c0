"""Analytic pair potentials, exact references for tests and documentation."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.core.provenance import digest
from mlff_distiller.potentials.base import Identity
from mlff_distiller.potentials.cutoff import polynomial_cutoff
from mlff_distiller.potentials.graph_potential import GraphPotential

ALL_ELEMENTS = frozenset(range(1, 119))


def lennard_jones(
    *, epsilon: float, sigma: float, cutoff: float, elements: Collection[int] = ALL_ELEMENTS
) -> GraphPotential:
    """Return the Lennard-Jones potential 4 epsilon ((sigma/r)^12 - (sigma/r)^6), switched off at the cutoff.

    Source: Jones 1924, doi:10.1098/rspa.1924.0082.

    Parameters
    ----------
    epsilon : float
        Well depth, eV.
    sigma, cutoff : float
        Angstrom.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> argon = lennard_jones(epsilon=0.0104, sigma=3.4, cutoff=8.5)
    >>> pair = Structure([18, 18], [[0, 0, 0], [0, 0, 3.4]])
    >>> abs(argon.predict([pair])[0].energy) < 1e-12
    True
    """

    def pair(r: Tensor) -> Tensor:
        s6 = (sigma / r) ** 6
        return 4 * epsilon * (s6 * s6 - s6)

    settings = {"epsilon": epsilon, "sigma": sigma, "cutoff": cutoff}
    return _pair_potential("lennard_jones", pair, settings, elements)


def morse(
    *, depth: float, width: float, distance: float, cutoff: float, elements: Collection[int] = ALL_ELEMENTS
) -> GraphPotential:
    """Return the Morse potential depth ((1 - exp(-width (r - distance)))^2 - 1), switched off at the cutoff.

    Source: Morse 1929, doi:10.1103/PhysRev.34.57.

    Parameters
    ----------
    depth : float
        eV.
    width : float
        1/Angstrom.
    distance, cutoff : float
        Angstrom.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> bond = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0)
    >>> round(bond.predict([Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])])[0].energy, 3)
    -4.5
    """

    def pair(r: Tensor) -> Tensor:
        return depth * ((1 - torch.exp(-width * (r - distance))) ** 2 - 1)

    settings = {"depth": depth, "width": width, "distance": distance, "cutoff": cutoff}
    return _pair_potential("morse", pair, settings, elements)


def harmonic(
    *, stiffness: float, distance: float, cutoff: float, elements: Collection[int] = ALL_ELEMENTS
) -> GraphPotential:
    """Return springs stiffness/2 (r - distance)^2 between all pairs, with a sharp cutoff.

    Exactly harmonic, so that frequencies and the shadow energy of an integrator are known; keep pairs well inside
    or well outside the cutoff.

    Parameters
    ----------
    stiffness : float
        eV/Angstrom^2.
    distance, cutoff : float
        Angstrom.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
    >>> spring.predict([Structure([1, 1], [[0, 0, 0], [0, 0, 1.2]])])[0].forces[1].round(6).tolist()
    [0.0, 0.0, -2.0]
    """

    def pair(r: Tensor) -> Tensor:
        return stiffness / 2 * (r - distance) ** 2

    settings = {"stiffness": stiffness, "distance": distance, "cutoff": cutoff}
    return _pair_potential("harmonic", pair, settings, elements, switched=False)


def _pair_potential(
    kind: str,
    pair: Callable[[Tensor], Tensor],
    settings: dict[str, float],
    elements: Collection[int],
    *,
    switched: bool = True,
) -> GraphPotential:
    cutoff = settings["cutoff"]

    def atomic_energies(graph: Graph) -> Tensor:
        r = torch.linalg.vector_norm(graph.vectors, dim=-1)
        energy = pair(r) * polynomial_cutoff(r, cutoff) if switched else pair(r)
        return energy.new_zeros(graph.n_atoms).index_add(0, graph.centers, energy / 2)

    identity = Identity(kind, "analytic", digest([kind, settings]), "float64", "cpu")
    return GraphPotential(atomic_energies, cutoff=cutoff, elements=elements, identity=identity)
