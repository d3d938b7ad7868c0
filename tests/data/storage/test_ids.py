"""IdSet is a set of integers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlff_distiller.data.storage.ids import IdSet

IDS = st.lists(st.integers(-50, 50) | st.integers(-(2**62), 2**62))


@given(st.lists(IDS), IDS)
def test_it_is_a_set(batches, asked):
    found, expected = IdSet(), set()
    for batch in batches:
        found.add(np.array(batch, dtype=np.int64))
        expected |= set(batch)
        assert found == expected
        assert len(found) == len(expected)
    assert list(found) == sorted(expected)
    assert set(found.common(np.array(asked, dtype=np.int64)).tolist()) == expected & set(asked)
    assert [i in found for i in asked] == [i in expected for i in asked]
    assert found | set(asked) == expected | set(asked)


def test_consecutive_ids_cost_one_range():
    ids = IdSet()
    for first in np.random.default_rng(0).permutation(100).tolist():
        ids.add(np.arange(1000 * first, 1000 * first + 1000))
    assert ids.n_ranges == 1
    assert len(ids) == 100_000
