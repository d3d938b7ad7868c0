"""Memory of this process: how much there is, and the most that a piece of work took."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

_SHARE = 0.5  # of the memory that is free: neighbors on the machine want some too
_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "unable to allocate",
    "resource_exhausted",
    "bad_alloc",
    "insufficient virtual memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out; every library says it in its own way.

    Examples
    --------
    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    True
    """
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or "outofmemory" in text or any(sign in text for sign in _SIGNS)


@dataclass
class Peak:
    """The most memory that a piece of work took beyond what was taken before, bytes; None where nobody can say."""

    taken: int | None = None


class Memory:
    """The memory in which a potential works: the machine's, or a CUDA device's.

    Parameters
    ----------
    device : str
        "cpu" or "cuda".
    limit_GB : float, optional
        What may be taken in all; half of what is free now unless said.

    Examples
    --------
    >>> from mmap import mmap
    >>> memory = Memory("cpu", limit_GB=64.0)
    >>> with memory.watched() as peak:
    ...     written = mmap(-1, 50_000_000).write(bytes(50_000_000))  # new pages, whatever this process has set free
    >>> peak.taken is None or peak.taken > 40_000_000
    True
    """

    def __init__(self, device: str = "cpu", *, limit_GB: float | None = None) -> None:
        self._cuda = _cuda() if device.startswith("cuda") else None
        used, free = self._now()
        self._most = int(limit_GB * 1e9) if limit_GB is not None else used + int(_SHARE * free)

    @property
    def room(self) -> int:
        """What may be taken beyond what is taken now, bytes."""
        return max(self._most - self._now()[0], 0)

    @contextmanager
    def watched(self) -> Iterator[Peak]:
        """Measure what the block takes at most, beyond what was taken before."""
        peak, before = Peak(), self._now()[0]
        self._forget()
        yield peak
        highest = self._highest()
        peak.taken = None if highest is None else max(highest - before, 0)

    def _now(self) -> tuple[int, int]:
        """Return bytes taken by this process and bytes that are free."""
        if self._cuda is not None:
            return int(self._cuda.memory_allocated()), int(self._cuda.mem_get_info()[0])
        return _read("/proc/self/status").get("VmRSS", 0), _read("/proc/meminfo").get("MemAvailable", 8 << 30)

    def _forget(self) -> None:
        if self._cuda is not None:
            self._cuda.reset_peak_memory_stats()
            return
        with suppress(OSError):  # elsewhere than on Linux; nothing is measured there
            Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew

    def _highest(self) -> int | None:
        if self._cuda is not None:
            return int(self._cuda.max_memory_allocated())
        return _read("/proc/self/status").get("VmHWM")


def _cuda() -> Any:
    """Return torch's view of the GPU; None where torch has none, as in an environment of JAX."""
    try:
        cuda = import_module("torch").cuda
    except ImportError:
        return None
    return cuda if cuda.is_available() else None


def _read(file: str) -> dict[str, int]:
    """Return the lines "name: N kB" of a file of the kernel, in bytes; nothing where there is no such file."""
    try:
        lines = Path(file).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if line.rstrip().endswith("kB"))
    return {name: 1024 * int(value.split()[0]) for name, value in pairs}
