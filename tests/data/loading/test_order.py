"""The shuffled order is a permutation, looks random, and any piece of it can be had at once."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, kendalltau

from mlff_distiller.data.loading import order
from mlff_distiller.data.loading.order import InOrder, Shuffle


def whole(n, *, seed=0, epoch=0):
    return Shuffle(n, seed=seed, epoch=epoch)[0:n]


@pytest.mark.parametrize("n", [*range(1, 70), 127, 128, 129, 1000, 4095, 4096, 4097, 100_003])
def test_every_number_comes_once(n):
    assert np.array_equal(np.sort(whole(n)), np.arange(n))


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 3000), seed=st.integers(0, 2**63), epoch=st.integers(0, 10**6), data=st.data())
def test_a_piece_is_a_piece_of_the_whole(n, seed, epoch, data):
    shuffle = Shuffle(n, seed=seed, epoch=epoch)
    everything = shuffle[0:n]
    assert np.array_equal(np.sort(everything), np.arange(n))
    first = data.draw(st.integers(0, n))
    last = data.draw(st.integers(first, n + 5))
    assert np.array_equal(shuffle[first:last], everything[first:last])


def test_seed_and_epoch_decide():
    orders = [whole(1000, seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert np.array_equal(orders[0], whole(1000))
    for i in range(6):
        for j in range(i):
            assert (orders[i] == orders[j]).sum() < 10, "about one number in its old place is expected by chance"


@pytest.mark.parametrize("n", [3, 4, 5, 6, 8, 12, 17])
def test_every_place_is_equally_likely(n):
    """Chi-square of number against place over many epochs; fixed seed, so it passes always or never."""
    n_orders = 3000
    counts = np.zeros((n, n))
    for epoch in range(n_orders):
        counts[np.arange(n), whole(n, seed=7, epoch=epoch)] += 1
    expected = n_orders / n
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert chi2.sf(statistic, (n - 1) ** 2) > 1e-3


def test_all_orders_of_four_and_five_occur_equally():
    for n, n_possible in ((4, 24), (5, 120)):
        orders = [tuple(whole(n, seed=3, epoch=epoch).tolist()) for epoch in range(100 * n_possible // 4)]
        counts = np.array(list({order: orders.count(order) for order in set(orders)}.values()))
        assert len(counts) == n_possible
        assert chi2.sf(((counts - 25) ** 2 / 25).sum(), n_possible - 1) > 1e-3


def test_neighbors_in_the_data_are_not_neighbors_in_the_order():
    values = whole(20_000, seed=5)
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.03
    assert kendalltau(values[:2000], np.arange(2000)).pvalue > 1e-3


def test_a_piece_of_a_hundred_million_costs_memory_for_the_piece_only():
    shuffle = Shuffle(10**8, seed=0, epoch=0)
    tracemalloc.start()
    piece = shuffle[99_000_000:99_010_000]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(np.unique(piece)) == 10_000
    assert piece.min() >= 0
    assert piece.max() < 10**8
    assert peak < 2e6


def test_cycle_walking_takes_few_rounds(monkeypatch):
    permuted = Shuffle._permuted
    n_permuted = []
    monkeypatch.setattr(
        Shuffle, "_permuted", lambda self, values: n_permuted.append(len(values)) or permuted(self, values)
    )
    n = 2**14 + 1  # the worst case: barely more than a power of two
    assert len(whole(n)) == n
    assert sum(n_permuted) < 2.2 * n


def test_the_given_order():
    assert InOrder(5)[1:9].tolist() == [1, 2, 3, 4]
    assert len(InOrder(5)) == len(Shuffle(5, seed=0, epoch=0)) == 5
    assert InOrder(5)[2:2].dtype == order.Shuffle(5, seed=0, epoch=0)[2:2].dtype == np.int64
