"""Trial: what a check needs to know to measure a potential."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Reporter, Silent
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.held_out import HeldOut


@dataclass(frozen=True, eq=False)
class Trial:
    """One potential on trial, and what it is measured with.

    Parameters
    ----------
    potential : Potential
        What is validated: a student, or any other.
    starts : mapping
        Starting points for dynamics by the name of the system, one or more for each, sampled near the temperature of
        the dynamics where that is possible.
    held_out : HeldOut, optional
        Labeled frames that it was not trained on.
    make_teacher : callable, optional
        Makes the teacher; called when a check asks for it first.
    found : mapping
        Evidence of checks that this one builds on, by their names.
    seed : int
        Of everything random.
    folder : Path, optional
        Where unfinished work is kept, so that a check that was killed goes on where it was; nothing is kept unless
        given.
    reporter : Reporter
        Where progress is shown.
    name : str
        What the potential is called in progress bars.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import harmonic
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
    >>> trial = Trial(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), {"H2": [h2]})
    >>> trial.systems["H2"].formula, trial.teacher is None
    ('H2', True)
    """

    potential: Potential
    starts: Mapping[str, Sequence[Structure]] = field(default_factory=dict)
    held_out: HeldOut | None = None
    make_teacher: Callable[[], Potential] | None = None
    found: Mapping[str, Evidence] = field(default_factory=dict)
    seed: int = 0
    folder: Path | None = None
    reporter: Reporter = field(default_factory=Silent)
    name: str = "potential"

    @cached_property
    def teacher(self) -> Potential | None:
        """The teacher, made when asked for; None where there is none."""
        return None if self.make_teacher is None else self.make_teacher()

    @property
    def systems(self) -> dict[str, Structure]:
        """One structure of each system, by its name.

        Raises
        ------
        DataError
            If there are none.
        """
        if not self.starts:
            raise DataError("there are no systems to run dynamics on; name at least one molecule or file in the recipe")
        return {name: own[0] for name, own in self.starts.items()}

    def rng(self, *names: str | int) -> np.random.Generator:
        """Return random numbers for one use."""
        return generator(self.seed, *names)
