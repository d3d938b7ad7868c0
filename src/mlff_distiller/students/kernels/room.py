"""Memory of the kernels: made once, grown when a larger graph comes, never given up between steps."""

from typing import Any

import numpy as np

from mlff_distiller.students.kernels.atomwise import BLOCK
from mlff_distiller.students.kernels.evaluation import Room
from mlff_distiller.students.kernels.messages import Array, Edges, Integers

_GROWTH = 1.1


class Workspace:
    """Arrays for graphs of any size, in one precision and for one network.

    Parameters
    ----------
    n_layers, n_channels, n_hidden : int
        Sizes of the padded network: rounds of messages, channels, hidden features of the readout.
    n_threads : int
        Most threads of a call.
    dtype
        float32 or float64.

    Examples
    --------
    >>> workspace = Workspace(2, 32, 16, n_threads=1, dtype=np.float32)
    >>> workspace.room(5).q.shape
    (5, 32)
    """

    def __init__(self, n_layers: int, n_channels: int, n_hidden: int, *, n_threads: int, dtype: Any) -> None:
        self._sizes, self._dtype = (n_layers, n_channels, n_hidden, n_threads), np.dtype(dtype)
        self._room, self._edges = self._new_room(0), self._new_edges(0)

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return sum(array.nbytes for array in (*self._room, *self._edges))

    def room(self, n_atoms: int) -> Room:
        """Return room for at least so many atoms."""
        if n_atoms > len(self._room.q):
            self._room = self._new_room(_grown(n_atoms, len(self._room.q)))
        return self._room

    def edges(self, ptr: Integers, senders: Integers, vectors: Array) -> Edges:
        """Return a list of pairs with room for what is prepared of it."""
        if len(senders) > len(self._edges.knots):
            self._edges = self._new_edges(_grown(len(senders), len(self._edges.knots)))
        return self._edges._replace(ptr=ptr, senders=senders, vectors=vectors)

    def _new_room(self, n: int) -> Room:
        layers, c, hidden, threads = self._sizes
        shapes = {
            "q": (n, c),
            "v": (layers, n, 3, c),
            "content": (layers - 1, n, 3 * c),
            "content_slopes": (layers - 1, n, c),
            "mixing": (layers, n, 3, 2 * c),
            "joined": (layers, n, 2 * c),
            "gates": (layers, n, 3 * c),
            "gate_slopes": (layers, n, c),
            "gq": (n, c),
            "gv": (2, n, 3, c),
            "g_rows": (n, 3 * c),
            "g_mixing": (n, 3, 2 * c),
            "g_joined": (n, 2 * c),
            "g_scalars": (n, c),
            "hidden": (threads, BLOCK, c),
            "back": (threads, 3 * BLOCK, c),
            "readout": (threads, 2, BLOCK, hidden),
        }
        return Room(**{name: np.empty(shape, self._dtype) for name, shape in shapes.items()})

    def _new_edges(self, n: int) -> Edges:
        integers = np.zeros(1, np.int64)
        return Edges(
            ptr=integers,
            senders=integers,
            vectors=np.zeros((1, 3), self._dtype),
            knots=np.empty(n, np.int32),
            weights=np.empty((n, 6), self._dtype),
            directions=np.empty((n, 4), self._dtype),
            gradient=np.empty((n, 3), self._dtype),
        )


def _grown(needed: int, had: int) -> int:
    """Return a little more than needed if it was grown before, so that a size that creeps up seldom grows."""
    return needed if had == 0 else max(needed, int(_GROWTH * needed))
