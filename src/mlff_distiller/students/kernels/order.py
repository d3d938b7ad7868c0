"""The order of atoms in large structures: neighbors in space close together in memory, whatever order they came in."""

from typing import NamedTuple

import numpy as np

from mlff_distiller.core.compiling import compiled
from mlff_distiller.students.kernels.messages import Array, Integers

CLUSTER = 192
"""Atoms that are kept together; with their neighbors their rows fit into a cache of a megabyte or two."""


class Listed(NamedTuple):
    """Atoms and pairs as the kernels take them.

    Parameters
    ----------
    species, system : (N,) int64
        Index of each atom's element; structure that it belongs to.
    ptr : (N + 1,) int64
        First edge of each atom.
    neighbors : (E,) int64
        Other atom of each edge.
    vectors : (E, 3)
        From atom to neighbor, Angstrom.
    """

    species: Integers
    system: Integers
    ptr: Integers
    neighbors: Integers
    vectors: Array

    def ordered(self, order: Integers) -> "Listed":
        """Return the same with atom ``order[k]`` (N,) in place k."""
        ptr, neighbors, vectors = np.empty_like(self.ptr), np.empty_like(self.neighbors), np.empty_like(self.vectors)
        _moved(self.ptr, self.neighbors, self.vectors, order, ptr, neighbors, vectors)
        return Listed(self.species[order], self.system[order], ptr, neighbors, vectors)


def clustered(ptr: Integers, neighbors: Integers) -> Integers:
    """Return an order of atoms (N,) by clusters of neighbors, each grown from the border of the one before.

    Examples
    --------
    >>> pairs = np.array([0, 1, 2, 3, 4]), np.array([2, 3, 0, 1])  # 0 and 2 are neighbors, and 1 and 3
    >>> clustered(*pairs).tolist()
    [0, 2, 1, 3]
    """
    order = np.empty(len(ptr) - 1, np.int64)
    _grow(ptr, neighbors, CLUSTER, order)
    return order


@compiled
def _grow(ptr, neighbors, size, order):
    n = len(order)
    taken, noted = np.zeros(n, np.bool_), np.full(n, -1)
    queue = np.empty(n, np.int64)
    done, lowest, head, tail = 0, 0, 0, 0
    while done < n:
        seed = -1
        for k in range(head, tail):  # what the last cluster touched and left
            if not taken[queue[k]]:
                seed = queue[k]
                break
        while seed < 0:
            if not taken[lowest]:
                seed = lowest
            lowest += 1
        queue[0], head, tail, begun = seed, 0, 1, done
        noted[seed] = begun
        while head < tail and done < begun + size:
            i = queue[head]
            head += 1
            taken[i] = True
            order[done] = i
            done += 1
            for e in range(ptr[i], ptr[i + 1]):
                j = neighbors[e]
                if not taken[j] and noted[j] != begun:
                    noted[j] = begun
                    queue[tail] = j
                    tail += 1


@compiled
def _moved(ptr, neighbors, vectors, order, new_ptr, new_neighbors, new_vectors):
    n = len(order)
    rank = np.empty(n, np.int64)
    for k in range(n):
        rank[order[k]] = k
    new_ptr[0] = at = 0
    for k in range(n):
        for e in range(ptr[order[k]], ptr[order[k] + 1]):
            new_neighbors[at] = rank[neighbors[e]]
            for axis in range(3):
                new_vectors[at, axis] = vectors[e, axis]
            at += 1
        new_ptr[k + 1] = at
