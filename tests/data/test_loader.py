"""Batches equal what the graph of the same structures would be, in an order that can be resumed."""

import ase.build
import numpy as np
import pytest
import torch

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.loader import GraphLoader

CUTOFF = 4.0
GRAPH = ("numbers", "system", "centers", "neighbors", "vectors")


@pytest.fixture(scope="module")
def mixed():
    """Return molecules, a cell smaller than the cutoff, a slab and atoms without neighbors."""
    slab = ase.build.fcc111("Al", (1, 1, 3), vacuum=6)
    return [
        from_ase(ase.build.molecule("CH3CH2OH")),
        from_ase(ase.build.bulk("Cu")),
        Structure([18], [[0, 0, 0]]),
        from_ase(ase.build.molecule("C6H6")),
        from_ase(slab),
        Structure([2, 2], [[0, 0, 0], [0, 0, 9]]),
        from_ase(ase.build.molecule("H2O")),
    ]


@pytest.fixture(scope="module")
def labels(mixed):
    rng = np.random.default_rng(0)
    return [
        Labels(
            energy=float(rng.normal()) if i % 3 else None,
            forces=rng.normal(size=(len(s), 3)) if i % 2 else None,
            stress=rng.normal(size=(3, 3)) if s.is_periodic else None,
        )
        for i, s in enumerate(mixed)
    ]


def loader(structures, labels, **changes):
    return GraphLoader(structures, labels, **{"cutoff": CUTOFF, "batch_size": 3, "seed": 0, **changes})


def same_graph(a, b):
    return a.n_systems == b.n_systems and all(
        getattr(a, k).dtype == getattr(b, k).dtype and torch.equal(getattr(a, k), getattr(b, k)) for k in GRAPH
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 20])
def test_batches_are_the_graphs_of_their_structures(mixed, labels, batch_size, dtype):
    batches = list(loader(mixed, labels, batch_size=batch_size, dtype=dtype).all_in_order())
    for number, batch in enumerate(batches):
        chosen = mixed[number * batch_size : (number + 1) * batch_size]
        assert same_graph(batch.graph, Graph.from_structures(chosen, CUTOFF, dtype=dtype))
    assert sum(batch.graph.n_systems for batch in batches) == len(mixed)


def test_labels_travel_with_their_structures(mixed, labels):
    by_size = {len(s) * 1000 + int(s.numbers.sum()): (s, label) for s, label in zip(mixed, labels, strict=True)}
    seen = 0
    for batch in loader(mixed, labels, dtype=torch.float64).batches(3):
        assert batch.n_atoms.dtype == batch.energy.dtype == torch.float64
        for row in range(batch.graph.n_systems):
            own = batch.graph.system == row
            s, label = by_size[int(own.sum()) * 1000 + int(batch.graph.numbers[own].sum())]
            assert batch.n_atoms[row] == len(s)
            assert batch.volumes[row] == (s.volume if s.is_periodic else 1.0)
            for has, value, found in (
                (batch.has_energy[row], label.energy, batch.energy[row]),
                (batch.has_forces[row], label.forces, batch.forces[own]),
                (batch.has_stress[row], label.stress, batch.stress[row]),
            ):
                assert bool(has) == (value is not None)
                expected = np.zeros(found.shape) if value is None else value
                assert np.array_equal(found.numpy(), expected)
            seen += 1
    assert seen == len(mixed)


def test_float32_batches_keep_total_energies_in_float64(mixed, labels):
    batch = next(loader(mixed, [Labels(energy=-1e6 - 0.001)] * 7).all_in_order())
    assert batch.energy[0].item() == -1e6 - 0.001
    assert batch.forces.dtype == batch.stress.dtype == batch.volumes.dtype == torch.float32


def order(batches):
    return [batch.energy.tolist() for batch in batches]


def flat(epoch):
    return [energy for batch in epoch for energy in batch]


@pytest.fixture(scope="module")
def many():
    h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    return [h2] * 25, [Labels(energy=float(i)) for i in range(25)]


def test_an_epoch_visits_everything_once_in_a_new_order(many):
    it = loader(*many, batch_size=4)
    epochs = [order(it.batches(epoch)) for epoch in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1]
    assert all(sorted(flat(epoch)) == list(range(25)) for epoch in epochs)
    assert flat(epochs[0]) != list(range(25))
    assert order(loader(*many, batch_size=4, seed=1).batches(0)) != epochs[0]


def test_an_epoch_can_be_entered_in_the_middle(many):
    whole = order(loader(*many, batch_size=4).batches(2))
    for start in (0, 3, 6, 7):
        assert order(loader(*many, batch_size=4).batches(2, start=start)) == whole[start:]


def test_the_global_random_state_is_neither_read_nor_changed(many):
    torch.manual_seed(0)
    np_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    list(loader(*many).batches(0))
    assert np.array_equal(np.random.get_state()[1], np_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"batch_size": 10}, [10, 10, 5]),
        ({"batch_size": 10, "drop_last": True}, [10, 10]),
        ({"batch_size": 25, "drop_last": True}, [25]),
        ({"batch_size": 100, "drop_last": True}, [25]),
    ],
)
def test_batch_counts(many, settings, sizes):
    it = loader(*many, **settings)
    assert it.n_batches == len(sizes)
    assert [batch.graph.n_systems for batch in it.batches(0)] == sizes
    assert sum(batch.graph.n_systems for batch in it.all_in_order()) == len(it) == 25


def test_without_shuffling_the_given_order_is_kept(many):
    assert flat(order(loader(*many, shuffle=False).batches(5))) == list(range(25))


def test_a_loader_needs_structures_with_labels(many):
    with pytest.raises(DataError, match="at least one pair"):
        loader([], [])
    with pytest.raises(DataError, match="25 structures and 24 labels"):
        loader(many[0], many[1][:-1])
