"""Batching: as many structures at once as memory has room for, fewer when it runs out."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.potentials.memory import Memory, is_out_of_memory

T = TypeVar("T")

_FIRST_ATOMS = 256
_MOST_ATOMS = 1 << 16
_MARGIN = 0.7  # memory is not quite proportional to atoms: a dense structure has more neighbors


class Batching:
    """Cuts structures into batches and evaluates them one after the other.

    The size begins small, and doubles for as long as what a full batch took says that twice as much fits. When
    memory runs out it is halved; a single structure for which memory does not suffice is named.

    Parameters
    ----------
    atoms : int, optional
        Most atoms in a batch; 1: one structure at a time; found as said above unless given.
    memory : Memory, optional
        Where the potential works; the machine's unless given.

    Examples
    --------
    >>> from mlff_distiller.atoms.labels import Labels
    >>> counted = []
    >>> def evaluate(structures):
    ...     counted.append(len(structures))
    ...     return [Labels(energy=0.0) for _ in structures]
    >>> atom = Structure([1], [[0, 0, 0]])
    >>> len(Batching(2).run([atom] * 5, evaluate)), counted
    (5, [2, 2, 1])
    """

    def __init__(self, atoms: int | None = None, *, memory: Memory | None = None) -> None:
        self.atoms = _FIRST_ATOMS if atoms is None else atoms
        self._grows = atoms is None
        self._memory = memory or Memory()

    def run(self, structures: Sequence[Structure], evaluate: Callable[[Sequence[Structure]], list[T]]) -> list[T]:
        """Return what a function gives for all structures, in order.

        Raises
        ------
        PredictionError
            As :meth:`run_slices` does.
        """
        return self.run_slices(structures, lambda piece: evaluate(structures[piece]))

    def run_slices(self, structures: Sequence[Structure], evaluate: Callable[[slice], list[T]]) -> list[T]:
        """Return what a function of slices of the structures gives for all of them, in order.

        Raises
        ------
        PredictionError
            With the index among all structures, if positions are not finite, if the function raised it for one of a
            batch, or if memory does not suffice for a single structure.
        """
        answers: list[T] = []
        sizes = [len(structure) for structure in structures]
        while (first := len(answers)) < len(sizes):
            last = self._end_of_batch(sizes, first)
            try:
                _check_finite(structures[first:last])
                answers += self._measured(slice(first, last), sum(sizes[first:last]), evaluate)
            except PredictionError as error:
                raise error.after(first) from error
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if last - first == 1:
                    raise PredictionError(first, "out of memory", f"{sizes[first]:,} atoms") from error
                self.atoms, self._grows = max(sum(sizes[first:last]) // 2, 1), False
        return answers

    def _end_of_batch(self, sizes: Sequence[int], first: int) -> int:
        n_atoms, last = sizes[first], first + 1
        while last < len(sizes) and n_atoms + sizes[last] <= self.atoms:
            n_atoms, last = n_atoms + sizes[last], last + 1
        return last

    def _measured(self, piece: slice, n_atoms: int, evaluate: Callable[[slice], list[T]]) -> list[T]:
        if not self._grows or 2 * n_atoms < self.atoms:
            return evaluate(piece)
        with self._memory.watched() as peak:
            answers = evaluate(piece)
        if peak.taken is not None:
            fits = 2 * self.atoms * peak.taken / n_atoms < _MARGIN * self._memory.room
            self._grows = fits and 2 * self.atoms < _MOST_ATOMS
            self.atoms *= 2 if fits else 1
        return answers


def _check_finite(structures: Sequence[Structure]) -> None:
    """Refuse positions that are no numbers, as a dynamics that broke down leaves them; libraries crash on them."""
    for index, structure in enumerate(structures):
        if not (np.isfinite(structure.positions).all() and np.isfinite(structure.cell).all()):
            raise PredictionError(index, "a position or cell vector is not a finite number")
