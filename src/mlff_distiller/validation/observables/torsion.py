"""Torsion scans: energy along the rotation about single bonds, everything else kept."""

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.observables.answers import energies
from mlff_distiller.validation.observables.bonds import Topology, angle_between

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
_ON_AXIS_DEGREES = 10.0


def rotatable_bonds(structure: Structure, most: int) -> list[tuple[int, int, Indices]]:
    """Return bonds about which a part of a molecule can turn: their two atoms, and the atoms that turn.

    A bond in a ring cannot, nor one whose other bonds lie on its line; of the two parts the smaller one turns. Bonds
    between atoms with many heavy neighbors come first.

    Parameters
    ----------
    structure : Structure
        A molecule.
    most : int
        How many bonds.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from mlff_distiller.atoms.conversion import from_ase
    >>> [(i, j) for i, j, _ in rotatable_bonds(from_ase(molecule("CH3CH2OH")), 5)]
    [(0, 1), (1, 2)]
    """
    topology = Topology.of(structure)
    heavy = np.bincount(topology.centers[structure.numbers[topology.neighbors] > 1], minlength=len(structure))
    found = []
    for edge in topology.bonds.tolist():
        i, j = int(topology.centers[edge]), int(topology.neighbors[edge])
        side = _side(topology, i, j, len(structure))
        turns = all(_turns(structure, topology, *ends) for ends in ((i, j), (j, i)))
        if side is not None and turns:
            found.append((-int(heavy[i] * heavy[j]), i, j, side))
    found.sort(key=lambda own: own[:3])
    return [(i, j, side) for _, i, j, side in found[:most]]


def _side(topology: Topology, i: int, j: int, n: int) -> Indices | None:
    """Return the atoms of the smaller part that is left without the bond; None where it is in a ring."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = {i, j}
    kept = [{a, b} != ends for a, b in zip(topology.centers.tolist(), topology.neighbors.tolist(), strict=True)]
    rows, columns = topology.centers[kept], topology.neighbors[kept]
    part = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n)), directed=False)[1]
    if part[i] == part[j]:
        return None
    sides = [np.flatnonzero(part == part[end]) for end in (i, j)]
    return np.asarray(min(reversed(sides), key=len))


def _turns(structure: Structure, topology: Topology, end: int, other: int) -> bool:
    """Whether an end of a bond has a neighbor off the line of the bond."""
    at = structure.positions
    around = topology.neighbors[topology.centers == end]
    angles = [float(angle_between(at[k] - at[end], at[end] - at[other])) for k in around if k != other]
    return any(_ON_AXIS_DEGREES < angle < 180 - _ON_AXIS_DEGREES for angle in angles)


def turned(structure: Structure, i: int, j: int, side: Indices, degrees: float) -> Structure:
    """Return a molecule with the atoms of one side turned about the bond from i to j."""
    from scipy.spatial.transform import Rotation

    axis = structure.positions[j] - structure.positions[i]
    rotation = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.radians(degrees))
    positions = structure.positions.copy()
    positions[side] = rotation.apply(positions[side] - positions[i]) + positions[i]
    return structure.moved(positions)


def torsion_scans(potential: Potential, structure: Structure, most: int, n_points: int) -> tuple[Indices, Floats]:
    """Return the atoms of bonds (K, 2), and the energies of rigid turns about them (K, P), eV, from 0 to 360 degrees.

    NaN where a geometry could not be evaluated. Atoms are not relaxed, so barriers are upper bounds; both potentials
    are asked about the same geometries, so that their difference is one of energies alone.
    """
    bonds = rotatable_bonds(structure, most)
    steps = [360 * k / n_points for k in range(n_points)]
    scan = [turned(structure, i, j, side, step) for i, j, side in bonds for step in steps]
    atoms = np.array([(i, j) for i, j, _ in bonds], dtype=np.int64).reshape(-1, 2)
    return atoms, energies(potential, scan).reshape(len(bonds), n_points)


def profile_error(student: Floats, teacher: Floats, most: float) -> float:
    """Return the largest deviation of two profiles (P,), each from its value at the teacher's minimum, eV.

    Points that lie more than ``most`` eV above the teacher's minimum do not count. A point that the student cannot
    evaluate is infinitely wrong; NaN where the teacher has none.

    Examples
    --------
    >>> profile_error(np.array([1.0, 1.2, 9.0]), np.array([0.0, 0.1, 5.0]), 2.0).__round__(6)
    0.1
    """
    if not np.isfinite(teacher).any():
        return float("nan")
    lowest = int(np.nanargmin(teacher))
    with np.errstate(invalid="ignore"):
        counts = teacher - teacher[lowest] <= most
    error = (student - student[lowest]) - (teacher - teacher[lowest])
    return float(np.abs(np.where(np.isnan(error[counts]), np.inf, error[counts])).max())
