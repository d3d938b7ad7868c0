"""The kernels for processors against the eager network, which defines what is right."""

import multiprocessing
import threading

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import BackendError
from mlff_distiller.students.backends import kernel as kernel_module
from mlff_distiller.students.backends.backend import Eager
from mlff_distiller.students.backends.choice import choose
from mlff_distiller.students.backends.kernel import Kernel
from mlff_distiller.students.kernels.order import clustered
from mlff_distiller.students.kernels.tables import enough_points, spline_error
from mlff_distiller.students.kernels.threads import Team, single_threaded_blas, wait_for_all
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.student import Student

EVERYTHING = ("energy", "forces", "stress")
PLANS = {
    "ultra-tiny": PaiNNPlan(preset="ultra-tiny"),
    "original": PaiNNPlan(preset="original"),
    "odd": PaiNNPlan(n_channels=20, n_layers=4, n_readout=5, radial="gaussian", cutoff=4.0),
    "one layer": PaiNNPlan(n_channels=24, n_layers=1, repulsion="none"),
}
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-9}


def student(plan, dtype=torch.float32):
    energies = {1: -13.6, 6: -1030.0, 8: -2040.0}
    return Student(PLANS[plan], energies, scale=2.0, neighbor_norm=3.0, seed=3).to(dtype)


def structure(n, *, seed=0, periodic=False, spacing=1.6):
    """Return n atoms of three elements about as far apart as bonded ones, perhaps in a skewed cell."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(n ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3), axis=-1).reshape(-1, 3)[:n]
    positions = spacing * grid + rng.normal(scale=0.15, size=(n, 3))
    cell = spacing * side * (np.eye(3) + np.array([[0, 0, 0], [0.3, 0, 0], [-0.2, 0.1, 0]])) if periodic else None
    return Structure(rng.choice([1, 6, 8], n), positions, **({"cell": cell, "pbc": [True] * 3} if periodic else {}))


def assert_same(found, expected, tolerance):
    for name in ("forces", "virial", "atomic_energies", "energy"):
        one, other = getattr(found, name).double(), getattr(expected, name).double()
        largest = float((expected.virial if name == "virial" else expected.forces).abs().max())
        size = tolerance * max(1.0, largest) * (len(expected.forces) if name in ("virial", "energy") else 1)
        torch.testing.assert_close(one, other, rtol=0, atol=size, msg=lambda text, name=name: f"{name}: {text}")


def graph(structures, dtype=torch.float32, cutoff=5.0):
    return Graph.from_structures(structures, cutoff, dtype=dtype)


@pytest.fixture(scope="module")
def backends():
    made = {}

    def get(plan, dtype):
        if (plan, dtype) not in made:
            own = student(plan, dtype)
            made[plan, dtype] = Eager(own), Kernel(own)
        return made[plan, dtype]

    return get


CASES = {
    "molecule": [structure(9)],
    "one atom": [structure(1)],
    "isolated atoms": [Structure([1, 8], [[0, 0, 0], [0, 0, 30]])],
    "batch": [structure(3), structure(1), structure(21, seed=2), structure(8, periodic=True)],
    "its own neighbor": [structure(1, periodic=True, spacing=2.1), structure(2, periodic=True, spacing=2.3)],
    "dense cluster": [structure(40, spacing=1.0)],
    "atoms pressed together": [Structure([8, 1, 6], [[0, 0, 0], [0, 0, 0.38], [0, 1.2, 0]])],
    "a slab": [Structure([1, 6], [[0, 0, 0], [0.3, 0.4, 1.2]], cell=np.diag([2.5, 2.7, 20]), pbc=[True, True, False])],
    "crystal": [structure(100, periodic=True)],
}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("case", CASES)
def test_it_gives_what_the_network_gives(backends, plan, dtype, case):
    eager, kernel = backends(plan, dtype)
    batch = graph(CASES[case], dtype, PLANS[plan].cutoff)
    assert_same(kernel.derive(batch, EVERYTHING), eager.derive(batch, EVERYTHING), TOLERANCES[dtype])


@pytest.fixture(
    scope="module",
    params=["kernel", pytest.param("package", marks=pytest.mark.slow), pytest.param("compile", marks=pytest.mark.slow)],
)
def chosen(request):
    own = student("ultra-tiny")
    return Eager(own), choose(own, request.param).backend


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    n=st.one_of(st.integers(1, 30), st.integers(31, 300)),
    seed=st.integers(0, 10**6),
    periodic=st.booleans(),
    spacing=st.floats(1.3, 3.0),
)
def test_two_hundred_random_structures(chosen, n, seed, periodic, spacing):
    eager, fast = chosen
    batch = graph([structure(n, seed=seed, periodic=periodic, spacing=spacing)])
    assert_same(fast.derive(batch, EVERYTHING), eager.derive(batch, EVERYTHING), 1e-5)


def test_splines_and_exact_filters_agree(backends):
    own = student("original")
    batch = graph([structure(30, seed=5)])
    spline, exact = (Kernel(own, filters=filters).derive(batch, EVERYTHING) for filters in ("spline", "exact"))
    assert_same(spline, exact, 1e-5)
    assert not torch.equal(spline.forces, exact.forces)


def test_forces_are_the_gradient_of_the_splined_energy_itself():
    kernel = Kernel(student("ultra-tiny", torch.float64), filters="spline", n_points=64)
    atoms, step = structure(7, seed=4), 1e-4
    forces = kernel.derive(graph([atoms], torch.float64)).forces.numpy()
    for i, axis in ((0, 0), (3, 1), (6, 2)):
        energies = []
        for n in (-2, -1, 1, 2):
            moved = atoms.positions.copy()
            moved[i, axis] += n * step
            energies.append(float(kernel.derive(graph([atoms.moved(moved)], torch.float64), ()).energy[0]))
        slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * step)
        assert -slope == pytest.approx(forces[i, axis], abs=1e-6)


def test_more_points_make_smaller_errors():
    network = student("original").network
    errors = [max(spline_error(network, layer, n)) for n in (128, 512, 2048) for layer in (1,)]
    assert errors[0] > 20 * errors[1] > 20 * errors[2]
    assert max(spline_error(network, layer, enough_points(network))[1] for layer in range(3)) < 2e-6


@pytest.mark.parametrize("n_threads", [2, 3])
def test_threads_share_the_work(monkeypatch, n_threads):
    """The same to rounding, for BLAS sums rows by blocks, and the same bit for bit each time."""
    monkeypatch.setattr(kernel_module, "_WORTH_A_THREAD", 1.0)
    own = student("odd")
    alone, shared = Kernel(own, n_threads=1), Kernel(own, n_threads=n_threads)
    for structures in ([structure(50, periodic=True)], [structure(2)], [structure(1)], [structure(5), structure(9)]):
        batch = graph(structures, cutoff=4.0)
        first = shared.derive(batch, EVERYTHING)
        assert_same(first, alone.derive(batch, EVERYTHING), 1e-6)
        for _ in range(20):
            again = shared.derive(batch, EVERYTHING)
            assert torch.equal(again.forces, first.forces)
            assert torch.equal(again.energy, first.energy)


@pytest.mark.parametrize("periodic", [True, False])
def test_the_order_in_memory_changes_nothing(monkeypatch, periodic):
    own = student("ultra-tiny")
    atoms = structure(300, periodic=periodic)
    mixed = np.random.default_rng(1).permutation(300)
    atoms = Structure(atoms.numbers[mixed], atoms.positions[mixed], cell=atoms.cell, pbc=atoms.pbc)
    batch = graph([structure(5), atoms, structure(1), structure(40, seed=3)])
    plain = Kernel(own).derive(batch, EVERYTHING)
    monkeypatch.setattr(kernel_module, "_MANY", 1)
    ordering = Kernel(own)
    for _ in range(3):
        assert_same(ordering.derive(batch, EVERYTHING), plain, 1e-6)
    exact = Kernel(own, filters="exact")
    assert_same(exact.derive(batch, EVERYTHING), plain, 1e-5)


def test_neighbors_in_space_are_neighbors_in_memory():
    atoms = structure(3000, periodic=True)
    mixed = np.random.default_rng(1).permutation(3000)
    atoms = Structure(atoms.numbers[mixed], atoms.positions[mixed], cell=atoms.cell, pbc=atoms.pbc)
    batch = graph([atoms], cutoff=3.0)
    ptr = np.searchsorted(batch.centers.numpy(), np.arange(3001))
    order = clustered(ptr, batch.neighbors.numpy())
    assert sorted(order.tolist()) == list(range(3000))
    rank = np.argsort(order)
    apart = np.abs(rank[batch.centers.numpy()] - rank[batch.neighbors.numpy()])
    assert np.median(apart) < 200  # a thousand for atoms in any order


def test_results_stay_when_the_next_call_comes(backends):
    _, kernel = backends("ultra-tiny", torch.float32)
    small, large = graph([structure(5)]), graph([structure(60, periodic=True)])
    first = kernel.derive(small, EVERYTHING)
    kept = {name: getattr(first, name).clone() for name in ("energy", "forces", "virial", "atomic_energies")}
    kernel.derive(large, EVERYTHING)
    assert all(torch.equal(getattr(first, name), value) for name, value in kept.items())
    assert torch.equal(kernel.derive(small).forces, kept["forces"])


def test_python_threads_may_share_one(backends):
    _, kernel = backends("ultra-tiny", torch.float32)
    batches = [graph([structure(n, seed=n)]) for n in (3, 10, 20, 40)]
    expected = [kernel.derive(batch).forces for batch in batches]
    wrong = []

    def work(k):
        for _ in range(30):
            if not torch.equal(kernel.derive(batches[k]).forces, expected[k]):
                wrong.append(k)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(len(batches))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_a_list_that_is_not_sorted_is_refused(backends):
    _, kernel = backends("ultra-tiny", torch.float32)
    batch = graph([structure(4)])
    shuffled = Graph(batch.numbers, batch.system, batch.centers.flip(0), batch.neighbors.flip(0), batch.vectors, 1)
    with pytest.raises(BackendError, match="not sorted by center"):
        kernel.derive(shuffled)


def test_a_list_of_one_direction_is_refused(backends):
    _, kernel = backends("ultra-tiny", torch.float32)
    batch = graph([structure(4)])
    upper = batch.neighbors > batch.centers
    half = Graph(batch.numbers, batch.system, batch.centers[upper], batch.neighbors[upper], batch.vectors[upper], 1)
    with pytest.raises(BackendError, match="do not hold every pair in both directions"):
        kernel.derive(half)


def test_pairs_beyond_the_cutoff_give_nothing(backends):
    eager, kernel = backends("ultra-tiny", torch.float32)
    wide = graph([structure(9, spacing=2.5)], cutoff=6.5)
    assert_same(kernel.derive(wide, EVERYTHING), eager.derive(wide, EVERYTHING), 1e-5)


def test_a_thread_that_fails_does_not_hold_up_the_others():
    def work(thread, barrier):
        if thread == 1:
            raise ValueError("no")
        wait_for_all(barrier, 3)

    team = Team(3)
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            team.run(work, 3)
    done = []
    team.run(lambda thread, barrier: done.append(thread), 2)
    assert sorted(done) == [0, 1]


def test_nothing_is_hidden_that_is_not_a_number(backends):
    _, kernel = backends("ultra-tiny", torch.float32)
    batch = graph([structure(4)])
    vectors = batch.vectors.clone()
    vectors[0, 1] = float("nan")
    found = kernel.derive(batch.with_vectors(vectors))
    assert not torch.isfinite(found.energy).all()
    assert not torch.isfinite(found.forces).all()


def test_only_what_is_asked_for_is_given(backends):
    _, kernel = backends("ultra-tiny", torch.float32)
    found = kernel.derive(graph([structure(4)]), ("energy",))
    assert found.forces is None
    assert found.virial is None


def test_blas_gets_its_threads_back():
    with single_threaded_blas():
        pass
    from threadpoolctl import ThreadpoolController

    before = [library.num_threads for library in ThreadpoolController().select(user_api="blas").lib_controllers]
    with single_threaded_blas():
        inside = [library.num_threads for library in ThreadpoolController().select(user_api="blas").lib_controllers]
    after = [library.num_threads for library in ThreadpoolController().select(user_api="blas").lib_controllers]
    assert set(inside) == {1}
    assert after == before


def _in_a_child(kernel, batch, expected):
    raise SystemExit(0 if torch.equal(kernel.derive(batch).forces, expected) else 1)


def test_a_team_is_made_anew_after_a_fork(monkeypatch):
    monkeypatch.setattr(kernel_module, "_WORTH_A_THREAD", 1.0)
    kernel, batch = Kernel(student("one layer"), n_threads=2), graph([structure(20)])
    expected = kernel.derive(batch).forces
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", threading.excepthook)
        child = multiprocessing.get_context("fork").Process(target=_in_a_child, args=(kernel, batch, expected))
        child.start()
        child.join(30)
    assert child.exitcode == 0
