"""Samplers: ways to make many structures from seeds, each kind in its own file."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Final, Protocol

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Reporter
from mlff_distiller.core.plan import Plan
from mlff_distiller.core.registry import Registry
from mlff_distiller.potentials.plan import PotentialPlan

SAMPLERS: Final = Registry(
    "sampler",
    {
        "md": "mlff_distiller.sampling.molecular_dynamics:MDPlan",
        "rattle": "mlff_distiller.sampling.rattle:RattlePlan",
    },
    entry_point_group="mlff_distiller.samplers",
)
"""Plans of all samplers; an installed package adds its own through the entry point group."""

MAX_FRAMES: Final = 1_000_000
"""A task yields fewer structures than this, so that ids of tasks never meet."""


class SamplingTask(Protocol):
    """A piece of sampling that runs in one process; small and picklable."""

    @property
    def n_steps(self) -> int:
        """How far its progress bar goes."""

    @property
    def n_structures(self) -> int:
        """How many structures it gives, unless something goes wrong."""

    @property
    def n_calls(self) -> int:
        """How many times it asks the teacher about one structure."""

    def draw(self, teacher: PotentialPlan, seed: int, reporter: Reporter) -> list[Structure]:
        """Return structures with their origin in ``info``; the same for the same seed, wherever it runs."""


class SamplerPlan(Plan):
    """Base of the settings of all samplers; a subclass has a field ``kind``.

    Examples
    --------
    >>> [plan.__name__ for plan in SAMPLERS.all()]
    ['MDPlan', 'RattlePlan']
    """

    @abstractmethod
    def tasks(self, seeds: Sequence[Structure], name: str) -> Sequence[SamplingTask]:
        """Return the work, cut into tasks.

        Parameters
        ----------
        seeds : sequence of Structure
            Starting points, with "seed" and "conformer" in ``info``.
        name : str
            What this sampler is called in ``info`` and in the names of random streams.
        """


def near_seed(structure: Structure) -> dict[str, str]:
    """Return the segment and the stratum of a seed and its near copies: they stay together when the data are split.

    Examples
    --------
    >>> near_seed(Structure([1], [[0, 0, 0]], info={"seed": "H", "conformer": 0}))
    {'segment': 'H/rattle', 'stratum': 'H'}
    """
    return {"segment": f"{structure.info['seed']}/rattle", "stratum": structure.info["seed"]}
