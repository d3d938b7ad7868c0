"""Ends: the last geometries of every system of a run, and why a run ended before its time."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.dynamics.failures import Failure, Fault
from mlff_distiller.dynamics.replicas import Replicas

Floats = NDArray[np.float64]

N_LAST: Final = 10
"""How many of the last recorded geometries of each system are kept."""


class Ends:
    """What is kept of S systems with A atoms in all, however long they run.

    Parameters
    ----------
    structures : sequence of Structure
        All systems at the start.

    Attributes
    ----------
    times_ps, positions : (L, S), (L, A, 3)
        The last L recorded moments of each system, the latest last; of a failed one the last is where it failed, and
        the one before is good. NaN where a run was too short for so many.
    failures : dict
        Failure of each system that failed.
    """

    def __init__(self, structures: Sequence[Structure]) -> None:
        sizes = [len(s) for s in structures]
        self._first = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
        self.times_ps = np.full((N_LAST, len(sizes)), np.nan)
        self.positions = np.full((N_LAST, int(self._first[-1]), 3), np.nan)
        self._final = {name: np.full((int(self._first[-1]), 3), np.nan) for name in ("positions", "velocities")}
        self.failures: dict[int, Failure] = {}

    def note(self, replicas: Replicas, time_ps: float) -> None:
        """Keep the geometries of the systems that still run."""
        for row in range(len(replicas)):
            self._push(replicas, row, time_ps)

    def fail(self, replicas: Replicas, row: int, fault: Fault, *, step: int, time_ps: float) -> None:
        """Keep a system where it failed, with the reason."""
        index = replicas.indices[row]
        self.failures[index] = Failure(fault.reason, step, time_ps, fault.kind, fault.atoms, fault.distance)
        self._push(replicas, row, time_ps)
        self._keep(replicas, row)

    def finish(self, replicas: Replicas) -> None:
        """Keep the state of the systems that ran to the end."""
        for row in range(len(replicas)):
            self._keep(replicas, row)

    def final(self, name: str, index: int) -> Floats:
        """Return the last "positions" or "velocities" of a system."""
        return self._final[name][self._atoms(index)].copy()

    def _push(self, replicas: Replicas, row: int, time_ps: float) -> None:
        index = replicas.indices[row]
        atoms = self._atoms(index)
        self.times_ps[:-1, index] = self.times_ps[1:, index]
        self.positions[:-1, atoms] = self.positions[1:, atoms]
        self.times_ps[-1, index] = time_ps
        self.positions[-1, atoms] = replicas.positions[replicas.atoms(row)]

    def _keep(self, replicas: Replicas, row: int) -> None:
        for name, values in self._final.items():
            values[self._atoms(replicas.indices[row])] = getattr(replicas, name)[replicas.atoms(row)]

    def _atoms(self, index: int) -> slice:
        return slice(int(self._first[index]), int(self._first[index + 1]))

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays, for a file."""
        failures = json.dumps({str(index): asdict(failure) for index, failure in self.failures.items()})
        final = {f"final_{name}": values for name, values in self._final.items()}
        return {
            "last_times_ps": self.times_ps,
            "last_positions": self.positions,
            "failures": np.array(failures),
        } | final

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :attr:`state` said."""
        self.times_ps, self.positions = state["last_times_ps"].copy(), state["last_positions"].copy()
        self._final = {name: state[f"final_{name}"].copy() for name in self._final}
        plain = json.loads(str(state["failures"]))
        self.failures = {
            int(index): Failure(**{**found, "atoms": tuple(found["atoms"])}) for index, found in plain.items()
        }
