"""Screening: all systems looked at together, so that only what is suspect is looked at alone."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.dynamics.failures import Fault, Limits
from mlff_distiller.dynamics.replicas import Replicas
from mlff_distiller.dynamics.watch import Watch

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LARGEST: Final = 50  # atoms: up to here all pairs at once are faster than a neighbor list


class Watches:
    """The watch over every system of a run.

    Small molecules are screened in one go: where all atoms are far enough from each other, each is near to at least
    half of the others, and no bond is stretched, nothing can be wrong. Only the rest is looked at one by one.

    Parameters
    ----------
    starts : sequence of Structure
        All systems at the start.
    limits : Limits
        Bounds.
    """

    def __init__(self, starts: Sequence[Structure], limits: Limits) -> None:
        self._watches = [Watch(start, limits) for start in starts]
        self._limits = limits
        self._replicas: Replicas | None = None

    def faults(self, replicas: Replicas) -> dict[int, Fault]:
        """Return the rows of systems whose geometry is a failure, each with what is wrong."""
        if self._replicas is not replicas:
            self._replicas = replicas
            self._screen = _Screen(replicas, self._watches, self._limits)
        found = {
            row: self._watches[replicas.indices[row]].fault(replicas.positions[replicas.atoms(row)])
            for row in self._screen.suspects(replicas.positions)
        }
        return {row: fault for row, fault in found.items() if fault}


class _Screen:
    """Index arrays over the systems that still run."""

    def __init__(self, replicas: Replicas, watches: Sequence[Watch], limits: Limits) -> None:
        self._limits, self._n_atoms = limits, int(replicas.first[-1])
        small = [not s.pbc.any() and len(s) <= _LARGEST for s in replicas.templates]
        self._always = [row for row, is_small in enumerate(small) if not is_small]
        self._owner = np.repeat(np.arange(len(replicas)), replicas.sizes)
        self._enough = np.repeat(np.where(small, (replicas.sizes - 1) / 2, 0), replicas.sizes)
        starts = [(int(first), len(s)) for first, s in zip(replicas.first, replicas.templates, strict=False)]
        triangles = [
            np.add(np.triu_indices(n, 1), first) for (first, n), is_small in zip(starts, small, strict=True) if is_small
        ]
        self._i, self._j = np.concatenate([np.zeros((2, 0), dtype=np.int64), *triangles], axis=1)
        bonds = [watches[index].bonds for index in replicas.indices]
        self._bonds = _concatenated([b.pairs + first for b, (first, _) in zip(bonds, starts, strict=True)], (0, 2))
        self._offsets = _concatenated([b.offsets for b in bonds], (0, 3))
        self._longest = (limits.max_bond_stretch or np.inf) * _concatenated([b.covalent for b in bonds], (0,))

    def suspects(self, positions: Floats) -> list[int]:
        """Return the rows in which something may be wrong."""
        limits = self._limits
        squares = _squares(positions, self._i, self._j)
        near = squares < max(limits.escape_distance, limits.min_distance) ** 2
        degrees = np.bincount(self._i[near], minlength=self._n_atoms) + np.bincount(
            self._j[near], minlength=self._n_atoms
        )
        first, second = self._bonds.astype(np.int64).T
        stretched = _squares(positions, first, second, self._offsets) > self._longest**2
        wrong = [self._i[squares < limits.min_distance**2], np.flatnonzero(degrees < self._enough), first[stretched]]
        return sorted({*self._always, *self._owner[np.concatenate(wrong)].tolist()})


def _squares(positions: Floats, first: Integers, second: Integers, offsets: Floats | float = 0.0) -> Floats:
    vectors = positions[second] - positions[first] + offsets
    return np.asarray(np.einsum("ij,ij->i", vectors, vectors))


def _concatenated(arrays: Sequence[NDArray[np.generic]], empty: tuple[int, ...]) -> Floats:
    return np.concatenate([np.zeros(empty), *arrays])
