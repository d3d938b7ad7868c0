"""Data sets that are labeled in milliseconds, and the command as a user runs it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.cli.main import main
from mlff_distiller.data.storage.writer import StoreWriter
from mlff_distiller.potentials.analytic import morse
from mlff_distiller.students.checkpoint import save
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.student import Student

H2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.75]])
H3 = Structure([1, 1, 1], [[0, 0, 0], [0, 0, 0.75], [2.0, 0, 0]])
CORNERS = 1.3 * np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])[:5]


def write_clusters(folder: Path, *, n: int = 60, depth: float = 2.0, segments: bool = False, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    frames = [
        Structure(
            [1, 6, 1, 6, 1],
            CORNERS + rng.normal(0, 0.08, CORNERS.shape),
            info={"segment": f"clusters/s{k // 4:02d}"} if segments else {},
        )
        for k in range(n)
    ]
    teacher = morse(depth=depth, width=1.5, distance=1.2, cutoff=3.0)
    with StoreWriter(folder, identity=teacher.identity.to_json()) as writer:
        writer.append(range(n), frames, teacher.predict(frames, ("energy", "forces")))
        writer.seal()
    return folder


@pytest.fixture(scope="session")
def clusters() -> Callable[..., Path]:
    """Return a function that writes a data set of clusters of five atoms."""
    return write_clusters


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess]:
    """Return a function that runs mlffd in a process of its own."""

    def run(*arguments, launcher: tuple[str, ...] = (sys.executable,), **env: str) -> subprocess.CompletedProcess:
        parts = [*launcher, "-m", "mlff_distiller.cli.main", *map(str, arguments)]
        env = os.environ | {"COLUMNS": "120", "OMP_NUM_THREADS": "1"} | env
        return subprocess.run(parts, capture_output=True, text=True, env=env, timeout=120, check=False)

    return run


@pytest.fixture
def refusal(monkeypatch, capsys) -> Callable[..., str]:
    """Return a function that runs mlffd in this process and returns the one sentence that it refuses with."""

    def run(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["mlffd", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mlffd: ")]
        return said

    return run


@pytest.fixture(scope="session")
def student(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("student") / "hydrogen.safetensors"
    save(Student(PaiNNPlan(preset="ultra-tiny", n_channels=16), {1: -13.6}), path, references=[H2, H2, H3])
    return path


@pytest.fixture
def shown(monkeypatch, capsys) -> Callable[..., str]:
    """Return a function that runs mlffd in this process and returns what it prints to standard output."""

    def run(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["mlffd", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "120")
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    return run
