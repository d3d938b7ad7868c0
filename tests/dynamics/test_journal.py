"""Long runs lie on disk: killed at any moment they go on and end the same, and memory does not grow with them."""

import itertools
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.dynamics.failures import Limits
from mlff_distiller.dynamics.journal import Journal
from mlff_distiller.dynamics.nve import NVERun, NVESettings, run_nve
from mlff_distiller.dynamics.trace import NVETrace
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.potentials.base import Identity, Potential

SETTINGS = NVESettings(timestep_fs=2.0, n_steps=350, record_every=7, frame_every=35, limits=Limits(max_force=5.0))


CHUNK = 100


class Interrupted(BaseException):
    """Stands for a process that ends in the middle of a step."""


class Counting:
    """A potential that counts its calls, and ends the process at one of them."""

    def __init__(self, inner, *, last=None):
        self.inner, self.last, self.n_calls, self.identity = inner, last, 0, inner.identity

    def predict(self, structures, properties=("energy", "forces")):
        self.n_calls += 1
        if self.n_calls == self.last:
            raise Interrupted
        return self.inner.predict(structures, properties)


class Argon(Potential):
    """Lennard-Jones argon without a cutoff; quick."""

    elements = frozenset({18})
    properties = frozenset({"energy", "forces"})
    is_conservative = True

    def __init__(self, epsilon: float = 0.0104) -> None:
        self.epsilon, self.identity = epsilon, Identity("argon", "test", str(epsilon))

    def predict(self, structures, properties=("energy", "forces")):
        return [self._label(structure.positions) for structure in structures]

    def _label(self, positions):
        vectors = positions[:, None] - positions
        squares = (vectors**2).sum(-1) + 1e9 * np.eye(len(positions))
        sixth = (3.4**2 / squares) ** 3
        slopes = 24 * self.epsilon * (2 * sixth**2 - sixth) / squares
        return Labels(
            energy=float(2 * self.epsilon * (sixth**2 - sixth).sum()), forces=(slopes[..., None] * vectors).sum(1)
        )


def system():
    """Return a cluster that goes on, and a pair of argon atoms that collides half way."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    cluster = Structure([18] * 8, 3.8 * corners)
    pair = Structure([18, 18], [[0, 0, 0], [0, 0, 13.5]])
    warm = maxwell_boltzmann(cluster, 20.0, np.random.default_rng(0))
    return [cluster, pair], [warm, np.array([[0, 0, 0.2], [0, 0, -0.2]])]


def run_of(folder=None, potential=None, *, last=None, start=None, settings=SETTINGS):
    """Return a run that is interrupted at a call of the potential."""
    potential = Counting(potential or Argon(), last=last)
    return NVERun(potential, *(start or system()), settings, folder=folder, chunk_steps=CHUNK), potential


def same(one: NVETrace, other: NVETrace) -> bool:
    """Whether two traces are the same to the last bit."""
    return all(_bytes(getattr(one, field.name)) == _bytes(getattr(other, field.name)) for field in fields(NVETrace))


def _bytes(value):
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, Structure):
        return value.positions.tobytes()
    return [_bytes(one) for one in value] if isinstance(value, list | tuple) else repr(value)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a run in memory, and the files of the same run on disk."""
    folder = tmp_path_factory.mktemp("whole")
    in_memory, on_disk = run_of()[0].finish(), run_of(folder)[0].finish()
    assert same(in_memory, on_disk)
    assert [failure and 100 < failure.step < 200 for failure in in_memory.failures] == [None, True]
    return in_memory, contents(folder)


def n_kept(last: int) -> int:
    """Return how many steps are kept of a run that ends at a call: two are for the start."""
    return max(last - 3, 0) // CHUNK * CHUNK


@pytest.mark.parametrize("last", [1, 2, 70, 102, 103, 199, 203, 304, 352, 353])
def test_an_interrupted_run_goes_on_and_ends_the_same(last, whole, tmp_path):
    trace, files = whole
    with pytest.raises(Interrupted):
        run_of(tmp_path, last=last)[0].finish()
    run, again = run_of(tmp_path)
    assert run.n_done == n_kept(last)
    assert same(run.finish(), trace)
    assert contents(tmp_path) == files
    assert again.n_calls == 353 - (2 + run_start if (run_start := n_kept(last)) else 0)


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_journal import run_of
run, _ = run_of(Path(sys.argv[1]))
run.finish(lambda n=1, note="": time.sleep(0.005))
"""


@pytest.mark.parametrize("n_chunks", [1, 2])
def test_a_killed_process_loses_at_most_a_chunk(n_chunks, whole, tmp_path):
    trace, files = whole
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), str(Path(__file__).parent)])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.rglob("chunk-*.npz"))) < n_chunks and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    run, _ = run_of(tmp_path)
    assert run.n_done in {CHUNK * (n_chunks - 1), CHUNK * n_chunks}
    assert same(run.finish(), trace)
    assert {name: content for name, content in contents(tmp_path).items() if not name.endswith(".tmp")} == files


def test_a_finished_run_is_only_read(whole, tmp_path):
    run_of(tmp_path)[0].finish()
    done = []
    run, potential = run_of(tmp_path)
    assert run.n_done == SETTINGS.n_steps
    assert same(run.finish(lambda n=1, *, note="": done.append(n)), whole[0])
    assert potential.n_calls == 0
    assert done == []


def test_a_run_in_which_all_failed_is_only_read(tmp_path):
    colliding = tuple(part[1:] for part in system())
    first = run_of(tmp_path, start=colliding)[0].finish()
    run, potential = run_of(tmp_path, start=colliding)
    again = run.finish()
    assert same(first, again)
    assert potential.n_calls == 0
    assert first.times_ps.shape == (51,)
    assert first.shadow_energy.shape == (51, 1)
    assert np.isnan(first.shadow_energy[-1, 0])
    assert first.frame_positions.shape == (11, 2, 3)


def test_progress_counts_only_what_is_done_now(tmp_path):
    with pytest.raises(Interrupted):
        run_of(tmp_path, last=250)[0].finish()
    done = []
    run, _ = run_of(tmp_path)
    assert run.n_done == 200
    run.finish(lambda n=1, *, note="": done.append(n))
    assert sum(done) == 150


CHANGES = {
    "settings": {"settings": NVESettings(**{**vars(SETTINGS), "timestep_fs": 1.0})},
    "limits": {"settings": NVESettings(**{**vars(SETTINGS), "limits": Limits(max_force=6.0)})},
    "velocities": {"start": (system()[0], [system()[1][0] * 1.0000001, system()[1][1]])},
    "positions": {"start": ([s.moved(s.positions + 1e-9) for s in system()[0]], system()[1])},
    "charge": {"start": ([Structure(s.numbers, s.positions, charge=1) for s in system()[0]], system()[1])},
    "potential": {"potential": Argon(0.0105)},
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_run_does_not_continue_it(what, tmp_path):
    with pytest.raises(Interrupted):
        run_of(tmp_path, last=150)[0].finish()
    assert run_of(tmp_path)[0].n_done == 100
    assert run_of(tmp_path, **CHANGES[what])[0].n_done == 0


def test_a_damaged_journal_is_named(tmp_path):
    run_of(tmp_path)[0].finish()
    (chunk,) = tmp_path.rglob("chunk-000001.npz")
    chunk.write_bytes(b"PK")
    with pytest.raises(DataError, match=r"chunk-000001.npz is missing or damaged .*delete"):
        run_of(tmp_path)[0].finish()


def test_a_chunk_that_the_state_does_not_know_is_written_again(tmp_path):
    journal = Journal(tmp_path)
    journal.append({"x": np.arange(2.0)}, {"n": np.array(1)})
    (tmp_path / "chunk-000001.npz").write_bytes(b"half of a file")
    again = Journal(tmp_path)
    again.append({"x": np.arange(3.0)}, {"n": np.array(2)})
    assert Journal(tmp_path).joined()["x"].tolist() == [0, 1, 0, 1, 2]


def test_memory_stays_flat(wells, tmp_path):
    """Fifty ps in 50 chunks: what Python holds after a tenth is what it holds before the end."""
    structure = Structure([18] * 2, [[0, 0, 0.1], [0, 0.1, 0]])
    velocities = maxwell_boltzmann(structure, 30.0, np.random.default_rng(0))
    held, moment = np.zeros(2500), itertools.count()

    def advance(n=1, *, note=""):
        held[next(moment)] = tracemalloc.get_traced_memory()[0]

    settings = NVESettings(5.0, 10_000, record_every=4, frame_every=100, limits=Limits(min_distance=0))
    run = NVERun(wells(1.0), [structure] * 2, [velocities] * 2, settings, folder=tmp_path, chunk_steps=200)
    tracemalloc.start()
    try:
        trace = run.finish(advance)
    finally:
        tracemalloc.stop()
    assert trace.failures == (None, None)
    tenth, end = held[200:300].max(), held[-100:].max()  # the fullest moment of one chunk
    recorded = sum(value.nbytes for value in vars(trace).values() if isinstance(value, np.ndarray))
    assert end - tenth < 0.05 * recorded


def test_in_memory_it_is_the_same_run(argon, cluster, tmp_path):
    velocities = maxwell_boltzmann(cluster, 30.0, np.random.default_rng(3))
    settings = {"timestep_fs": 2.0, "n_steps": 120, "record_every": 10, "frame_every": 40}
    here = run_nve(argon, [cluster], [velocities], **settings)
    there = run_nve(argon, [cluster], [velocities], **settings, folder=tmp_path)
    assert same(here, there)
