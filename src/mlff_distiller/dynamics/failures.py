"""What counts as a failed trajectory, and how that is said."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DistillerError
from mlff_distiller.core.plan import Plan

if TYPE_CHECKING:
    from mlff_distiller.atoms.neighbors import Edges


class Limits(Plan):
    """Bounds beyond which a trajectory counts as failed.

    Examples
    --------
    >>> Limits(max_force=50).max_force
    50.0
    """

    max_force: float = Field(200.0, gt=0, description="Largest force allowed on any atom, eV/Angstrom.")
    max_temperature_K: float = Field(
        10_000.0, gt=0, description="Largest temperature allowed, from the kinetic energy per atom."
    )
    min_distance: float = Field(0.4, ge=0, description="Two atoms closer than this have collapsed, Angstrom.")
    escape_distance: float = Field(
        6.0,
        gt=0,
        description="A part of a molecule further than this from all the rest has escaped, Angstrom; "
        "not applied with periodic boundaries.",
    )


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Failure:
    """When and why a trajectory failed.

    Parameters
    ----------
    reason : str
        In a few words.
    step : int
        Step at which it was seen; 0 is the starting point.
    time_ps : float
        The same as a time, ps.

    Examples
    --------
    >>> Failure("atoms 0 and 1 are 0.21 Angstrom apart", 40, 0.02).step
    40
    """

    reason: str
    step: int
    time_ps: float


class DynamicsFailure(DistillerError):
    """One system of a run could not be continued.

    Attributes
    ----------
    index : int
        Position of the system in the batch.
    reason : str
        Why, in a few words.

    Examples
    --------
    >>> raise DynamicsFailure(2, "energy or forces are not finite")
    Traceback (most recent call last):
    ...
    mlff_distiller.dynamics.failures.DynamicsFailure: the trajectory of system 2 failed: energy or forces are not finite
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"the trajectory of system {index} failed: {reason}")
        self.index = index
        self.reason = reason

    def __reduce__(self) -> tuple[type["DynamicsFailure"], tuple[int, str]]:
        """Keep both arguments when the error crosses a process boundary."""
        return type(self), (self.index, self.reason)


def geometry_fault(structure: Structure, limits: Limits, fragments: int) -> str:
    """Return why the geometry is a failure, or an empty string.

    Parameters
    ----------
    structure : Structure
        The present geometry.
    limits : Limits
        Bounds.
    fragments : int
        Number of fragments at the start, from :func:`count_fragments`; more of them is an escape.

    Examples
    --------
    >>> geometry_fault(Structure([1, 1], [[0, 0, 0], [0, 0, 0.2]]), Limits(), 1)
    'atoms 0 and 1 are 0.200 Angstrom apart'
    """
    edges = _edges(structure, limits)
    if len(edges):
        distances = np.linalg.norm(edges.vectors, axis=1)
        closest = int(distances.argmin())
        if distances[closest] < limits.min_distance:
            pair = f"{edges.centers[closest]} and {edges.neighbors[closest]}"
            return f"atoms {pair} are {distances[closest]:.3f} Angstrom apart"
    now = _fragments(structure, edges)
    if now > fragments:
        return f"dissociated: {now} fragments further apart than {limits.escape_distance:g} Angstrom, not {fragments}"
    return ""


def count_fragments(structure: Structure, limits: Limits) -> int:
    """Return how many parts of a molecule are further than the escape distance from each other.

    With periodic boundaries always one: nothing can escape.

    Examples
    --------
    >>> count_fragments(Structure([1, 1], [[0, 0, 0], [0, 0, 9.0]]), Limits())
    2
    """
    return _fragments(structure, _edges(structure, limits))


def _edges(structure: Structure, limits: Limits) -> "Edges":
    from mlff_distiller.atoms.neighbors import find_edges  # loads torch, which reading a recipe must not

    periodic = bool(structure.pbc.any())
    cutoff = limits.min_distance if periodic else max(limits.escape_distance, limits.min_distance)
    return find_edges(structure, max(cutoff, 1e-3))


def _fragments(structure: Structure, edges: "Edges") -> int:
    n = len(structure)
    if structure.pbc.any() or n == 1:
        return 1
    degrees: NDArray[np.int64] = np.bincount(edges.centers, minlength=n)
    if 2 * degrees.min() >= n - 1:  # two parts cannot both be that well connected: the usual case, and cheap
        return 1
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(edges)), (edges.centers, edges.neighbors)), shape=(n, n))
    return int(connected_components(links, directed=False, return_labels=False))
