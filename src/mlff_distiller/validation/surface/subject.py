"""Subject: a potential whose energy surface is examined, and with which structures."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.randomness import generator
from mlff_distiller.validation.surface.energy_noise import energy_noise
from mlff_distiller.validation.surface.probe import Probe


class Thoroughness(Protocol):
    """How much is done with every structure: settings that the audit and the check of physicality have."""

    @property
    def n_directions(self) -> int:
        """Random directions for finite differences, for each structure."""

    @property
    def n_loops(self) -> int:
        """Closed loops for each structure."""

    @property
    def n_rotations(self) -> int:
        """Random rotations, mirrored rotations, translations and orders of atoms, of each."""

    @property
    def n_repeats(self) -> int:
        """How often the same call is repeated."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A potential whose energy surface is examined.

    Parameters
    ----------
    probe : Probe
        The potential.
    structures : sequence of Structure
        For which it gave energies and forces.
    plan : Thoroughness
        How much is done with each.
    seed : int
        Of random directions.
    """

    probe: Probe
    structures: Sequence[Structure]
    plan: Thoroughness
    seed: int

    def rng(self, *names: str | int) -> np.random.Generator:
        """Return random numbers for one use."""
        return generator(self.seed, "audit", *names)

    @cached_property
    def energy_noise(self) -> NDArray[np.float64]:
        """Noise of the energy of each structure (S,), eV."""
        return np.array([energy_noise(self.probe, s, rng=self.rng("noise", k)) for k, s in enumerate(self.structures)])


def name_of(structure: Structure) -> str:
    """Return what a structure is called: its seed, or its formula."""
    return str(structure.info.get("seed", structure.formula))
