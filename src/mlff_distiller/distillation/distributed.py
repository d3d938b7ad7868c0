"""Several processes that train one student together, started by torchrun: gloo between CPUs, NCCL between GPUs."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType
from typing import Final, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from mlff_distiller.core.errors import DistillerError, TrainingError
from mlff_distiller.distillation.world import World

T = TypeVar("T")

_PATIENCE: Final = timedelta(minutes=10)  # several times what one waits for another: compiling, reading of data
_ROLL_CALL_S: Final = 3.0  # how long the first process waits for the others to say why they end
_SUCCESSION: Final = timedelta(seconds=6)  # how long the others wait for the first; torchrun kills after 30 s


class DistributedWorld(World):
    """The processes of torch's default group.

    Every process holds the whole student and works on its share of each batch; gradients and losses are added up, so
    that all take the same step.
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.local_rank = int(os.environ.get("LOCAL_RANK", self.rank))

    def sum(self, values: Tensor) -> Tensor:
        """Add values up over all processes, in place, and return them."""
        with _contact():
            dist.all_reduce(values)
        return values

    def collect(self, value: T) -> list[T]:
        """Return the values of all processes, by rank."""
        values: list[T] = [value] * self.size
        with _contact():
            dist.all_gather_object(values, value)
        return values


@contextmanager
def world() -> Iterator[World]:
    """Give the processes that ``torchrun`` started together, or a process that trains alone.

    If one of them fails or dies, all end within seconds, and one says why: the first, unless that is the dead one.
    The others end quietly, with exit code 2.

    Raises
    ------
    TrainingError
        If another process failed, died, or does not answer for ten minutes.

    Examples
    --------
    >>> with world() as alone:
    ...     print(alone.rank, alone.size)
    0 1
    """
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        yield World()
        return
    store, rank, size = next(rendezvous("env://", timeout=_PATIENCE))
    dist.init_process_group(_backend(), store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    earlier = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield DistributedWorld()
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of torchrun, while the last words are spoken
        _Farewell(store, rank, size).say(error)
    signal.signal(signal.SIGTERM, earlier)
    dist.destroy_process_group()


def _backend() -> str:
    """Return NCCL beside gloo where each process of this machine has a GPU of its own, as NCCL demands."""
    n_gpus = torch.cuda.device_count()
    return "cpu:gloo,cuda:nccl" if n_gpus and n_gpus >= int(os.environ.get("LOCAL_WORLD_SIZE", 1)) else "gloo"


class _LostContact(TrainingError):
    """Another process does not take part any more."""


class _ToldToEnd(KeyboardInterrupt):
    """SIGTERM: from torchrun, because another process died, or from a scheduler."""


@contextmanager
def _contact() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise _LostContact(
            f"the processes lost contact ({str(error).splitlines()[0][:200]}); check the network between the machines "
            "and run the same command again to continue"
        ) from error


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise _ToldToEnd("told to end (SIGTERM); run the same command again to continue")


class _Farewell:
    """How processes that end by an error learn why, over the store that they met in, which torchrun keeps alive."""

    def __init__(self, store: Store, rank: int, size: int) -> None:
        self._store, self._rank, self._size = store, rank, size

    def say(self, error: BaseException) -> NoReturn:
        """End this process: with an error that the user should see, or quietly."""
        cause = _cause(error)
        with suppress(RuntimeError):  # where the store has died with its process
            self._store.set(f"cause/{self._rank}", cause)
        if self._rank == 0 or (not cause and self._succeeds()):
            raise error if cause else TrainingError(self._verdict(error)) from error
        if not isinstance(error, DistillerError | KeyboardInterrupt):
            raise error  # a fault of ours, whose traceback is of use
        raise SystemExit(130 if cause and isinstance(error, KeyboardInterrupt) else 2)

    def _succeeds(self) -> bool:
        """Return whether the first process keeps silent, and this one is the first to notice."""
        try:
            self._store.wait(["cause/0"], _SUCCESSION)
        except RuntimeError:
            return self._is_first()
        return False

    def _is_first(self) -> bool:
        try:
            return bool(self._store.add("successors", 1) == 1)
        except RuntimeError:
            return self._rank == 1

    def _verdict(self, error: BaseException) -> str:
        """Return why this process ends, which is not its own doing."""
        until = time.monotonic() + _ROLL_CALL_S
        causes = self._causes()
        while len(causes) < self._size and not any(causes.values()) and time.monotonic() < until:
            time.sleep(0.05)
            causes = self._causes()
        for rank, cause in causes.items():
            if cause:
                return f"process {rank} of {self._size} failed: {cause}"
        silent = [str(rank) for rank in range(self._size) if rank not in causes]
        if not silent:
            return str(error)
        return (
            f"process {' and '.join(silent)} of {self._size} died or cannot be reached; what was saved before is kept, "
            "and the same command continues from it"
        )

    def _causes(self) -> dict[int, str]:
        """Return why those processes end that have said so; empty for those that do because of others."""
        try:
            said = [rank for rank in range(self._size) if self._store.check([f"cause/{rank}"])]
            return {rank: self._store.get(f"cause/{rank}").decode() for rank in said}
        except RuntimeError:  # without torchrun the store is the first process's, and dies with it
            return dict.fromkeys(range(1, self._size), "")


def _cause(error: BaseException) -> str:
    """Return why a process ends of its own; nothing if it is because of others."""
    if isinstance(error, _LostContact | _ToldToEnd):
        return ""
    if isinstance(error, DistillerError | KeyboardInterrupt):
        return str(error) or "interrupted; run the same command again to continue"
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}; its traceback says where"
