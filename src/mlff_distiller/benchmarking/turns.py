"""Taking turns: calls of moving atoms timed block by block, so that what disturbs a machine disturbs all alike."""

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Advance
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.base import Potential

Floats = NDArray[np.float64]

_LEAST_CALLS: Final = 3


class Walk:
    """Copies of structures whose atoms move a little at each step and stay near where they were, as in dynamics.

    A step is as long as one of 0.5 fs moves hydrogen at 300 K. Lists of neighbors are thus made anew about as often
    as in a trajectory, which single structures or random ones would hide.

    Parameters
    ----------
    structures : sequence of Structure
        Where it starts; one or more that are evaluated together.
    step : float
        Root mean square of a step of a coordinate, Angstrom.
    extent : float
        Root mean square of how far a coordinate comes from its start in a long walk, Angstrom.
    seed : int
        Of the steps.

    Examples
    --------
    >>> walk = Walk([Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])])
    >>> first, second = next(walk), next(walk)
    >>> bool(0 < np.abs(first[0].positions - second[0].positions).max() < 0.1)
    True
    """

    def __init__(
        self, structures: Sequence[Structure], *, step: float = 0.008, extent: float = 0.08, seed: int = 0
    ) -> None:
        self._start, self._step = list(structures), step
        self._memory = np.sqrt(1 - (step / extent) ** 2)
        self._rng = generator(seed, "walk")
        self._moved = [np.zeros((len(structure), 3)) for structure in structures]

    def __iter__(self) -> Iterator[list[Structure]]:
        return self

    def __next__(self) -> list[Structure]:
        """Return the structures after one more step."""
        for moved in self._moved:
            moved *= self._memory
            moved += self._rng.normal(scale=self._step, size=moved.shape)
        return [s.moved(s.positions + moved) for s, moved in zip(self._start, self._moved, strict=True)]


class Contender(Protocol):
    """What takes part in :func:`take_turns`."""

    def block(self, seconds: float) -> Sequence[float]:
        """Evaluate moving atoms for a while, at least once; return the milliseconds of each call."""


class Calls:
    """Calls of a potential on moving atoms.

    Parameters
    ----------
    potential : Potential
        What is timed.
    structures : sequence of Structure
        Evaluated in one call.
    n_threads : int, optional
        Threads of torch meanwhile; as many as it has unless given.
    seed : int
        Of the motion.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import morse
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> calls = Calls(morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0), [h2])
    >>> len(calls.block(0.0))
    1
    """

    _WARM_UP_MS: Final = 50.0  # a longer call does not notice that another was here before

    def __init__(
        self, potential: Potential, structures: Sequence[Structure], *, n_threads: int | None = None, seed: int = 0
    ) -> None:
        self._potential, self._walk, self._n_threads = potential, Walk(structures, seed=seed), n_threads
        self._last_ms = 0.0

    def block(self, seconds: float) -> list[float]:
        """Evaluate moving atoms for a while, at least once; return the milliseconds of each call.

        The first call is not counted unless calls are long: in a trajectory nobody has emptied the caches before.
        """
        with torch_threads(self._n_threads):
            if self._last_ms < self._WARM_UP_MS:
                self._call()
            samples = [self._call()]
            end = time.perf_counter() + seconds - 1e-3 * samples[0]
            while time.perf_counter() < end:
                samples.append(self._call())
        return samples

    def prepared(self, structures: Sequence[Structure]) -> Any:
        """Return what is evaluated; not timed."""
        return structures

    def evaluate(self, prepared: Any) -> object:
        """Evaluate what was prepared; timed."""
        return self._potential.predict(prepared)

    def _call(self) -> float:
        prepared = self.prepared(next(self._walk))
        start = time.perf_counter()
        self.evaluate(prepared)
        self._last_ms = 1e3 * (time.perf_counter() - start)
        return self._last_ms


def take_turns(
    contenders: Mapping[Any, Contender],
    *,
    seconds: float,
    n_rounds: int = 8,
    advance: Advance | None = None,
) -> dict[Any, Floats]:
    """Time contenders block by block in turns, so that what else the machine does hits all alike.

    Parameters
    ----------
    contenders, seconds, n_rounds, advance
        As for :func:`take_rounds`.

    Returns
    -------
    dict
        Milliseconds of each call, by the same keys.

    Examples
    --------
    >>> class Clock:
    ...     def block(self, seconds):
    ...         return [2.0]
    >>> take_turns({"a": Clock()}, seconds=0.0, n_rounds=4)["a"].tolist()
    [2.0, 2.0, 2.0]
    """
    rounds = take_rounds(contenders, seconds=seconds, n_rounds=n_rounds, advance=advance)
    return {key: np.concatenate(blocks) for key, blocks in rounds.items()}


def take_rounds(
    contenders: Mapping[Any, Contender],
    *,
    seconds: float,
    n_rounds: int = 8,
    advance: Advance | None = None,
) -> dict[Any, list[Floats]]:
    """Time contenders in turns and keep apart what was measured in each round, to compare round by round.

    Every other round goes backwards, so that nobody is always the one after the same neighbor. Garbage is collected
    between rounds and not during them.

    Parameters
    ----------
    contenders : mapping
        By any key.
    seconds : float
        For each, in all; slow ones get three calls at least.
    n_rounds : int
        Turns.
    advance : Advance, optional
        Told how many rounds are done.

    Returns
    -------
    dict
        Milliseconds of each call, an array for each round that a contender took part in, by the same keys. All take
        part in the first rounds; slow ones leave before the last.

    Examples
    --------
    >>> class Clock:
    ...     def block(self, seconds):
    ...         return [2.0]
    >>> len(take_rounds({"a": Clock()}, seconds=1.0, n_rounds=4)["a"])
    4
    """
    samples: dict[Any, list[Floats]] = {key: [] for key in contenders}
    with _garbage_kept():
        for number in range(max(n_rounds, _LEAST_CALLS)):
            gc.collect()
            for key in list(contenders)[:: -1 if number % 2 else 1]:
                done = samples[key]
                if sum(map(len, done)) < _LEAST_CALLS or sum(map(np.sum, done)) < 1e3 * seconds:
                    done.append(np.asarray(contenders[key].block(seconds / n_rounds), dtype=np.float64))
            if advance is not None:
                advance()
    return samples


def threads_of_torch() -> int:
    """Return how many threads torch uses.

    Examples
    --------
    >>> threads_of_torch() >= 1
    True
    """
    import torch

    return torch.get_num_threads()


@contextmanager
def torch_threads(n_threads: int | None) -> Iterator[None]:
    """Let torch use so many threads meanwhile.

    Examples
    --------
    >>> with torch_threads(2):
    ...     threads_of_torch()
    2
    """
    import torch

    before = torch.get_num_threads()
    changes = n_threads is not None and n_threads != before
    if changes:
        torch.set_num_threads(n_threads)  # type: ignore[arg-type]
    try:
        yield
    finally:
        if changes:
            torch.set_num_threads(before)


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """Collect no garbage but when asked to, and then only what has come since."""
    was_enabled = gc.isenabled()
    gc.disable()
    gc.collect()
    gc.freeze()  # what is there already need not be gone through again and again
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
