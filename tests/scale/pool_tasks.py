"""Functions that the pool's tests run in workers; imported there by name."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mlff_distiller.core.console import Reporter
from mlff_distiller.core.errors import PredictionError, StructureError


def square(task: int, reporter: Reporter) -> tuple[int, int]:
    return task * task, os.getpid()


def slow_first(task: int, reporter: Reporter) -> int:
    time.sleep(1.0 if task == 0 else 0.0)
    return task


def threads(task: None, reporter: Reporter) -> tuple[str | None, str | None, int, bool]:
    loaded = "numpy" in sys.modules
    import torch

    return os.environ.get("OMP_NUM_THREADS"), os.environ.get("MKL_NUM_THREADS"), torch.get_num_threads(), loaded


def progress(task: int, reporter: Reporter) -> str:
    advance = reporter.start(f"task {task}", 10, done=2)
    for _ in range(8):
        advance(note=f"note {task}")
    reporter.message(f"hello from {task}")
    print("a library that prints")
    print("and complains", file=sys.stderr)
    return "done"


def live(task: Path, reporter: Reporter) -> str:
    """Return only after the parent has heard the message and answered by making the file."""
    reporter.message("are you there")
    for _ in range(600):
        if task.exists():
            return "heard"
        time.sleep(0.05)
    return "not heard"


def refuse(task: int, reporter: Reporter) -> None:
    if task == 1:
        raise StructureError("structure 1 is bad; remove it")
    if task == 2:
        raise PredictionError(7, "SCF did not converge")
    if task == 3:
        raise KeyError("a fault of ours")
    if task == 4:
        raise Unpicklable(1, 2)


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def unpicklable_result(task: int, reporter: Reporter) -> object:
    return lambda: task


def die(task: str, reporter: Reporter) -> None:
    print("the library's last words", file=sys.stderr, flush=True)
    if task == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(3)


def sleep(task: str, reporter: Reporter) -> None:
    """Start a child of its own, as a calculator of an external program does, and stay busy."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", task])
    reporter.message("asleep")
    while True:
        sum(range(10_000))


def large(task: bytes, reporter: Reporter) -> bytes:
    return task + task
