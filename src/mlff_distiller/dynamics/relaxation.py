"""Relaxation: the nearest minimum of a potential, by ASE's optimizers."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from mlff_distiller.atoms.conversion import to_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import StructureError
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.calculator import PotentialCalculator

_MOST_IN_FULL: Final = 200  # atoms up to which the whole Hessian is updated; diagonalizing it takes N^3


@dataclass(frozen=True, eq=False)
class Relaxed:
    """Where a relaxation ended.

    Attributes
    ----------
    structure : Structure
        The last geometry, at the cell of the start.
    energy : float
        eV.
    max_force : float
        Largest force on an atom there, eV/Angstrom.
    n_steps : int
        How many steps it took.
    converged : bool
        Whether the forces fell below what was asked.
    """

    structure: Structure
    energy: float
    max_force: float
    n_steps: int
    converged: bool


def relax(potential: Potential, structure: Structure, *, max_force: float = 1e-3, max_steps: int = 500) -> Relaxed:
    """Return the nearest minimum of a potential at a fixed cell.

    BFGS without a line search, which needs forces alone and so bears energies of single precision; with limited memory
    for many atoms.

    Parameters
    ----------
    potential : Potential
        What gives the forces.
    structure : Structure
        Where it begins.
    max_force : float
        Largest force on an atom at which it stops, eV/Angstrom.
    max_steps : int
        Most steps.

    Raises
    ------
    UnsupportedStructureError, PredictionError, StructureError
        If the potential cannot evaluate a geometry, or the atoms fly apart.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import morse
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.9]])
    >>> relaxed = relax(morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0), h2, max_force=1e-6)
    >>> relaxed.converged, round(float(relaxed.structure.positions[1, 2] - relaxed.structure.positions[0, 2]), 3)
    (True, 0.74)
    """
    from ase.optimize import BFGS, LBFGS  # here, because it is slow to import

    atoms = to_ase(structure)
    atoms.calc = PotentialCalculator(potential)
    method = BFGS if len(structure) <= _MOST_IN_FULL else LBFGS
    with method(atoms, logfile=None) as optimizer, np.errstate(divide="ignore", invalid="ignore"):
        try:
            optimizer.run(fmax=max_force, steps=max_steps)
        except np.linalg.LinAlgError as error:  # forces that do not change however far the atoms move
            raise StructureError(
                f"{structure.formula} cannot be relaxed: the forces make no sense; begin elsewhere, or take another "
                "potential"
            ) from error
        largest = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        energy, n_steps = float(atoms.get_potential_energy()), int(optimizer.nsteps)
    return Relaxed(structure.moved(atoms.positions), energy, largest, n_steps, largest < max_force)
