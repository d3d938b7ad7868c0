"""Turns: atoms that move as in dynamics, calls that take what they take, and the same machine for all."""

import gc
from itertools import pairwise

import numpy as np
import pytest
import torch

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking import turns
from mlff_distiller.benchmarking.turns import Calls, Walk, take_rounds, take_turns
from mlff_distiller.core.errors import PredictionError

H2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.75]])
H4 = Structure([1, 1, 1, 1], [[0, 0, 0], [0, 0, 0.75], [2.0, 0, 0], [2.0, 0, 0.75]])


class Ticking:
    """A potential whose call takes a known time of a clock that only it moves; notes what it was given."""

    def __init__(self, clock: list[float], ms: float) -> None:
        self.clock, self.ms, self.seen, self.threads = clock, ms, [], []

    def predict(self, structures, properties=("energy", "forces")) -> list[Labels]:
        self.clock[0] += 1e-3 * self.ms
        self.seen.append(structures)
        self.threads.append(torch.get_num_threads())
        return []


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])
    return now


def test_a_walk_moves_every_atom_at_every_step_and_stays_near_its_start() -> None:
    walk = Walk([H2, H4], step=0.008, extent=0.08, seed=1)
    frames = [np.concatenate([s.positions for s in next(walk)]) for _ in range(3000)]
    steps, away = np.diff(frames, axis=0), np.array(frames[500:]) - np.concatenate([H2.positions, H4.positions])
    assert np.sqrt(np.mean(steps**2)) == pytest.approx(0.008, rel=0.05)
    assert (steps != 0).all()
    assert 0.05 < np.sqrt(np.mean(away**2)) < 0.11
    assert next(walk)[0].numbers is H2.numbers  # else every call would look like one with other atoms


def test_walks_of_one_seed_are_the_same_motion() -> None:
    a, b, other = Walk([H4], seed=3), Walk([H4], seed=3), Walk([H4], seed=4)
    for _ in range(5):
        first, second, third = next(a)[0], next(b)[0], next(other)[0]
        assert np.array_equal(first.positions, second.positions)
        assert not np.array_equal(first.positions, third.positions)


def test_calls_take_their_time_and_no_more(clock) -> None:
    potential = Ticking(clock, 2.0)
    samples = Calls(potential, [H2, H4]).block(0.1)
    assert samples == pytest.approx([2.0] * 50, rel=1e-6)
    assert len(potential.seen) == 51  # and one to warm up
    assert [len(s) for s in potential.seen[0]] == [2, 4]
    positions = [structures[1].positions for structures in potential.seen]
    assert all((a != b).all() for a, b in pairwise(positions))


def test_long_calls_need_no_warming_up_after_the_first(clock) -> None:
    potential = Ticking(clock, 400.0)
    calls = Calls(potential, [H2])
    calls.block(0.0)
    before = len(potential.seen)
    assert calls.block(0.0) == pytest.approx([400.0])
    assert len(potential.seen) == before + 1


def test_threads_of_torch_are_set_for_the_calls_alone(clock) -> None:
    potential, before = Ticking(clock, 1.0), torch.get_num_threads()
    Calls(potential, [H2], n_threads=before + 1).block(0.0)
    assert set(potential.threads) == {before + 1}
    assert torch.get_num_threads() == before


class Noted:
    """A contender with a time of its own that says when its turn was."""

    def __init__(self, name: str, ms: float, log: list[str]) -> None:
        self.name, self.ms, self.log = name, ms, log

    def block(self, seconds: float) -> list[float]:
        assert not gc.isenabled()
        self.log.append(self.name)
        return [self.ms] * max(1, round(1e3 * seconds / self.ms))


def test_contenders_take_turns_until_their_time_is_over() -> None:
    log: list[str] = []
    found = take_turns({n: Noted(n, ms, log) for n, ms in (("a", 1.0), ("b", 900.0))}, seconds=0.8, n_rounds=8)
    assert log[:6] == ["a", "b", "b", "a", "a", "b"]  # nobody always comes after the same neighbor
    assert log[6:] == ["a"] * 5  # three calls of the slow one are enough
    assert found["a"].tolist() == [1.0] * 800
    assert found["b"].tolist() == [900.0] * 3
    assert gc.isenabled()


def test_rounds_are_kept_apart() -> None:
    found = take_rounds({n: Noted(n, ms, []) for n, ms in (("a", 1.0), ("b", 900.0))}, seconds=0.8, n_rounds=8)
    assert [len(block) for block in found["a"]] == [100] * 8
    assert [len(block) for block in found["b"]] == [1] * 3


def test_garbage_is_collected_again_after_an_error() -> None:
    class Broken:
        def block(self, seconds: float) -> list[float]:
            raise PredictionError(0, "broken")

    with pytest.raises(PredictionError):
        take_turns({"a": Broken()}, seconds=0.1)
    assert gc.isenabled()
