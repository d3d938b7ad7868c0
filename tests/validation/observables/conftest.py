"""Springs that refuse what they have no springs for, a gas without interactions, and short settings."""

from collections.abc import Collection, Sequence

import numpy as np
import pytest

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import UnsupportedStructureError
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.validation.checks.observables import ObservablesPlan


class Springs(Potential):
    """The world's springs, which say so where they are asked for another molecule, and count what they are asked."""

    is_conservative = True
    properties = frozenset({"energy", "forces"})

    def __init__(self, network: Potential) -> None:
        self.network, self.elements, self.n_asked = network, network.elements, 0
        self.identity = Identity("springs", "analytic", f"{network.factor} {network.rest['H2O'].max()}")

    def check(self, structures: Sequence[Structure], properties: Collection[str]) -> None:
        super().check(structures, properties)
        for structure in structures:
            if structure.formula not in self.network.rest:
                raise UnsupportedStructureError(f"{structure.formula} has no springs; ask for another")

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        self.check(structures, properties)
        self.n_asked += len(structures)
        return self.network.predict(structures, properties)


class Gas(Potential):
    """Atoms without interactions."""

    is_conservative = True
    properties = frozenset({"energy", "forces", "stress"})
    elements = frozenset(range(1, 119))
    identity = Identity("gas", "analytic", "none")

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        return [
            Labels(
                energy=0.0,
                forces=np.zeros_like(structure.positions),
                stress=np.zeros((3, 3)) if structure.is_periodic else None,
            ).only(properties)
            for structure in structures
        ]


class Spring(Potential):
    """One spring between the two atoms of every structure, without cutoff."""

    is_conservative = True
    properties = frozenset({"energy", "forces"})
    elements = frozenset(range(1, 119))
    identity = Identity("spring", "analytic", "one")

    def __init__(self, stiffness: float, length: float) -> None:
        self.stiffness, self.length = stiffness, length

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        return [self._label(structure.positions).only(properties) for structure in structures]

    def _label(self, positions: np.ndarray) -> Labels:
        apart = positions[1] - positions[0]
        r = float(np.linalg.norm(apart))
        pull = self.stiffness * (r - self.length) * apart / r
        return Labels(energy=self.stiffness / 2 * (r - self.length) ** 2, forces=np.array([pull, -pull]))


@pytest.fixture(scope="session")
def make_spring() -> type[Spring]:
    return Spring


@pytest.fixture(scope="session")
def springs(make_student):
    return lambda factor=1.0, longer=0.0: Springs(make_student(factor, longer))


@pytest.fixture(scope="session")
def gas() -> Gas:
    return Gas()


@pytest.fixture(scope="session")
def box() -> Structure:
    positions = np.random.default_rng(3).uniform(0, 12, size=(200, 3))
    return Structure([18] * 200, positions, cell=12 * np.eye(3), pbc=True)


@pytest.fixture(scope="session")
def plan() -> ObservablesPlan:
    return ObservablesPlan(duration_ps=0.3, equilibration_ps=0.1, n_torsions=1)


@pytest.fixture(scope="session")
def warm(held_out) -> dict[str, list[Structure]]:
    """Two or more starts of each of two molecules, from different trajectories."""
    rows = {name: [k for k, system in enumerate(held_out.systems) if system == name] for name in ("water", "ethanol")}
    return {name: [held_out.structures[k] for k in own[11::12]] for name, own in rows.items()}
