"""What is timed: the structures that a student keeps, batches of them, and larger ones made of copies."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError

Systems = dict[str, list[Structure]]
"""Structures that are evaluated in one call, by a name."""

_FIELDS: Final = ("numbers", "positions", "cell", "pbc", "charge", "spin")
_GAP: Final = 3.0  # Angstrom between neighboring molecules of a cluster, about two van der Waals radii


def kept(references: Sequence[dict[str, Any]]) -> Systems:
    """Return the structures that a student keeps, one of each formula.

    The first is a chain of all its elements, which serves where there is nothing else.

    Examples
    --------
    >>> kept([to_plain(Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]]))]).keys()
    dict_keys(['H2'])
    """
    structures = [from_plain(entry) for entry in references]
    return {structure.formula: [structure] for structure in structures[1:] or structures}


def to_plain(structure: Structure) -> dict[str, Any]:
    """Return a structure as plain data."""
    plain = {name: getattr(structure, name) for name in _FIELDS}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in plain.items()}


def from_plain(plain: dict[str, Any]) -> Structure:
    """Return the structure that :func:`to_plain` made plain; other keys are left alone."""
    return Structure(**{name: plain[name] for name in _FIELDS})


def largest(systems: Systems) -> tuple[str, Structure]:
    """Return the name of the largest single structure, and the structure.

    Raises
    ------
    DataError
        If there is none.
    """
    single = {name: structures[0] for name, structures in systems.items() if len(structures) == 1}
    if not single:
        raise DataError("there is nothing to time; give at least one structure with --structure FILE")
    return max(single.items(), key=lambda item: len(item[1]))


def batches(systems: Systems, sizes: Sequence[int]) -> Systems:
    """Return the largest structure in batches of so many copies, in one call each; one alone is there already.

    Examples
    --------
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> {name: len(copies) for name, copies in batches({"H2": [h2]}, [1, 8]).items()}
    {'H2 x 8': 8}
    """
    name, structure = largest(systems)
    return {f"{name} x {size}": [structure] * size for size in sizes if size > 1}


def grown(systems: Systems, copies: Sequence[int]) -> Systems:
    """Return single structures made of so many copies of the largest: supercells of a crystal, clusters of a molecule.

    Examples
    --------
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> {name: len(structure) for name, (structure,) in grown({"H2": [h2]}, [4]).items()}
    {'4 H2 in one': 8}
    """
    name, structure = largest(systems)
    repeat = _supercell if structure.pbc.any() else _cluster
    return {f"{n:,} {name} in one": [repeat(structure, n)] for n in copies if n > 1}


def _cluster(structure: Structure, n: int) -> Structure:
    """Return molecules beside each other on a grid, as far apart as in a liquid."""
    spacing = np.ptp(structure.positions, axis=0) + _GAP
    side = int(np.ceil(n ** (1 / 3) - 1e-9))
    places = np.stack(np.unravel_index(np.arange(side**3), (side,) * 3), axis=1)
    nearest = np.argsort(((places - (side - 1) / 2) ** 2).sum(1), kind="stable")[:n]
    positions = (structure.positions[None] + (spacing * places[nearest])[:, None]).reshape(-1, 3)
    return Structure(np.tile(structure.numbers, n), positions, charge=n * structure.charge, spin=structure.spin)


def _supercell(structure: Structure, n: int) -> Structure:
    """Return a supercell of n cells, as near to a cube as n allows."""
    counts = _factors(n, np.linalg.norm(structure.cell, axis=1), structure.pbc)
    shifts = np.stack(np.unravel_index(np.arange(n), counts), axis=1) @ structure.cell
    return Structure(
        np.tile(structure.numbers, n),
        (structure.positions[None] + shifts[:, None]).reshape(-1, 3),
        cell=structure.cell * np.array(counts)[:, None],
        pbc=structure.pbc,
        charge=n * structure.charge,
        spin=structure.spin,
    )


def _factors(n: int, lengths: NDArray[np.float64], pbc: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Return repeats along the three cell vectors whose product is n, with the shortest longest edge."""
    divisors = [k for k in range(1, n + 1) if n % k == 0]
    choices = [(a, b, n // (a * b)) for a in divisors for b in divisors if n % (a * b) == 0]
    open_ones_once = [c for c in choices if all(k == 1 or periodic for k, periodic in zip(c, pbc, strict=True))]
    return min(open_ones_once, key=lambda counts: (max(counts * lengths), counts))
