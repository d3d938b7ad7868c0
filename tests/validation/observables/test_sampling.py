"""Runs at constant temperature: independent of each other, right on average, and gone on with where one fails."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pytest

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.randomness import generator
from mlff_distiller.core.units import BOLTZMANN, FEMTOSECOND
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.observables.plan import ObservationPlan
from mlff_distiller.validation.observables.sampling import sample

PAIR = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])


class Trap(Potential):
    """A spring whose forces on molecules of one element explode beyond a length."""

    is_conservative = False

    def __init__(self, spring: Potential) -> None:
        self.spring = spring
        self.properties, self.elements, self.identity = spring.properties, spring.elements, spring.identity

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        found = self.spring.predict(structures, properties)
        return [replace(x, forces=x.forces * self._factor(s)) for x, s in zip(found, structures, strict=True)]

    def _factor(self, structure: Structure) -> float:
        long = np.linalg.norm(np.diff(structure.positions, axis=0)) > 1.02
        return 1e5 if structure.numbers[0] == 2 and long else 1.0


@pytest.fixture(scope="module")
def spring(make_spring):
    return make_spring(30.0, 1.0)


def test_bond_fluctuation_is_that_of_equipartition(spring):
    plan = ObservationPlan(duration_ps=12.0, equilibration_ps=1.0, friction_per_ps=5.0, timestep_fs=1.0)
    runs = sample(spring, [PAIR] * 6, plan, lambda k: generator(1, k))
    lengths = np.concatenate([np.linalg.norm(run.positions[:, 1] - run.positions[:, 0], axis=1) for run in runs])
    assert lengths.var() == pytest.approx(BOLTZMANN * 300 / 30.0, rel=0.1)
    assert runs[0].positions.shape == (plan.n_records, 2, 3)


def test_a_run_that_fails_leaves_the_others_as_they_are(spring):
    plan = ObservationPlan(duration_ps=0.5, equilibration_ps=0.1)
    helium = Structure([2, 2], [[0, 0, 0], [0, 0, 1.0]])
    rngs = {0: "a", 1: "b", 2: "c"}
    alone = sample(Trap(spring), [PAIR], plan, lambda k: generator(1, "a"))
    runs = sample(Trap(spring), [PAIR, helium, helium], plan, lambda k: generator(1, rngs[k]))
    assert [bool(run.failure) for run in runs] == [False, True, True]
    assert "force" in runs[1].failure
    np.testing.assert_array_equal(runs[0].positions, alone[0].positions)
    np.testing.assert_array_equal(runs[0].velocities, alone[0].velocities)


def test_records_come_at_the_interval_asked_for_and_velocities_belong_to_positions(spring):
    plan = ObservationPlan(duration_ps=0.2, equilibration_ps=0.05, record_every=1, friction_per_ps=1e-6)
    run = sample(spring, [PAIR], plan, lambda k: generator(1, k))[0]
    assert len(run.positions) == plan.n_records == 300
    central = (run.positions[2:] - run.positions[:-2]) / (2 * run.interval_fs * FEMTOSECOND)
    assert np.abs(central - run.velocities[1:-1]).max() < 0.01 * np.abs(central).max()
