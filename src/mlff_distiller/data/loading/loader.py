"""GraphLoader: training batches in an order that can be resumed, with neighbors cached or found anew."""

import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from mlff_distiller.core.errors import DataError, DistillerError
from mlff_distiller.data.loading.batch import READ, TRAINED_ON, Batch, UnlinkedBatch
from mlff_distiller.data.loading.batching import Batching
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.loading.graph_cache import GraphCache
from mlff_distiller.data.loading.order import InOrder, Order, Shuffle
from mlff_distiller.data.statistics import count_edges

Rows = NDArray[np.int64]
Task = tuple[int, Rows]
Made = Batch | UnlinkedBatch | DistillerError


class GraphLoader:
    """Batches of graphs and labels for training and evaluation.

    Which structures a batch holds depends on the seed and the epoch alone, and so does what a transform draws: the
    batches are the same bit for bit with any number of workers, and when an epoch is entered in the middle.

    Parameters
    ----------
    dataset : MolecularDataset
        What to train on.
    cutoff : float
        Radius of the neighbor list, Angstrom.
    batch_size, max_atoms, max_edges : int
        Give one of them: structures in a batch, or the most atoms or edges that its structures have together.
    seed : int
        Seed of the order.
    dtype : torch.dtype
        Of edge vectors, forces, stress and volumes.
    shuffle : bool
        Draw a new order for every epoch; otherwise the given order.
    neighbors : {"cached", "worker", "device"}, optional
        ``cached``: searched once and kept, the default for data in memory that are not transformed. ``worker``: found
        anew for each batch by the process that reads it, the default otherwise. ``device``: found anew on ``device``.
    n_workers : int
        Processes that read batches ahead; 0 reads in this process, and so do cached neighbors, which need no worker.
        Data in memory are copied to each.
    prefetch : int
        Batches that each worker reads ahead.
    pin_memory : bool
        Put batches in page-locked memory, for faster copies to a GPU.
    device : torch.device or str
        Where batches are put.
    share : (int, int)
        Which of how many processes that train together this one is, counted from 0: of every batch, it gets the
        structures ``rank::n``, which may be none. Limits are those of the batch that they train on together.
    micro_edges : int, optional
        Most edges that are worked on at once: :meth:`steps` cuts batches into such pieces, whose gradients are added
        up. A structure with more is a piece of its own.

    Raises
    ------
    DataError
        If there are no structures, no limit or more than one, a structure alone is beyond the limit, or settings
        contradict each other.

    Examples
    --------
    >>> from mlff_distiller.atoms.labels import Labels
    >>> from mlff_distiller.atoms.structure import Structure
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> data = MolecularDataset.from_structures([h2] * 5, [Labels(energy=-26.0)] * 5)
    >>> loader = GraphLoader(data, cutoff=5.0, batch_size=2, seed=0)
    >>> [batch.graph.n_systems for batch in loader.batches(epoch=0)]
    [2, 2, 1]
    """

    def __init__(  # noqa: PLR0913 - each is a setting of the loader
        self,
        dataset: MolecularDataset,
        *,
        cutoff: float,
        batch_size: int | None = None,
        max_atoms: int | None = None,
        max_edges: int | None = None,
        seed: int,
        dtype: torch.dtype = torch.float32,
        shuffle: bool = True,
        neighbors: Literal["cached", "worker", "device"] | None = None,
        n_workers: int = 0,
        prefetch: int = 2,
        pin_memory: bool = False,
        device: torch.device | str = "cpu",
        share: tuple[int, int] = (0, 1),
        micro_edges: int | None = None,
    ) -> None:
        if not 0 <= share[0] < share[1]:
            raise DataError(f"process {share[0]} of {share[1]} has no share of a batch; count from 0 to {share[1] - 1}")
        if micro_edges is not None and micro_edges < 1:
            raise DataError("give a loader micro_edges of at least 1, or leave them out")
        if not len(dataset):
            raise DataError("the data set is empty; a loader needs at least one structure")
        if pin_memory and not torch.cuda.is_available():
            raise DataError("pin_memory needs a GPU that torch can use; leave it out")
        self.dataset, self.cutoff, self.seed, self.shuffle = dataset, cutoff, seed, shuffle
        self.device, self._pin = torch.device(device), pin_memory
        self.neighbors = neighbors or _suitable(dataset)
        self._cache = _cached(dataset, cutoff, dtype) if self.neighbors == "cached" else None
        self._maker = _BatchMaker(dataset, dtype, cutoff if self.neighbors == "worker" else None)
        self._workers = (
            _Workers(self._maker, n_workers, prefetch=prefetch, pin_memory=pin_memory)
            if n_workers and self._cache is None
            else None
        )
        self._share = slice(share[0], None, share[1])
        self._micro = None if micro_edges is None else Batching(micro_edges, self._costs("micro_edges"))
        self._batching = self._limited(batch_size=batch_size, max_atoms=max_atoms, max_edges=max_edges)
        self._counts: dict[int, int] = {}

    def __len__(self) -> int:
        """Return the number of structures."""
        return len(self.dataset)

    @property
    def properties(self) -> frozenset[str]:
        """What structures may be labeled with, of what a batch carries."""
        return self.dataset.properties & frozenset(TRAINED_ON)

    def n_batches(self, epoch: int) -> int:
        """Return the number of batches of an epoch; with a limit on atoms or edges it depends on the order."""
        key = epoch if self.shuffle and self._batching.costs is not None else 0
        if key not in self._counts:
            self._counts[key] = self._batching.count(self._order(key))
        return self._counts[key]

    def batches(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch (this process's share of each), from batch ``start`` on.

        With workers, one pass is under way at a time: beginning another ends this one with a DataError.
        """
        return self._made((epoch, rows) for rows in self._shares(self._order(epoch), start=start))

    def steps(self, epoch: int, *, start: int = 0) -> Iterator[list[Batch]]:
        """Yield the batches of an epoch in pieces of at most ``micro_edges``, a list for each step of an optimizer."""
        counts: deque[int] = deque()  # of steps whose pieces are being made

        def tasks() -> Iterator[Task]:
            for rows in self._shares(self._order(epoch), start=start):
                pieces = self._pieces(rows)
                counts.append(len(pieces))
                yield from ((epoch, piece) for piece in pieces)

        made = self._made(tasks())
        for first in made:
            yield [first, *islice(made, counts.popleft() - 1)]

    def all_in_order(self) -> Iterator[Batch]:
        """Yield every structure (of this process's share) once, in order, transformed as in epoch 0, for evaluation.

        Batches come in pieces of at most ``micro_edges``.
        """
        return self._made((0, piece) for rows in self._shares(InOrder(len(self))) for piece in self._pieces(rows))

    def _pieces(self, rows: Rows) -> Sequence[Rows]:
        return [rows] if self._micro is None or not len(rows) else self._micro.cut(rows)

    def _shares(self, order: Order, *, start: int = 0) -> Iterator[Rows]:
        return (rows[self._share] for rows in self._batching.batches(order, start=start))

    def _order(self, epoch: int) -> Order:
        return Shuffle(len(self), seed=self.seed, epoch=epoch) if self.shuffle else InOrder(len(self))

    def _made(self, tasks: Iterable[Task]) -> Iterator[Batch]:
        if self._workers is not None:
            yield from map(self._finished, self._workers.make(tasks))
            return
        for epoch, rows in tasks:
            made = self._maker[epoch, rows] if self._cache is None else self._cache.batch(rows)
            yield self._finished(made.pin_memory() if self._pin and not isinstance(made, DistillerError) else made)

    def _finished(self, made: Made) -> Batch:
        if isinstance(made, DistillerError):
            raise made
        there = made.to(self.device, non_blocking=self._pin)
        return there if isinstance(there, Batch) else there.link(self.cutoff)

    def _limited(self, **limits: int | None) -> Batching:
        given = [(name, limit) for name, limit in limits.items() if limit is not None]
        if len(given) != 1 or given[0][1] < 1:
            raise DataError("give a loader one of batch_size, max_atoms and max_edges, at least 1")
        name, limit = given[0]
        costs = self._costs(name)
        if costs is not None and costs.max() > limit:
            raise DataError(
                f"structure {int(costs.argmax())} alone has {costs.max()} {name[4:]}, more than {name}={limit}; "
                f"raise {name} or leave the structure out"
            )
        return Batching(limit, costs)

    def _costs(self, name: str) -> NDArray[Any] | None:
        if name == "batch_size":
            return None
        if name == "max_atoms":
            return self.dataset.sizes
        transform = self.dataset.transform
        if transform is not None and not transform.keeps_distances:
            raise DataError(f"{name} counts edges once, but the transform changes distances; use max_atoms")
        return count_edges(self.dataset, self.cutoff) if self._cache is None else self._cache.n_edges


@dataclass(frozen=True, eq=False)
class _BatchMaker(Dataset[Made]):
    """Reads one batch, in whichever process; neighbors are found here if a cutoff is given."""

    dataset: MolecularDataset
    dtype: torch.dtype
    cutoff: float | None

    def __getitem__(self, task: Task) -> Made:
        epoch, rows = task
        try:
            data = self.dataset.at_epoch(epoch)
            batch = UnlinkedBatch.from_columns(data.take(rows, only=READ), self.dtype, of=data)
            return batch if self.cutoff is None else batch.link(self.cutoff)
        except DistillerError as error:  # as a value it keeps its one sentence; torch would add the worker's traceback
            return error


class _Tasks:
    """What the workers do next: torch asks for its iterator when a pass begins."""

    def __init__(self) -> None:
        self.current: Iterable[Task] = ()

    def __iter__(self) -> Iterator[Task]:
        return iter(self.current)


class _Workers:
    """Processes that make batches and stay alive between passes; fresh interpreters, since forked ones can hang."""

    def __init__(self, maker: _BatchMaker, n_workers: int, *, prefetch: int, pin_memory: bool) -> None:
        self._tasks, self._pass = _Tasks(), 0
        self._loader: DataLoader[Made] = DataLoader(
            maker,
            sampler=self._tasks,  # its items are tasks, not row numbers
            batch_size=None,
            num_workers=n_workers,
            prefetch_factor=prefetch,
            persistent_workers=True,
            multiprocessing_context="spawn",
            pin_memory=pin_memory,
            generator=torch.Generator(),  # else torch's global one is drawn from
        )

    def make(self, tasks: Iterable[Task]) -> Iterator[Made]:
        """Yield the batches of tasks, in their order."""
        self._pass += 1
        own, self._tasks.current = self._pass, tasks
        with _no_sudden_errors():
            batches = iter(self._loader)
        while True:
            if own != self._pass:
                raise DataError("a loader with workers gives one pass at a time; make a second loader for the other")
            try:
                made = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise DataError(
                    f"a worker process of the loader died ({_how_they_died(batches)}); run again with fewer n_workers, "
                    "or with n_workers=0 to see its own error"
                ) from error
            yield made


@contextmanager
def _no_sudden_errors() -> Iterator[None]:
    """Keep torch's handler of dying children out: it raises wherever the program is, in the writing of a file too.

    Without it the next batch that is asked for finds the dead process, after 5 seconds at most.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield  # then torch sets no handler
        return
    before = signal.getsignal(signal.SIGCHLD)
    yield
    signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


def _how_they_died(batches: Any) -> str:
    """Return what the processes behind torch's iterator left: an exit code, or the signal that killed them."""
    codes = sorted({worker.exitcode for worker in batches._workers if worker.exitcode})
    said = [f"exit code {c}" if c > 0 else f"killed by signal {-c}, out of memory perhaps" for c in codes]
    return ", ".join(said) or "no exit code"


def _suitable(dataset: MolecularDataset) -> Literal["cached", "worker"]:
    return "cached" if dataset.is_in_memory and dataset.transform is None else "worker"


def _cached(dataset: MolecularDataset, cutoff: float, dtype: torch.dtype) -> GraphCache:
    if dataset.transform is not None:
        raise DataError("cached neighbors are those before a transform; use neighbors='worker' with one")
    return GraphCache(dataset, cutoff, dtype)
