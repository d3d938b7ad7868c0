"""Teachers with one known fault each, planted into an exact analytic potential."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.potentials.analytic import morse
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.validation.audit.plan import AuditPlan
from mlff_distiller.validation.audit.theme import Subject, Theme, ThemeResult, conclude
from mlff_distiller.validation.surface.probe import Probe

Change = Callable[[Structure, Labels], Labels]


class Planted(Potential):
    """A potential whose labels are changed by a fault."""

    def __init__(self, inner: Potential, change: Change, *, is_conservative: bool = True, **identity: str) -> None:
        self.inner, self.change, self.is_conservative = inner, change, is_conservative
        self.elements, self.cutoff, self.properties = inner.elements, inner.cutoff, inner.properties
        self.identity = Identity("planted", "analytic", "fault", **identity)

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        self.check(structures, properties)
        found = []
        for index, (structure, labels) in enumerate(
            zip(structures, self.inner.predict(structures, self.properties), strict=True)
        ):
            try:
                found.append(self.change(structure, labels).only(properties))
            except FloatingPointError as error:
                raise PredictionError(index, str(error)) from error
        return found


def adding(energy: Callable[[np.ndarray], float], forces: Callable[[np.ndarray], np.ndarray]) -> Change:
    """A further term, given by its energy and forces as functions of the positions."""
    return lambda s, x: replace(x, energy=x.energy + energy(s.positions), forces=x.forces + forces(s.positions))


def exact() -> Potential:
    return morse(depth=1.0, width=1.5, distance=1.3, cutoff=6.0)


def rattled(structure: Structure, n: int, *, amplitude: float = 0.05, seed: int = 0) -> list[Structure]:
    rng = np.random.default_rng(seed)
    moves = rng.normal(scale=amplitude, size=(n, *structure.positions.shape))
    return [structure.moved(structure.positions + move) for move in moves]


@pytest.fixture(scope="session")
def ethanols() -> list[Structure]:
    return rattled(from_ase(molecule("CH3CH2OH")).tagged(seed="ethanol"), 4)


def run(theme: Theme, potential: Potential, structures: Sequence[Structure], **plan: object) -> ThemeResult:
    """One theme alone, judged."""
    settings = AuditPlan(**plan)
    subject = Subject(Probe(potential, budget_s=300), list(structures), settings, 1, systems=list(structures[:1]))
    return conclude(theme, theme.measure(subject), settings.limits)


def value(result: ThemeResult, name: str) -> float:
    return measured(result, name).value


def measured(result: ThemeResult, name: str):
    return next(check.measurement for check in result.checks if check.measurement.name == name)


def outcome(result: ThemeResult, name: str) -> str:
    return next(check.outcome for check in result.checks if check.measurement.name == name)


@pytest.fixture(scope="session")
def planted() -> type[Planted]:
    return Planted


@pytest.fixture(scope="session")
def tools():
    """The helpers above, for the test modules of this folder."""
    import types

    names = ("adding", "exact", "rattled", "run", "value", "measured", "outcome")
    return types.SimpleNamespace(**{name: globals()[name] for name in names})
