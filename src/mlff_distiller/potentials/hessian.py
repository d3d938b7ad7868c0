"""Hessian rows: random directions, and what the second derivatives of an energy make of them.

A whole Hessian costs 6 N calls of a teacher; its products with a few random directions cost two each, and matching
them teaches a student curvature (Amin et al. 2025, arXiv:2501.09009).
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.core.randomness import generator

Floats = NDArray[np.float64]
Forces = Callable[[Sequence[Structure]], Sequence[Floats]]
"""A function of structures that returns the forces on their atoms (N, 3), eV/Angstrom."""

STEP: Final = 0.002
"""Root mean square displacement of a coordinate in finite differences, Angstrom.

For GFN2-xTB (water, ethanol, acetic acid) products are then right to 1-3 parts in 10,000, and the error grows with the
square of the step (0.005: 0.4-2 in 1,000). A Morse potential in single precision is right to 1 in 10,000, and hardly
better with any step; noise of 1e-4 eV/Angstrom in the forces costs about 1 in 1,000.
"""


def random_directions(n_atoms: int, n_directions: int, *, seed: int, number: int) -> Floats:
    """Return random displacements without translation, of root mean square 1 over the 3 N coordinates.

    With that length, products are numbers of the size of a force constant for structures of any size.

    Parameters
    ----------
    n_atoms : int
        N; a single atom has nowhere to go, and its directions are zero.
    n_directions : int
        K.
    seed, number : int
        What the numbers depend on: a seed and the number of the structure.

    Returns
    -------
    (N, K, 3)
        Directions, without unit.

    Examples
    --------
    >>> directions = random_directions(3, 2, seed=0, number=7)
    >>> directions.shape, (directions**2).mean(axis=(0, 2)).round(12).tolist()
    ((3, 2, 3), [1.0, 1.0])
    """
    drawn = generator(seed, "hessian", number).normal(size=(n_atoms, n_directions, 3))
    drawn -= drawn.mean(axis=0)
    lengths = np.sqrt((drawn**2).mean(axis=(0, 2), keepdims=True))
    return drawn / np.where(lengths > 0, lengths, 1.0)


def finite_difference_products(
    forces: Forces, structures: Sequence[Structure], directions: Sequence[Floats], *, step: float = STEP
) -> list[Floats]:
    """Return the products of Hessians with directions, by central differences of the forces.

    All displaced structures, two for each direction, are asked for in one call. The error is about step^2 / 6 of the
    fourth derivative of the energy, plus the noise of the forces over the step.

    Parameters
    ----------
    forces : callable
        Forces of structures.
    structures : sequence of Structure
        Where the Hessians are taken.
    directions : sequence of (N, K, 3)
        Directions for each structure, without unit.
    step : float
        Angstrom that a direction stands for.

    Returns
    -------
    list of (N, K, 3)
        eV/Angstrom^2.

    Raises
    ------
    PredictionError
        If a displaced structure could not be evaluated; the index is that of the structure itself.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import harmonic
    >>> spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
    >>> pair = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
    >>> apart = np.array([[[0, 0, -1.0]], [[0, 0, 1.0]]])
    >>> predicted = lambda moved: [labels.forces for labels in spring.predict(moved)]
    >>> finite_difference_products(predicted, [pair], [apart])[0].round(6).tolist()
    [[[0.0, 0.0, -20.0]], [[0.0, 0.0, 20.0]]]
    """
    moved = [
        structure.moved(structure.positions + sign * step * along)
        for structure, own in zip(structures, directions, strict=True)
        for along in own.transpose(1, 0, 2)
        for sign in (-1, 1)
    ]
    owner = [k for k, own in enumerate(directions) for _ in range(2 * own.shape[1])]
    try:
        found = iter(forces(moved) if moved else ())
    except PredictionError as error:
        raise PredictionError(owner[error.index], error.reason, error.detail) from error
    products = []
    for own in directions:
        columns = [(next(found) - next(found)) / (2 * step) for _ in range(own.shape[1])]
        products.append(np.stack(columns, axis=1) if columns else np.zeros_like(own))
    return products
