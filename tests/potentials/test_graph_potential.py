"""Potentials of graphs: the same numbers whether neighbors come from a list or are found anew, in every thread."""

import threading

import numpy as np
import pytest
import torch

from mlff_distiller.atoms import verlet
from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.neighbors import find_pairs
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PropertyError, UnsupportedStructureError
from mlff_distiller.potentials.analytic import lennard_jones
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.derivatives import Derived
from mlff_distiller.potentials.graph_potential import GraphPotential

ARGON = {"epsilon": 0.0104, "sigma": 3.4, "cutoff": 6.0, "elements": {18}}
EVERYTHING = ("energy", "forces", "stress", "atomic_energies")


def crystal(seed: int = 0) -> Structure:
    corners = np.array([[0, 0, 0], [0, 2.6, 2.6], [2.6, 0, 2.6], [2.6, 2.6, 0]])
    shifts = np.random.default_rng(seed).normal(0, 0.1, (4, 3))
    return Structure([18] * 4, corners + shifts, cell=5.2 * np.eye(3), pbc=True)


def moved(structure: Structure, rng: np.random.Generator) -> Structure:
    return structure.moved(structure.positions + rng.normal(0, 0.02, structure.positions.shape))


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.present == other.present
        for name in one.present:
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-12)


@pytest.mark.parametrize("atoms", [4, 10, 1000])
def test_trajectories_of_replicas_in_batches_of_any_size(atoms, monkeypatch):
    rng, made = np.random.default_rng(0), []
    monkeypatch.setattr(verlet, "find_pairs", lambda s, reach: made.append(1) or find_pairs(s, reach))
    potential = lennard_jones(**ARGON)
    potential.batching = Batching(atoms)
    replicas = [crystal(seed) for seed in range(5)]
    for _ in range(8):
        assert_same(potential.predict(replicas, EVERYTHING), lennard_jones(**ARGON).predict(replicas, EVERYTHING))
        replicas = [moved(structure, rng) for structure in replicas]
    assert 5 <= len(made) < 20


def test_hessian_products_along_a_trajectory():
    rng, potential, structure = np.random.default_rng(1), lennard_jones(**ARGON), crystal()
    along = rng.normal(size=(4, 2, 3))
    for _ in range(4):
        potential.predict([structure])
        (found,) = potential.hessian_products([structure], [along])
        (expected,) = lennard_jones(**ARGON).hessian_products([structure], [along])
        np.testing.assert_allclose(found, expected, atol=1e-12)
        structure = moved(structure, rng)


def test_threads_share_a_potential():
    potential, failures = lennard_jones(**ARGON), []

    def run(seed: int) -> None:
        rng, structure = np.random.default_rng(seed), crystal(seed)
        try:
            for _ in range(40):
                structure = moved(structure, rng)
                assert_same(potential.predict([structure]), lennard_jones(**ARGON).predict([structure]))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_what_was_covered_once_is_checked_again_when_it_is_another_kind():
    potential, good = lennard_jones(**ARGON), crystal()
    potential.charges, potential.spins, potential.boundaries = frozenset({0}), frozenset({1}), frozenset({3})
    shared = {"cell": good.cell, "pbc": good.pbc}
    others = {
        "holds Ne": Structure([10] * 4, good.positions, **shared),
        "has charge": Structure(good.numbers, good.positions, charge=1, **shared),
        "has spin": Structure(good.numbers, good.positions, spin=3, **shared),
        "is periodic": Structure(good.numbers, good.positions, cell=good.cell, pbc=(True, True, False)),
    }
    for reason, bad in others.items():
        for batch in ([bad], [good, bad]):
            potential.predict([good])
            potential.predict([good.moved(good.positions)])
            for _ in range(2):
                with pytest.raises(UnsupportedStructureError, match=reason):
                    potential.predict(batch)
    with pytest.raises(PropertyError):
        potential.predict([good], ("energy", "embeddings"))


def test_a_subclass_derives_in_its_own_way():
    class Constant(GraphPotential):
        def _derive(self, graph: Graph, properties) -> Derived:
            ones = torch.ones(graph.n_atoms, dtype=torch.float64)
            return Derived(torch.full((graph.n_systems,), 7.0), ones, forces=2 * ones[:, None].expand(-1, 3))

    inner = lennard_jones(**ARGON)
    potential = Constant(inner.atomic_energies, cutoff=6.0, elements={18}, identity=inner.identity)
    first, second = potential.predict([crystal(), crystal(1)], ("energy", "forces"))
    assert first.present == second.present == ("energy", "forces")
    assert (first.energy, second.energy) == (7.0, 7.0)
    assert first.forces.tolist() == [[2.0] * 3] * 4
