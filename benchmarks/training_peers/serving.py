"""How benchmarks/training.py talks to an engine: it reads a number of steps, runs them, and answers with their time.

An engine is a process of its own, started as ``python SCRIPT DATA.npz MODE SIZES``. This module needs numpy and torch
alone, so that it works in the environment of any library.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch._functorch.config

Step = Callable[[int], None]
"""One training step on the batch of that number."""


@dataclass(frozen=True)
class Engine:
    """What is timed, and what there is to know about it."""

    step: Step
    n_parameters: int
    version: str


@dataclass(frozen=True)
class Data:
    """Batches of labeled structures: arrays of all, behind each other, and where each begins.

    Attributes
    ----------
    numbers, positions, forces : (N,), (N, 3), (N, 3)
        Of all atoms; Angstrom and eV/Angstrom.
    energy, relative_energy : (S,)
        eV; the second is less a fit of one energy for each element.
    centers, neighbors : (E,)
        Pairs within the cutoff, as indices within their structure.
    atom_offsets, edge_offsets : (S + 1,)
        Where the atoms and the edges of a structure begin and end.
    batch_size : int
        Structures in a batch.
    """

    numbers: np.ndarray
    positions: np.ndarray
    forces: np.ndarray
    energy: np.ndarray
    relative_energy: np.ndarray
    centers: np.ndarray
    neighbors: np.ndarray
    atom_offsets: np.ndarray
    edge_offsets: np.ndarray
    batch_size: int

    def __len__(self) -> int:
        return len(self.energy)

    @property
    def batches(self) -> list[range]:
        return [range(first, first + self.batch_size) for first in range(0, len(self), self.batch_size)]

    def structure(self, index: int) -> dict[str, np.ndarray]:
        atoms = slice(*self.atom_offsets[index : index + 2])
        edges = slice(*self.edge_offsets[index : index + 2])
        of_atoms = {name: getattr(self, name)[atoms] for name in ("numbers", "positions", "forces")}
        return of_atoms | {name: getattr(self, name)[edges] for name in ("centers", "neighbors")}


def in_mode(mode: str, loss: Callable[[Any], torch.Tensor]) -> Callable[[Any], torch.Tensor]:
    """Return a library's loss as it is, or through torch.compile as its users would do it."""
    if mode == "eager":
        return loss
    torch._functorch.config.donated_buffer = False  # forces need the graph of their gradient a second time
    return torch.compile(loss, dynamic=True)


def serve(make: Callable[[Data, str, dict[str, Any]], Engine]) -> None:
    """Warm up, say what the engine is, then time as many steps as each line of the input asks for."""
    path, mode, sizes = sys.argv[-3:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    torch.set_num_threads(1)
    with np.load(path) as file:
        arrays = dict(file)
    data = Data(**{**arrays, "batch_size": int(arrays["batch_size"])})
    try:
        engine = make(data, mode, json.loads(sizes))
        _timed(engine.step, 2 * len(data.batches), len(data.batches))
    except Exception as error:  # of any library; the benchmark names it and goes on without this engine
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        answers.write(json.dumps({"failed": f"{type(error).__name__}: {reason}"}) + "\n")
        return
    answers.write(json.dumps({"n_parameters": engine.n_parameters, "version": engine.version}) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(_timed(engine.step, int(line), len(data.batches))) + "\n")


def _timed(step: Step, n_steps: int, n_batches: int) -> tuple[float, float]:
    """Return CPU and wall-clock seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    for number in range(n_steps):
        step(number % n_batches)
    return time.process_time() - cpu, time.perf_counter() - wall
