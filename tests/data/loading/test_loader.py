"""Batches equal what the graph of the same structures would be, in an order that can be resumed."""

import gc
import itertools
import os
import tracemalloc
from dataclasses import fields

import ase.build
import numpy as np
import pytest
import torch

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.labels import HESSIAN, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError, StructureError
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.data.loading.transforms import Noise, RandomRotation
from mlff_distiller.data.statistics import count_edges
from mlff_distiller.data.storage.writer import StoreWriter
from mlff_distiller.potentials.analytic import lennard_jones
from mlff_distiller.potentials.derivatives import derive, hessian_product
from mlff_distiller.potentials.hessian import random_directions
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.student import Student

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
            atomic_energies=rng.normal(size=len(s)) if i % 4 == 1 else None,
            **{name: rng.normal(size=(len(s), 2, 3)) for name in HESSIAN if i % 4 == 2},
        )
        for i, s in enumerate(mixed)
    ]


def dataset(structures, labels, **settings):
    return MolecularDataset.from_structures(structures, labels, **settings)


def loader(data, **changes):
    limit = {} if {"max_atoms", "max_edges"} & changes.keys() else {"batch_size": 3}
    return GraphLoader(data, **{"cutoff": CUTOFF, "seed": 0, **limit, **changes})


def same_graph(a, b):
    return a.n_systems == b.n_systems and all(
        getattr(a, k).dtype == getattr(b, k).dtype and torch.equal(getattr(a, k), getattr(b, k)) for k in GRAPH
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 20])
def test_batches_are_the_graphs_of_their_structures(mixed, labels, batch_size, dtype):
    batches = list(loader(dataset(mixed, labels), batch_size=batch_size, dtype=dtype).all_in_order())
    for number, batch in enumerate(batches):
        chosen = mixed[number * batch_size : (number + 1) * batch_size]
        assert same_graph(batch.graph, Graph.from_structures(chosen, CUTOFF, dtype=dtype))
    assert sum(batch.graph.n_systems for batch in batches) == len(mixed)


@pytest.mark.parametrize("neighbors", ["cached", "worker", "device"])
def test_labels_travel_with_their_structures(mixed, labels, neighbors):
    by_size = {len(s) * 1000 + int(s.numbers.sum()): (s, label) for s, label in zip(mixed, labels, strict=True)}
    seen = 0
    for batch in loader(dataset(mixed, labels), dtype=torch.float64, neighbors=neighbors).batches(3):
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
                (batch.has_atomic_energies[row], label.atomic_energies, batch.atomic_energies[own]),
                (batch.has_hessian[row], label.hessian_directions, batch.hessian_directions[own]),
                (batch.has_hessian[row], label.hessian_products, batch.hessian_products[own]),
            ):
                assert bool(has) == (value is not None)
                expected = np.zeros(found.shape) if value is None else value
                assert np.array_equal(found.numpy(), expected)
            seen += 1
    assert seen == len(mixed)


def test_float32_batches_keep_total_energies_in_float64(mixed, labels):
    data = dataset(mixed, [Labels(energy=-1e6 - 0.001)] * 7)
    batch = next(loader(data).all_in_order())
    assert batch.energy[0].item() == -1e6 - 0.001
    assert batch.forces.dtype == batch.stress.dtype == batch.volumes.dtype == torch.float32


def order(batches):
    return [batch.energy.tolist() for batch in batches]


def flat(epoch):
    return [energy for batch in epoch for energy in batch]


@pytest.fixture(scope="module")
def many():
    h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    return dataset([h2] * 25, [Labels(energy=float(i)) for i in range(25)])


def test_an_epoch_visits_everything_once_in_a_new_order(many):
    it = loader(many, batch_size=4)
    epochs = [order(it.batches(epoch)) for epoch in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1]
    assert all(sorted(flat(epoch)) == list(range(25)) for epoch in epochs)
    assert flat(epochs[0]) != list(range(25))
    assert order(loader(many, batch_size=4, seed=1).batches(0)) != epochs[0]


def test_without_shuffling_the_given_order_is_kept(many):
    assert flat(order(loader(many, shuffle=False).batches(5))) == list(range(25))


@pytest.mark.parametrize(("batch_size", "sizes"), [(10, [10, 10, 5]), (25, [25]), (100, [25])])
def test_batch_counts(many, batch_size, sizes):
    it = loader(many, batch_size=batch_size)
    assert it.n_batches(0) == len(sizes)
    assert [batch.graph.n_systems for batch in it.batches(0)] == sizes
    assert sum(batch.graph.n_systems for batch in it.all_in_order()) == len(it) == 25


def test_the_global_random_state_is_neither_read_nor_changed(many):
    torch.manual_seed(0)
    np_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    list(loader(many).batches(0))
    next(loader(many, neighbors="worker", n_workers=1).batches(0))
    assert np.array_equal(np.random.get_state()[1], np_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.fixture(scope="module")
def varied(tmp_path_factory, structure, label):
    """Return a data set on disk: 60 structures of 1 to 5 atoms of all kinds."""
    with StoreWriter(tmp_path_factory.mktemp("data") / "store", shard_atoms=50) as writer:
        writer.append(range(60), [structure(i) for i in range(60)], [label(i) for i in range(60)])
        return MolecularDataset(writer.seal())


LIMITS = pytest.mark.parametrize("limit", [{"batch_size": 7}, {"max_atoms": 16}, {"max_edges": 200}], ids=str)


@LIMITS
def test_batches_keep_to_their_limit(varied, limit):
    it = loader(varied, **limit)
    ((name, most),) = limit.items()
    count = {"batch_size": "n_systems", "max_atoms": "n_atoms"}.get(name)
    for epoch in (0, 1):
        sizes = []
        for batch in it.batches(epoch):
            sizes.append(getattr(batch.graph, count) if count else len(batch.graph.centers))
        assert max(sizes) <= most
        assert np.mean(sizes[:-1]) > 0.6 * most
        assert it.n_batches(epoch) == len(sizes)


@pytest.mark.parametrize("neighbors", ["cached", "worker"])
def test_edges_are_counted_exactly(varied, neighbors):
    counts = count_edges(varied, CUTOFF)
    found = [len(batch.graph.centers) for batch in loader(varied, batch_size=1, shuffle=False).all_in_order()]
    assert counts.tolist() == found
    limited = loader(varied, max_edges=max(found), shuffle=False, neighbors=neighbors)
    rows = itertools.chain.from_iterable(limited._batching.batches(limited._order(0)))
    assert list(rows) == list(range(60))
    assert np.array_equal(limited._batching.costs, counts)


def tensors(batch):
    own = [getattr(batch, f.name) for f in fields(batch) if f.name != "graph"]
    return [*(value for value in own if value is not None), *(getattr(batch.graph, name) for name in GRAPH)]


def assert_same_batches(found, expected):
    pairs = list(zip(found, expected, strict=True))
    assert pairs
    for a, b in pairs:
        assert a.graph.n_systems == b.graph.n_systems
        for x, y in zip(tensors(a), tensors(b), strict=True):
            assert x.dtype == y.dtype
            assert torch.equal(x, y)


@LIMITS
@pytest.mark.parametrize("neighbors", ["cached", "worker", "device"])
def test_an_epoch_can_be_entered_in_the_middle(varied, limit, neighbors):
    settings = {**limit, "neighbors": neighbors}
    if neighbors != "cached":
        settings["dtype"] = torch.float64
    whole = list(loader(varied, **settings).batches(2))
    for start in (0, 1, len(whole) - 1, len(whole)):
        assert_same_batches([*whole[:start], *loader(varied, **settings).batches(2, start=start)], whole)


@pytest.mark.parametrize("neighbors", ["cached", "worker", "device"])
def test_atoms_too_far_apart_are_refused_wherever_neighbors_are_found(neighbors):
    wide = Structure([1, 1, 1], [[0, 0, 0], [0, 0, 0.7], [2e5, 0, 0]])
    apart = [Structure([1, 1], [[x, 0, 0], [x, 0, 0.7]]) for x in (0.0, 2e5)]
    data = MolecularDataset.from_structures([*apart, wide])
    fine = loader(data.subset([0, 1]), batch_size=2, neighbors=neighbors)
    assert [len(batch.graph.centers) for batch in fine.batches(0)] == [4]  # far from each other, each of them small
    with pytest.raises(StructureError, match="atoms or cell vectors span more than 100,000 Angstrom, which no neigh"):
        list(loader(data, batch_size=3, neighbors=neighbors).batches(0))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
@pytest.mark.parametrize(("limit", "n_workers"), [("batch_size", 2), ("max_atoms", 1), ("max_edges", 2)])
def test_workers_change_nothing(varied, limit, n_workers):
    """One pool of workers serves several passes: whole, entered late, given up, in order."""
    data = MolecularDataset(varied, transform=RandomRotation(), seed=3)
    settings = {limit: {"batch_size": 7, "max_atoms": 16, "max_edges": 200}[limit]}
    alone, shared = loader(data, **settings), loader(data, **settings, n_workers=n_workers)
    assert_same_batches(shared.batches(0), alone.batches(0))
    next(shared.batches(1))  # given up
    for start in (1, 2):
        assert_same_batches(shared.batches(1, start=start), alone.batches(1, start=start))
    assert_same_batches(shared.all_in_order(), alone.all_in_order())
    first = shared.batches(0)
    next(first)
    next(shared.batches(1))
    with pytest.raises(DataError, match="one pass at a time"):
        next(first)


@pytest.mark.parametrize("n_workers", [0, 1])
def test_an_error_keeps_its_sentence(tmp_path, structure, n_workers):
    with StoreWriter(tmp_path / "store") as writer:
        writer.append(range(9), [structure(i) for i in range(9)])
        it = loader(MolecularDataset(writer.seal()), n_workers=n_workers)
    for shard in (tmp_path / "store" / "shards").iterdir():
        shard.unlink()
    with pytest.raises(DataError, match=r"^\S+\.h5 [^\n]+$"):
        next(it.batches(0))


def test_a_worker_that_dies_is_said(varied):
    it = loader(varied, n_workers=1)
    batches = it.batches(0)
    next(batches)
    (worker,) = it._workers._loader._iterator._workers
    worker.kill()
    with pytest.raises(DataError, match=r"worker process of the loader died \(killed by signal 9,.*n_workers"):
        list(itertools.chain(batches, *(it.batches(epoch) for epoch in range(1, 20))))


class Deadly(RandomRotation):
    """A transform that ends the process which unpickles it."""

    def __reduce__(self):
        return os._exit, (7,)


def test_the_exit_code_of_a_worker_is_said(varied):
    it = loader(MolecularDataset(varied, transform=Deadly()), n_workers=1)
    with pytest.raises(DataError, match=r"worker process of the loader died \(exit code 7\).*n_workers=0"):
        list(it.batches(0))


@pytest.mark.parametrize("neighbors", ["worker", "device"])
def test_fresh_neighbors_are_those_of_the_cache(mixed, labels, neighbors):
    data = dataset(mixed, labels)
    cached = loader(data, dtype=torch.float64).batches(1)
    for found, expected in zip(loader(data, dtype=torch.float64, neighbors=neighbors).batches(1), cached, strict=True):
        ordered = []
        for batch in (found, expected):
            graph = batch.graph
            order = np.lexsort((*np.round(graph.vectors.numpy(), 6).T, graph.neighbors, graph.centers))
            ordered.append([getattr(graph, name)[order].numpy() for name in ("centers", "neighbors", "vectors")])
        for a, b in zip(*ordered, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)
        assert len(tensors(found)) == len(tensors(expected)) == 14 + len(GRAPH)
        count = len(tensors(found)) - len(GRAPH)
        assert all(torch.equal(a, b) for a, b in zip(tensors(found)[:count], tensors(expected), strict=False))


def test_transformed_batches_keep_their_physics(mixed):
    """Forces and stress of a rotated batch are those that the potential gives for the rotated graph."""
    potential = lennard_jones(epsilon=0.3, sigma=1.0, cutoff=CUTOFF)
    structures = [s for s in mixed if s.formula != "Ar"]
    data = dataset(structures, potential.predict(structures, ("energy", "forces", "stress")))
    turned = MolecularDataset(data, transform=RandomRotation(reflection=True))
    plain, batch = (next(loader(d, batch_size=7, dtype=torch.float64).batches(0)) for d in (data, turned))
    assert not torch.allclose(plain.forces, batch.forces)
    derived = derive(potential.atomic_energies, batch.graph, ("forces", "stress"))
    stress = derived.virial / batch.volumes.view(-1, 1, 1)
    torch.testing.assert_close(derived.energy, batch.energy)
    torch.testing.assert_close(derived.forces, batch.forces)
    torch.testing.assert_close(stress[batch.has_stress], batch.stress[batch.has_stress])
    assert batch.has_stress.any()


def test_masked_and_lost_labels_are_absent(mixed, labels):
    data = dataset(mixed, labels)
    assert loader(data).properties == {"energy", "forces", "stress", "atomic_energies", "hessian_products"}
    masked = loader(MolecularDataset(data, properties={"forces", "atomic_energies"}))
    assert masked.properties == {"forces", "atomic_energies"}
    rows = loader(MolecularDataset(data, properties={"hessian_products"}))
    assert sum(int(batch.has_hessian.sum()) for batch in rows.batches(0)) == 2
    for batch in masked.batches(0):
        assert batch.hessian_products is batch.hessian_directions is batch.has_hessian is None
        assert batch.atomic_energies is not None
        assert not batch.has_energy.any()
        assert not batch.has_stress.any()
        assert not batch.energy.any()
    noisy = loader(MolecularDataset(data, transform=Noise(displacement=0.1)))
    assert noisy.properties == set()
    assert not any(batch.has_forces.any() for batch in noisy.batches(0))


def test_neighbors_are_kept_only_where_that_is_right(many, varied):
    assert loader(many).neighbors == "cached"
    assert loader(varied).neighbors == "worker"
    assert loader(MolecularDataset(many, transform=RandomRotation())).neighbors == "worker"


def test_a_batch_moves_as_a_whole(mixed, labels):
    batch = next(loader(dataset(mixed, labels)).batches(0))
    moved = batch.to("meta")
    assert all(tensor.device.type == "meta" for tensor in tensors(moved))
    assert moved.graph.n_systems == batch.graph.n_systems
    assert_same_batches([batch.to("cpu", non_blocking=True)], [batch])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("n_workers", [0, 2])
def test_pinned_batches_on_a_gpu_are_those_of_the_cpu(varied, n_workers):
    here = loader(varied)
    there = loader(varied, neighbors="device", device="cuda", pin_memory=True, n_workers=n_workers)
    for a, b in zip(there.batches(0), here.batches(0), strict=True):
        assert a.graph.vectors.device.type == "cuda"
        assert torch.equal(a.forces.cpu(), b.forces)
        assert torch.equal(a.graph.centers.cpu(), b.graph.centers)


@pytest.mark.parametrize("neighbors", ["cached", "worker"])
def test_epochs_keep_nothing(varied, neighbors):
    it = loader(varied, batch_size=7, neighbors=neighbors)
    list(it.batches(0))
    gc.collect()
    tracemalloc.start()
    for epoch in range(1, 5):
        for _ in it.batches(epoch):
            pass
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 50_000


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch_size": None}, "one of batch_size, max_atoms and max_edges"),
        ({"batch_size": 4, "max_atoms": 100}, "one of batch_size, max_atoms and max_edges"),
        ({"batch_size": 0}, "at least 1"),
        ({"max_atoms": 8}, "structure 3 alone has 12 atoms, more than max_atoms=8; raise max_atoms or leave"),
        ({"max_edges": 10}, r"structure \d alone has \d+ edges, more than max_edges=10"),
    ],
)
def test_impossible_limits(mixed, labels, settings, sentence):
    with pytest.raises(DataError, match=sentence):
        loader(dataset(mixed, labels), **settings)


def test_settings_that_contradict_each_other(many):
    turned, noisy = (MolecularDataset(many, transform=t) for t in (RandomRotation(), Noise(displacement=0.1)))
    with pytest.raises(DataError, match="cached neighbors are those before a transform"):
        loader(turned, neighbors="cached")
    assert loader(turned, max_edges=4).n_batches(0) == 13
    with pytest.raises(DataError, match="max_edges counts edges once, but the transform changes distances"):
        loader(noisy, max_edges=4)
    with pytest.raises(DataError, match="at least one structure"):
        loader(many.subset([]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_pinning_needs_a_gpu(many):
    with pytest.raises(DataError, match="pin_memory needs a GPU"):
        loader(many, pin_memory=True)


@pytest.mark.parametrize("neighbors", ["cached", "worker", "device"])
def test_data_without_them_carry_no_rows(mixed, labels, neighbors):
    plain = dataset(mixed, [label.only(["energy", "forces", "stress"]) for label in labels])
    for batch in loader(plain, neighbors=neighbors).batches(0):
        assert batch.hessian_products is batch.hessian_directions is batch.has_hessian is None
        assert batch.atomic_energies is batch.has_atomic_energies is None
        assert not batch.is_reference.any()
    only_last = [*(label.only(["energy"]) for label in labels[:-1]), labels[6]]
    for batch in loader(dataset(mixed, only_last), batch_size=1, neighbors=neighbors).all_in_order():
        assert batch.hessian_products.shape == (batch.graph.n_atoms, 2, 3)  # zeros where a batch has none itself
        assert bool(batch.has_hessian.any()) == bool(batch.hessian_products.any())


def test_rows_of_a_rotated_batch_are_those_of_the_rotated_graph(mixed):
    potential = lennard_jones(epsilon=0.3, sigma=1.0, cutoff=CUTOFF)
    along = [random_directions(len(s), 2, seed=0, number=k) for k, s in enumerate(mixed)]
    products = potential.hessian_products(mixed, along)
    pairs = zip(along, products, strict=True)
    rows = [Labels(hessian_directions=one, hessian_products=other) for one, other in pairs]
    turned = MolecularDataset(dataset(mixed, rows), transform=RandomRotation(reflection=True))
    plain, batch = (next(loader(d, batch_size=7, dtype=torch.float64).batches(0)) for d in (turned.source, turned))
    assert not torch.allclose(plain.hessian_directions, batch.hessian_directions)
    found = hessian_product(potential.atomic_energies, batch.graph, batch.hessian_directions)
    torch.testing.assert_close(found, batch.hessian_products)


LIMITS = [{"batch_size": 7}, {"max_atoms": 16}, {"max_edges": 200}]


def joined(batches):
    """Return energies, forces and edges of the structures of batches, structure by structure."""
    found = []
    for batch in batches:
        for row in range(batch.graph.n_systems):
            own = batch.graph.system == row
            edges = own[batch.graph.centers]
            found.append((float(batch.energy[row]), batch.forces[own], batch.graph.vectors[edges]))
    return sorted(found, key=lambda one: (one[0], len(one[1]), one[1].sum().item(), one[2].sum().item()))


def assert_same_structures(found, expected):
    for one, other in zip(joined(found), joined(expected), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])
        assert torch.equal(one[2], other[2])


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("neighbors", ["cached", "worker", "device"])
@pytest.mark.parametrize("size", [2, 5])
def test_the_shares_of_a_batch_are_the_batch(varied, limit, neighbors, size):
    whole = loader(varied, **limit, neighbors=neighbors)
    shares = [loader(varied, **limit, neighbors=neighbors, share=(rank, size)) for rank in range(size)]
    assert {share.n_batches(1) for share in shares} == {whole.n_batches(1)}
    for expected, *found in zip(whole.batches(1), *(share.batches(1) for share in shares), strict=True):
        sizes = [batch.graph.n_systems for batch in found]
        assert max(sizes) - min(sizes) <= 1
        assert_same_structures(found, [expected])
    assert_same_structures([b for share in shares for b in share.all_in_order()], whole.all_in_order())


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("micro_edges", [1, 60, 10_000])
@pytest.mark.parametrize("share", [(0, 1), (1, 3)])
def test_the_pieces_of_a_step_are_the_batch(varied, limit, micro_edges, share):
    it = loader(varied, **limit, share=share, micro_edges=micro_edges)
    for start in (0, 2):
        for pieces, expected in zip(it.steps(3, start=start), it.batches(3, start=start), strict=True):
            assert_same_structures(pieces, [expected])
            for piece in pieces:
                assert len(piece.graph.centers) <= micro_edges or piece.graph.n_systems == 1
    pieces = list(it.all_in_order())
    assert all(len(piece.graph.centers) <= micro_edges or piece.graph.n_systems == 1 for piece in pieces)
    uncut = loader(varied, **limit, share=share)
    assert_same_structures(pieces, uncut.all_in_order())
    assert all(len(pieces) == 1 for pieces in uncut.steps(3))
    assert_same_batches((pieces[0] for pieces in uncut.steps(3)), it.batches(3))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
def test_workers_change_no_step(varied):
    data = MolecularDataset(varied, transform=RandomRotation(), seed=3)
    alone, shared = (loader(data, batch_size=7, micro_edges=60, share=(1, 2), n_workers=n) for n in (0, 1))
    for found, expected in zip(shared.steps(1, start=1), alone.steps(1, start=1), strict=True):
        assert_same_batches(found, expected)


@pytest.mark.parametrize("neighbors", ["cached", "worker", "device"])
def test_a_share_of_nothing_is_a_batch_of_nothing(mixed, labels, neighbors):
    data = dataset(mixed, labels)
    it = loader(data, batch_size=2, neighbors=neighbors, share=(3, 4), micro_edges=100, dtype=torch.float64)
    steps = list(it.steps(0))
    assert len(steps) == it.n_batches(0) == 4
    for (batch,) in steps:
        assert (batch.graph.n_systems, batch.graph.n_atoms, len(batch.graph.centers)) == (0, 0, 0)
        assert batch.forces.shape == (0, 3)
        assert batch.hessian_products.shape == (0, 2, 3)
        student = Student(PaiNNPlan(preset="ultra-tiny"), {1: 0.0}, scale=1.0, neighbor_norm=1.0, seed=0).double()
        derived = derive(
            student, batch.graph, ("forces", "stress"), create_graph=True, directions=batch.hessian_directions
        )
        total = derived.energy.sum() + derived.forces.sum() + derived.hessian_products.sum()
        gradients = torch.autograd.grad(total, list(student.parameters()), allow_unused=True, materialize_grads=True)
        assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("share", [(2, 2), (-1, 2), (0, 0)])
def test_impossible_shares(many, share):
    with pytest.raises(DataError, match="has no share of a batch; count from 0"):
        loader(many, share=share)


def test_impossible_pieces(many):
    with pytest.raises(DataError, match="micro_edges of at least 1"):
        loader(many, micro_edges=0)
    with pytest.raises(DataError, match="micro_edges counts edges once, but the transform changes distances"):
        loader(MolecularDataset(many, transform=Noise(displacement=0.1)), micro_edges=4)
