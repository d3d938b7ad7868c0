"""Batches are consecutive pieces within their limit, and can be entered anywhere."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff_distiller.data.loading import batching
from mlff_distiller.data.loading.batching import Batching
from mlff_distiller.data.loading.order import InOrder, Shuffle


def greedy(rows, costs, limit):
    """Return the same batches, one structure at a time."""
    found, spent = [], 0
    for row in rows:
        if not found or spent + costs[row] > limit:
            found.append([])
            spent = 0
        found[-1].append(int(row))
        spent += costs[row]
    return found


@settings(max_examples=100, deadline=None)
@given(
    costs=st.lists(st.integers(1, 12), min_size=1, max_size=60),
    limit=st.integers(1, 30),
    block=st.sampled_from([1, 2, 7, 1 << 15]),
    start=st.integers(0, 10),
)
def test_batches_are_as_long_as_the_limit_allows(costs, limit, block, start):
    costs = np.array(costs)
    shuffle = Shuffle(len(costs), seed=1, epoch=2)
    expected = greedy(shuffle[0 : len(costs)], costs, limit)
    original, batching._BLOCK = batching._BLOCK, block
    try:
        cut = Batching(limit, costs)
        assert [rows.tolist() for rows in cut.batches(shuffle)] == expected
        assert [rows.tolist() for rows in cut.batches(shuffle, start=start)] == expected[start:]
        assert cut.count(shuffle) == len(expected)
        ones = greedy(shuffle[0 : len(costs)], np.ones_like(costs), limit)
        assert [rows.tolist() for rows in Batching(limit).batches(shuffle, start=start)] == ones[start:]
        assert Batching(limit).count(shuffle) == len(ones)
    finally:
        batching._BLOCK = original


def test_int32_costs_do_not_overflow():
    costs = np.full(10, 2**31 - 1, dtype=np.int32)
    assert [len(rows) for rows in Batching(3 * (2**31 - 1), costs).batches(InOrder(10))] == [3, 3, 3, 1]


def test_a_late_batch_of_equal_structures_is_reached_without_counting(monkeypatch):
    asked = []
    piece = Shuffle.__getitem__
    monkeypatch.setattr(Shuffle, "__getitem__", lambda self, s: asked.append(s.start or 0) or piece(self, s))
    batch = next(Batching(32).batches(Shuffle(10**8, seed=0, epoch=0), start=3_000_000))
    assert len(batch) == 32
    assert all(first in (0, 96_000_000) for first in asked)
