"""Labels: what a potential says of a structure; what it does not say is absent, never zero."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

SINGLE: Final = ("energy", "forces", "stress", "atomic_energies")
"""What a single potential may give."""

SPREADS: Final = ("energy_std", "force_std")
"""What only a committee of potentials can give."""

PROPERTIES: Final = SINGLE + SPREADS
"""All properties a label may hold, in the order of their bits in the store's property mask."""

OF_ATOMS: Final = frozenset({"forces", "atomic_energies", "force_std"})
"""Properties with a row for each atom; the others have one for the whole structure."""


def shape(name: str, n_atoms: int) -> tuple[int, ...]:
    """Return the shape of a property of a structure of N atoms.

    Examples
    --------
    >>> shape("forces", 3), shape("energy", 3)
    ((3, 3), ())
    """
    inner = {"forces": (3,), "stress": (3, 3)}.get(name, ())
    return (n_atoms, *inner) if name in OF_ATOMS else inner


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
        return Labels(**{name: getattr(self, name) for name in self.present if name in properties})
