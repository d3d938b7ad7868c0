"""How benchmarks/inference.py talks to a peer: it names a system and a time, and gets the milliseconds of the calls.

A peer is a process of its own, started as ``python SCRIPT TRAJECTORIES.npz SIZES``. This module needs numpy, ASE and
torch alone, so that it works in the environment of any library.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import ase
import numpy as np
import torch

Evaluate = Callable[[ase.Atoms], object]
"""Energy and forces of one structure, through what the library offers for dynamics."""


class Moving:
    """Atoms that go along a trajectory, there and back again.

    Parameters
    ----------
    trajectory : dict
        ``numbers`` (N,), ``cell`` (3, 3), ``pbc`` (3,) and ``positions`` (M, N, 3), Angstrom.
    """

    def __init__(self, trajectory: dict[str, np.ndarray]) -> None:
        self.positions, self.at, self.last_ms = trajectory["positions"], 0, 0.0
        fixed = {name: trajectory[name] for name in ("numbers", "cell", "pbc")}
        self.atoms = ase.Atoms(positions=self.positions[0], **fixed)

    def block(self, evaluate: Evaluate, seconds: float) -> list[float]:
        """Evaluate moving atoms for a while, at least once; the first call is not counted unless calls are long."""
        if self.last_ms < 50:
            self.call(evaluate)
        samples = [self.call(evaluate)]
        end = time.perf_counter() + seconds - 1e-3 * samples[0]
        while time.perf_counter() < end:
            samples.append(self.call(evaluate))
        return samples

    def call(self, evaluate: Evaluate) -> float:
        self.at = (self.at + 1) % (2 * len(self.positions) - 2)
        self.atoms.positions[:] = self.positions[min(self.at, 2 * len(self.positions) - 2 - self.at)]
        start = time.perf_counter()
        evaluate(self.atoms)
        self.last_ms = 1e3 * (time.perf_counter() - start)
        return self.last_ms


def read(path: str) -> dict[str, dict[str, np.ndarray]]:
    """Return trajectories by the name of the system, from arrays named ``SYSTEM/ARRAY``."""
    found: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as arrays:
        for name in arrays:
            system, _, array = name.rpartition("/")
            found.setdefault(system, {})[array] = arrays[name]
    return found


def serve(make: Callable[[dict[str, Any]], tuple[Callable[[], Evaluate], str]]) -> None:
    """Say what the peer is, then time what each line of the input asks for: ``[system, seconds, threads]``.

    Parameters
    ----------
    make : callable
        From sizes to a maker of evaluations, one for each system since they keep neighbors, and the library's version.
    """
    path, sizes = sys.argv[-2:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    torch.manual_seed(0)
    moving, evaluations = {name: Moving(one) for name, one in read(path).items()}, {}
    try:
        new, version = make(json.loads(sizes))
    except Exception as error:  # of any library; the benchmark names it and goes on without this peer
        answers.write(json.dumps({"failed": _said(error)}) + "\n")
        return
    answers.write(json.dumps({"version": version}) + "\n")
    for line in sys.stdin:
        system, seconds, threads = json.loads(line)
        torch.set_num_threads(threads)
        gc.collect()
        gc.disable()
        try:
            if system not in evaluations:
                evaluations[system] = new()
            answer: Any = moving[system].block(evaluations[system], seconds)
        except Exception as error:
            answer = {"failed": _said(error)}
        gc.enable()
        answers.write(json.dumps(answer) + "\n")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or repr(error)).splitlines()[0]}"
