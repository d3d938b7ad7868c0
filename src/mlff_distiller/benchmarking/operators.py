"""What torch's profiler sees: operators on the processor, kernels and memory on a GPU."""

from collections.abc import Callable
from typing import Any, NamedTuple

_MOST = 25  # operators in a table


class Operator(NamedTuple):
    """One operator or kernel: times per step in milliseconds, calls per step, memory per step in kB."""

    name: str
    cpu_ms: float
    device_ms: float
    n_calls: float
    memory_kB: float
    device_memory_kB: float


class Operators(NamedTuple):
    """Operators by the time of their own, and their events for a trace."""

    rows: list[Operator]
    events: list[dict[str, Any]]
    peak_device_MB: float | None


def operators(step: Callable[[], object], n_steps: int, *, device: str = "cpu") -> Operators:
    """Run some steps under torch's profiler.

    Parameters
    ----------
    step : callable
        One step.
    n_steps : int
        How many.
    device : str
        Where torch works.

    Examples
    --------
    >>> import torch
    >>> found = operators(lambda: torch.ones(9, 9) @ torch.ones(9, 9), 2)
    >>> "aten::mm" in [row.name for row in found.rows]
    True
    """
    import torch
    from torch.profiler import ProfilerActivity, profile

    on_gpu = device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    with profile(activities=activities, profile_memory=True) as seen:
        for _ in range(n_steps):
            step()
        if on_gpu:
            torch.cuda.synchronize()
    rows = [_operator(average, n_steps) for average in seen.key_averages()]
    rows.sort(key=lambda row: -(row.device_ms if on_gpu else row.cpu_ms))
    peak = 1e-6 * torch.cuda.max_memory_allocated() if on_gpu else None
    return Operators(rows[:_MOST], _events(seen.events()), peak)


def _operator(average: Any, n: int) -> Operator:
    return Operator(
        average.key,
        1e-3 * average.self_cpu_time_total / n,
        1e-3 * getattr(average, "self_device_time_total", 0.0) / n,
        average.count / n,
        1e-3 * average.self_cpu_memory_usage / n,
        1e-3 * getattr(average, "self_device_memory_usage", 0) / n,
    )


def _events(events: Any) -> list[dict[str, Any]]:
    """Return events as those of a Chrome trace, in rows of their own."""
    first = min((event.time_range.start for event in events), default=0.0)
    named = {2: "torch, processor", 3: "torch, GPU"}
    rows = [
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": row, "args": {"name": name}} for row, name in named.items()
    ]
    return rows + [
        {
            "name": event.name,
            "cat": "torch",
            "ph": "X",
            "ts": round(float(event.time_range.start - first), 3),
            "dur": round(float(event.time_range.elapsed_us()), 3),
            "pid": 1,
            "tid": 3 if "CUDA" in str(event.device_type) else 2,
        }
        for event in events
    ]
