"""Systems and potentials with known answers."""

from collections.abc import Callable, Collection, Sequence

import numpy as np
import pytest

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.potentials.analytic import ALL_ELEMENTS, lennard_jones
from mlff_distiller.potentials.base import Identity, Potential


class Wells(Potential):
    """Every atom in an isotropic harmonic well at the origin, stiffness in eV/Angstrom^2."""

    elements = ALL_ELEMENTS
    properties = frozenset({"energy", "forces"})
    is_conservative = True
    identity = Identity("wells", "test", "0")

    def __init__(self, stiffness: float) -> None:
        self.stiffness = stiffness

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        return [
            Labels(energy=float(0.5 * self.stiffness * (s.positions**2).sum()), forces=-self.stiffness * s.positions)
            for s in structures
        ]


class Fragile(Potential):
    """Lennard-Jones argon that gives no answer, or no finite one, where atoms 0 and 1 are further apart than 5 A."""

    elements = frozenset({18})
    properties = frozenset({"energy", "forces"})
    is_conservative = True
    identity = Identity("fragile", "test", "0")

    def __init__(self, *, raises: bool) -> None:
        self.inner, self.raises = lennard_jones(epsilon=0.0104, sigma=3.4, cutoff=8.5), raises

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        broken = [float(np.linalg.norm(s.positions[1] - s.positions[0])) > 5 for s in structures]
        if self.raises and any(broken):
            raise PredictionError(broken.index(True), "SCF did not converge")
        labels = self.inner.predict(structures, properties)
        return [
            Labels(energy=np.nan, forces=label.forces) if bad else label
            for label, bad in zip(labels, broken, strict=True)
        ]


@pytest.fixture(scope="session")
def argon() -> Potential:
    return lennard_jones(epsilon=0.0104, sigma=3.4, cutoff=8.5)


@pytest.fixture
def wells() -> Callable[[float], Wells]:
    return Wells


@pytest.fixture
def fragile() -> Callable[..., Fragile]:
    return Fragile


@pytest.fixture(scope="session")
def cluster() -> Structure:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    shifts = np.random.default_rng(0).normal(0, 0.1, (8, 3))
    return Structure([18] * 8, 3.8 * corners + shifts)


@pytest.fixture(scope="session")
def pair() -> Callable[[float], Structure]:
    return lambda distance: Structure([18, 18], [[0, 0, 0], [0, 0, distance]])
