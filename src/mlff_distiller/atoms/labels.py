"""Labels: what a potential says of a structure; what it does not say is absent, never zero."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

PROPERTIES: Final = ("energy", "forces", "stress", "atomic_energies")
"""All properties a label may hold, in the order of their bits in the store's property mask."""


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

    Examples
    --------
    >>> Labels(energy=-1.0).present
    ('energy',)
    """

    energy: float | None = None
    forces: NDArray[np.float64] | None = None
    stress: NDArray[np.float64] | None = None
    atomic_energies: NDArray[np.float64] | None = None

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
