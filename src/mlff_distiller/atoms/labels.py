"""Labels: what a potential says of a structure; what it does not say is absent, never zero."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SINGLE: Final = ("energy", "forces", "stress", "atomic_energies")
"""What a single potential may give."""

SPREADS: Final = ("energy_std", "force_std")
"""What only a committee of potentials can give."""

EMBEDDINGS: Final = ("embeddings",)
"""What only a potential that computes features of atoms can give."""

FIXED: Final = SINGLE + SPREADS
"""Properties whose values have the same shape in all data; what other programs' files hold."""

PREDICTED: Final = FIXED + EMBEDDINGS
"""What a potential may be asked to predict."""

HESSIAN: Final = ("hessian_directions", "hessian_products")
"""What is known of a Hessian: some displacements, and what it makes of them. Neither means anything alone."""

PROPERTIES: Final = FIXED + HESSIAN + EMBEDDINGS
"""All properties a label may hold, in the order of their bits in the store's property mask."""

OF_ATOMS: Final = frozenset({"forces", "atomic_energies", "force_std", *HESSIAN, *EMBEDDINGS})
"""Properties with a row for each atom; the others have one for the whole structure."""

OPEN: Final = {"K": HESSIAN, "D": EMBEDDINGS}
"""Properties whose second axis is as long as a data set likes: K directions, D features."""

Widths = Mapping[str, int]
"""Lengths of open axes, "K" and "D", where they are known."""

_NONE: Final[Widths] = MappingProxyType({})
_INNER: Final[Mapping[str, tuple[int | str, ...]]] = {
    "forces": (3,),
    "stress": (3, 3),
    "hessian_directions": ("K", 3),
    "hessian_products": ("K", 3),
    "embeddings": ("D",),
}


def lengths(axes: Iterable[int | str], widths: Widths) -> tuple[int, ...]:
    """Return the lengths of axes, of which some are open.

    Examples
    --------
    >>> lengths(("K", 3), {"K": 2, "D": 64})
    (2, 3)
    """
    return tuple(widths.get(axis, 0) if isinstance(axis, str) else axis for axis in axes)


def shape(name: str, n_atoms: int, widths: Widths = _NONE) -> tuple[int, ...]:
    """Return the shape of a property of a structure of N atoms.

    Examples
    --------
    >>> shape("forces", 3), shape("energy", 3), shape("hessian_products", 3, {"K": 2})
    ((3, 3), (), (3, 2, 3))
    """
    inner = lengths(_INNER.get(name, ()), widths)
    return (n_atoms, *inner) if name in OF_ATOMS else inner


def widths_of(arrays: Any) -> dict[str, int]:
    """Return the lengths of open axes of arrays that are held by the names of properties.

    Examples
    --------
    >>> widths_of({"forces": np.ones((3, 3)), "hessian_products": np.ones((3, 2, 3))})
    {'K': 2}
    """
    shapes: dict[str, tuple[int, ...]] = {
        axis: next((np.shape(arrays[name]) for name in names if name in arrays), ()) for axis, names in OPEN.items()
    }
    return {axis: found[1] for axis, found in shapes.items() if len(found) > 1 and found[1]}


def together(properties: Iterable[str]) -> frozenset[str]:
    """Return properties with what they mean nothing without: products of a Hessian need their directions.

    Examples
    --------
    >>> sorted(together(["energy", "hessian_products"]))
    ['energy', 'hessian_directions', 'hessian_products']
    """
    named = frozenset(properties)
    return named | frozenset(HESSIAN) if named & frozenset(HESSIAN) else named


@dataclass(frozen=True, eq=False)
class Labels:
    """Energies and their derivatives for one structure of N atoms.

    Parameters
    ----------
    energy : float, optional
        Total potential energy, eV.
    forces : (N, 3), optional
        Forces, eV/Angstrom.
    stress : (3, 3), optional
        Stress, eV/Angstrom^3, tension positive (ASE's sign): dE/d(strain) / volume. Only for cells periodic in
        three directions.
    atomic_energies : (N,), optional
        Energies of atoms, eV; they add up to the energy.
    energy_std : float, optional
        Standard deviation of the energy over the members of a committee, eV.
    force_std : (N,), optional
        Standard deviation of the force vector on each atom over the members of a committee, eV/Angstrom: the root of
        the mean squared distance from the mean force.
    hessian_directions : (N, K, 3), optional
        Displacements of all atoms in K directions, without unit; of root mean square 1 over the 3 N coordinates where
        we draw them.
    hessian_products : (N, K, 3), optional
        Second derivatives of the energy times each of these directions, eV/Angstrom^2: minus the change of the forces
        for each unit of the displacement.
    embeddings : (N, D), optional
        Features of each atom as the potential sees it, without unit, invariant under rotation.

    Examples
    --------
    >>> Labels(energy=-1.0).present
    ('energy',)
    """

    energy: float | None = None
    forces: NDArray[np.float64] | None = None
    stress: NDArray[np.float64] | None = None
    atomic_energies: NDArray[np.float64] | None = None
    energy_std: float | None = None
    force_std: NDArray[np.float64] | None = None
    hessian_directions: NDArray[np.float64] | None = None
    hessian_products: NDArray[np.float64] | None = None
    embeddings: NDArray[np.floating] | None = None

    @property
    def widths(self) -> Widths:
        """K, the number of directions in which the Hessian is known, and D, the number of features, if any."""
        return widths_of({name: getattr(self, name) for name in self.present})

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the properties that are there."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) is not None)

    @property
    def is_finite(self) -> bool:
        """Whether every number that is there is finite."""
        return all(bool(np.isfinite(getattr(self, name)).all()) for name in self.present)

    def only(self, properties: Iterable[str]) -> "Labels":
        """Return a copy that holds no more than the named properties."""
        wanted = together(properties)
        return Labels(**{name: getattr(self, name) for name in self.present if name in wanted})
