"""Rattle: seeds with random displacements and, for cells, random strain."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Reporter
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.plan import PotentialPlan
from mlff_distiller.sampling.sampler import MAX_FRAMES, SamplerPlan, SamplingTask, near_seed


class RattlePlan(SamplerPlan):
    """Random displacements of all atoms around every seed.

    Examples
    --------
    >>> RattlePlan(n_per_seed=10, amplitude=0.05).kind
    'rattle'
    """

    kind: Literal["rattle"] = Field("rattle", description="Random displacements around every seed.")
    n_per_seed: int = Field(50, ge=1, lt=MAX_FRAMES, description="Structures made from each starting geometry.")
    amplitude: float = Field(
        0.05, gt=0, le=1, description="Standard deviation of each coordinate's displacement, Angstrom."
    )
    strain: float = Field(
        0.0,
        ge=0,
        le=0.3,
        description="Standard deviation of each component of a random strain, for cells periodic in three directions.",
    )

    def tasks(self, seeds: Sequence[Structure], name: str) -> Sequence[SamplingTask]:
        """Return one task for each seed that a rattle changes; see :meth:`SamplerPlan.tasks`."""
        strained = self.strain > 0
        return [Rattle(self, s, name) for s in seeds if len(s) > 1 or (strained and s.is_periodic)]


@dataclass(frozen=True)
class Rattle:
    """The rattled copies of one seed.

    Parameters
    ----------
    plan : RattlePlan
        Settings.
    start : Structure
        The seed.
    name : str
        Of the sampler.
    """

    plan: RattlePlan
    start: Structure
    name: str

    @property
    def n_steps(self) -> int:
        """Number of structures."""
        return self.plan.n_per_seed

    @property
    def n_structures(self) -> int:
        """Number of structures."""
        return self.plan.n_per_seed

    @property
    def n_calls(self) -> int:
        """None: displacements are random."""
        return 0

    def draw(self, teacher: PotentialPlan, seed: int, reporter: Reporter) -> list[Structure]:
        """Return the structures; see :class:`SamplingTask`."""
        origin = self.start.info
        rng = generator(seed, "sampling", self.name, origin["seed"], origin["conformer"])
        copies = [self._copy(rng).tagged(sampler=self.name, **near_seed(self.start)) for _ in range(self.n_steps)]
        reporter.start(f"{self.name} {origin['seed']}", self.n_steps)(self.n_steps)
        return copies

    def _copy(self, rng: np.random.Generator) -> Structure:
        moves = rng.normal(scale=self.plan.amplitude, size=(len(self.start), 3))
        if not (self.plan.strain and self.start.is_periodic):
            return self.start.moved(self.start.positions + moves)
        deformation = rng.normal(scale=self.plan.strain, size=(3, 3))
        stretch = np.eye(3) + (deformation + deformation.T) / 2  # symmetric: a rotation would change nothing
        return self.start.moved(self.start.positions @ stretch + moves, cell=self.start.cell @ stretch)
