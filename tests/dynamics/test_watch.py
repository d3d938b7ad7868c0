"""Every way to fail is planted, found and named with the right pair of atoms, and only where it was asked for."""

import re
from collections.abc import Sequence

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.dynamics.bonds import find_bonds
from mlff_distiller.dynamics.failures import DEFAULT_LIMITS, Limits
from mlff_distiller.dynamics.nve import run_nve
from mlff_distiller.dynamics.replicas import Replicas
from mlff_distiller.dynamics.screening import Watches
from mlff_distiller.dynamics.watch import Watch
from mlff_distiller.potentials.analytic import ALL_ELEMENTS
from mlff_distiller.potentials.base import Identity, Potential

RUN = {"timestep_fs": 0.5, "n_steps": 400, "record_every": 5, "frame_every": 50}


class Leash(Potential):
    """Springs between all atoms at the start's distances, with one more term between two atoms: a push, or a well."""

    elements = ALL_ELEMENTS
    properties = frozenset({"energy", "forces"})
    is_conservative = True
    identity = Identity("leash", "test", "0")

    def __init__(self, start: Structure, pair: tuple[int, int], *, pull: float, stiffness: float = 20.0) -> None:
        self.rest, self.pair, self.pull, self.stiffness = _distances(start.positions)[0], pair, pull, stiffness

    def predict(self, structures: Sequence[Structure], properties=("energy", "forces")) -> list[Labels]:
        return [self._label(structure.positions) for structure in structures]

    def _label(self, positions: np.ndarray) -> Labels:
        r, unit = _distances(positions)
        i, j = self.pair
        stiffness = np.full_like(r, self.stiffness)
        stiffness[[i, j], [j, i]] = 0.0
        tension = stiffness * (r - self.rest)
        tension[[i, j], [j, i]] += self.pull
        energy = 0.25 * (stiffness * (r - self.rest) ** 2).sum() + self.pull * r[i, j]
        return Labels(energy=float(energy), forces=(tension[:, :, None] * unit).sum(1))


def _distances(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    vectors = positions - positions[:, None]
    r = np.linalg.norm(vectors, axis=-1)
    return r, vectors / np.where(r > 0, r, 1)[:, :, None]


@pytest.fixture
def ethanol() -> Structure:
    return from_ase(ase.build.molecule("CH3CH2OH"))


def failure_of(potential, start, limits, **changes):
    trace = run_nve(potential, [start], [np.zeros(start.positions.shape)], limits=limits, **{**RUN, **changes})
    (failure,) = trace.failures
    return failure


def test_a_bond_that_breaks_is_named():
    h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    failure = failure_of(Leash(h2, (0, 1), pull=-1.0), h2, Limits(), record_every=1)
    assert failure.kind == "broken bond"
    assert failure.atoms == (0, 1)
    assert failure.reason.startswith("broken bond: atoms H0-H1 are ")
    assert 1.6 * 0.62 < failure.distance < 1.1


def test_the_right_one_of_many_bonds_is_named(ethanol):
    bonds = find_bonds(ethanol)
    assert len(bonds) == 8
    i, j = bonds.pairs[bonds.names(ethanol.numbers).index("C0-C1")]
    stretched = ethanol.positions.copy()
    halves = np.linalg.norm(ethanol.positions - ethanol.positions[i], axis=1) < np.linalg.norm(
        ethanol.positions - ethanol.positions[j], axis=1
    )
    axis = ethanol.positions[j] - ethanol.positions[i]
    stretched[~halves] += axis
    fault = Watch(ethanol, Limits()).fault(stretched)
    assert fault.kind == "broken bond"
    assert fault.atoms == (i, j)
    assert fault.distance == pytest.approx(2 * np.linalg.norm(axis))
    assert Watch(ethanol, DEFAULT_LIMITS).fault(stretched) is None


def test_atoms_that_fall_into_each_other_are_a_hole():
    h2 = Structure([8, 1, 1], [[0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])
    failure = failure_of(Leash(h2, (0, 2), pull=0.5), h2, Limits(max_energy_drop=None))
    assert failure.kind == "hole"
    assert failure.atoms == (0, 2)
    assert failure.reason == f"a hole in the potential: atoms O0-H2 are {failure.distance:.3f} Angstrom apart"
    assert failure.distance < 0.4


def test_an_energy_that_falls_far_is_a_hole():
    water = Structure([8, 1, 1], [[0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])
    limits = Limits(max_energy_drop=0.05, min_distance=0.0)
    failure = failure_of(Leash(water, (0, 2), pull=0.5), water, limits)
    assert failure.kind == "hole"
    said = re.fullmatch(
        r"a hole in the potential: the potential energy fell (.*) eV/atom below that of the start", failure.reason
    )
    assert 0.05 < float(said[1]) < 0.06
    assert failure.step % 5 > 0  # it is looked for at every step
    assert failure_of(Leash(water, (0, 2), pull=0.1), water, limits) is None


def test_an_explosion_names_its_atom():
    h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    failure = failure_of(Leash(h2, (0, 1), pull=1000.0), h2, Limits())
    assert failure.kind == "explosion"
    assert failure.atoms in {(0,), (1,)}
    assert failure.reason.startswith("explosion: force of 1e+03 eV/Angstrom on atom")


def test_an_escape_names_the_last_link():
    trio = Structure([18] * 3, [[0, 0, 0], [0, 0, 4.0], [0, 0, 8.0]])
    away = np.zeros((3, 3))
    away[2, 2] = 0.3
    trace = run_nve(Leash(trio, (1, 2), pull=0.0, stiffness=0.0), [trio], [away], **RUN)
    assert trace.failures[0].kind == "escape"
    assert trace.failures[0].atoms == (2, 1)
    assert 6.0 < trace.failures[0].distance < 6.2


def test_metals_have_no_bonds_and_molecules_in_cells_do():
    assert len(find_bonds(from_ase(ase.build.bulk("Cu", cubic=True)))) == 0
    diamond = from_ase(ase.build.bulk("C"))
    bonds = find_bonds(diamond)
    assert len(bonds) == 4
    np.testing.assert_allclose(bonds.lengths(diamond.positions), 3.567 * np.sqrt(3) / 4, rtol=1e-3)
    chain = Structure([6], [[0, 0, 0]], cell=[[1.4, 0, 0], [0, 9, 0], [0, 0, 9]], pbc=True)
    assert find_bonds(chain).pairs.tolist() == [[0, 0]]


def test_bonds_across_a_boundary_follow_atoms_that_are_not_wrapped():
    n2 = Structure([7, 7], [[0, 0, 0.2], [0, 0, 9.1]], cell=np.eye(3) * 10, pbc=True)
    bonds = find_bonds(n2)
    np.testing.assert_allclose(bonds.lengths(n2.positions), [1.1])
    np.testing.assert_allclose(bonds.lengths(n2.positions + np.array([5.0, 0, 30.0])), [1.1])
    apart = n2.positions + np.array([[0, 0, 2.0], [0, 0, 0]])
    assert Watch(n2, Limits()).fault(apart).kind == "broken bond"


def test_screening_all_finds_what_watching_each_finds(ethanol):
    """Small and large molecules, chains and crystals, most of them pushed out of shape: nothing is overlooked."""
    rng = np.random.default_rng(0)
    chain = Structure([6] * 12, [[1.5 * k, 0, 0] for k in range(12)])
    large = Structure([18] * 64, 4.0 * np.array(list(np.ndindex(4, 4, 4))))
    crystal = from_ase(ase.build.bulk("C", cubic=True))
    starts = [ethanol, chain, large, crystal, from_ase(ase.build.molecule("H2O"))] * 4
    watches, single = Watches(starts, Limits()), [Watch(start, Limits()) for start in starts]
    kinds = set()
    for width in (0.0, 0.1, 0.3, 0.6, 3.0):
        moved = [s.moved(s.positions + rng.normal(0, width, s.positions.shape)) for s in starts]
        replicas = Replicas(moved, [np.zeros(s.positions.shape) for s in starts])
        expected = {k: f for k, w in enumerate(single) if (f := w.fault(moved[k].positions))}
        found = watches.faults(replicas)
        assert {row: fault.reason for row, fault in found.items()} == {k: f.reason for k, f in expected.items()}
        kinds |= {fault.kind for fault in found.values()}
        rest = replicas.without(found)
        assert watches.faults(rest) == {}
    assert kinds == {"hole", "broken bond", "escape"}
