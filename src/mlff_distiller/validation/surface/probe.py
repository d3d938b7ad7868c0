"""Probe: the teacher under audit, asked in small batches within a budget of time."""

import time
from collections import deque
from collections.abc import Collection, Sequence
from math import isinf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.potentials.base import Potential

Floats = NDArray[np.float64]

_LONGEST_BATCH_S: Final = 5.0
_BATCH: Final = 64


class OutOfTime(Exception):
    """What was asked for does not fit into the budget any more."""


class Probe:
    """A potential with a clock.

    Parameters
    ----------
    potential : Potential
        Who is asked.
    budget_s : float
        How long it may take in all, s. With an infinite one no clock decides anything: the same structures are always
        asked in the same batches.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import harmonic
    >>> probe = Probe(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), budget_s=60)
    >>> probe.energies([Structure([1, 1], [[0, 0, 0], [0, 0, 1.2]])]).round(6).tolist()
    [0.2]
    """

    def __init__(self, potential: Potential, *, budget_s: float) -> None:
        self.potential = potential
        self._unhurried = isinf(budget_s)
        self._deadline = time.monotonic() + budget_s
        self._seconds_per_atom: deque[float] = deque(maxlen=5)

    @property
    def remaining_s(self) -> float:
        """Time that is left, s."""
        return self._deadline - time.monotonic()

    def expected_s(self, structures: Sequence[Structure]) -> float:
        """Return how long structures will take by what was seen so far; 0 before the first call."""
        return min(self._seconds_per_atom, default=0.0) * sum(len(structure) for structure in structures)

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        """Return labels in order.

        Raises
        ------
        OutOfTime
            If they do not fit into the budget.
        PredictionError
            As the potential does, and where numbers are not finite.
        """
        labels: list[Labels] = []
        while rest := structures[len(labels) :]:
            if self.expected_s(rest) > self.remaining_s or self.remaining_s <= 0:
                raise OutOfTime
            labels += self._timed(rest[: self._affordable(rest)], properties, len(labels))
        return labels

    def energies(self, structures: Sequence[Structure]) -> Floats:
        """Return energies (S,), eV; see :meth:`predict`."""
        return np.array([label.energy for label in self.predict(structures, ("energy",))])

    def labels(self, structures: Sequence[Structure]) -> tuple[Floats, list[Floats]]:
        """Return energies (S,), eV, and the forces of each structure (N, 3), eV/Angstrom; see :meth:`predict`."""
        found = self.predict(structures)
        return np.array([x.energy for x in found]), [x.forces for x in found if x.forces is not None]

    def _affordable(self, structures: Sequence[Structure]) -> int:
        """Return how many structures make a batch that does not take too long; one before the first answer."""
        if self._unhurried:
            return _BATCH
        if not self._seconds_per_atom:
            return 1
        seconds = np.cumsum([self.expected_s([structure]) for structure in structures])
        return max(1, int((seconds <= _LONGEST_BATCH_S).sum()))

    def _timed(self, batch: Sequence[Structure], properties: Collection[str], first: int) -> list[Labels]:
        began = time.perf_counter()
        try:
            labels = self.potential.predict(batch, properties)
        except PredictionError as error:
            raise PredictionError(first + error.index, error.reason) from error
        elapsed = time.perf_counter() - began
        self._seconds_per_atom.append(elapsed / sum(len(structure) for structure in batch))
        for index, label in enumerate(labels):
            absent = [name for name in properties if name != "stress" and getattr(label, name) is None]
            if absent or not label.is_finite:
                fault = f"no {absent[0]}" if absent else "energy or forces are not finite"
                raise PredictionError(first + index, fault)
        return labels
