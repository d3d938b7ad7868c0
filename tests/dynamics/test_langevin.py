"""BAOAB: canonical averages, and trajectories that depend on nothing but their own seed."""

import numpy as np
import pytest

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.randomness import generator
from mlff_distiller.core.units import BOLTZMANN, FEMTOSECOND
from mlff_distiller.dynamics.failures import DynamicsFailure
from mlff_distiller.dynamics.langevin import run_langevin
from mlff_distiller.dynamics.nve import run_nve
from mlff_distiller.dynamics.velocities import maxwell_boltzmann

SETTINGS = {"friction_per_ps": 20.0, "timestep_fs": 5.0, "n_steps": 60, "record_every": 20}


def frames(potential, structures, temperatures, seeds, **changes):
    velocities = [np.zeros((len(s), 3)) for s in structures]
    rngs = [generator(seed, "langevin") for seed in seeds]
    run = run_langevin(
        potential, structures, velocities, temperatures_K=temperatures, rngs=rngs, **{**SETTINGS, **changes}
    )
    return list(run)


@pytest.mark.parametrize("timestep_fs", [2.0, 8.0])
def test_harmonic_wells_have_the_canonical_width(timestep_fs, wells):
    """For harmonic forces BAOAB samples positions exactly, whatever the time step and the mass."""
    n, stiffness, temperatures = 60, 1.0, [100.0, 400.0]
    structures = [Structure([1] * (n // 2) + [18] * (n // 2), np.zeros((n, 3)))] * 2
    run = frames(
        wells(stiffness),
        structures,
        temperatures,
        seeds=[1, 2],
        timestep_fs=timestep_fs,
        n_steps=6000,
        record_every=20,
    )
    late = [snapshot.structures for snapshot in run if snapshot.step > 600]
    for system, kelvin in enumerate(temperatures):
        squares = np.array([frame[system].positions ** 2 for frame in late])
        for atoms in (slice(0, n // 2), slice(n // 2, n)):
            each = squares[:, atoms].mean(0).ravel()  # one time average for each of 90 independent oscillators
            error = each.std(ddof=1) / np.sqrt(each.size)
            expected = BOLTZMANN * kelvin / stiffness
            assert abs(each.mean() - expected) < 4 * error
            assert error < 0.06 * expected  # a test that could not fail would be worth nothing


def test_without_friction_it_is_velocity_verlet(argon, cluster):
    velocities = maxwell_boltzmann(cluster, 30.0, np.random.default_rng(0))
    run = run_langevin(
        argon,
        [cluster],
        [velocities],
        temperatures_K=[300.0],
        friction_per_ps=0.0,
        timestep_fs=5.0,
        n_steps=50,
        rngs=[generator(0)],
        record_every=50,
    )
    ((step, (last,), (velocities_then,)),) = run
    trace = run_nve(argon, [cluster], [velocities], timestep_fs=5.0, n_steps=50)
    assert step == 50
    assert np.abs(last.positions - trace.structures[0].positions).max() < 1e-10
    assert np.abs(velocities_then - trace.velocities[0]).max() < 1e-10


def test_the_same_seed_gives_the_same_trajectory(argon, cluster):
    first, again, other = (frames(argon, [cluster], [50.0], [seed]) for seed in (1, 1, 2))
    assert [snapshot.step for snapshot in first] == [20, 40, 60]
    for one, same in zip(first, again, strict=True):
        assert np.array_equal(one.structures[0].positions, same.structures[0].positions)
        assert np.array_equal(one.velocities[0], same.velocities[0])
    assert not np.allclose(first[-1].structures[0].positions, other[-1].structures[0].positions)


def test_a_trajectory_does_not_depend_on_the_rest_of_the_batch(argon, cluster, pair):
    together = frames(argon, [pair(3.9), cluster], [30.0, 50.0], [4, 5])
    alone = frames(argon, [cluster], [50.0], [5])
    for both, one in zip(together, alone, strict=True):
        assert np.allclose(both.structures[1].positions, one.structures[0].positions, rtol=0, atol=1e-12)
        assert np.allclose(both.velocities[1], one.velocities[0], rtol=0, atol=1e-12)


def test_velocities_are_those_of_the_moment_of_the_positions(argon, cluster):
    run = frames(argon, [cluster], [50.0], [1], record_every=1, friction_per_ps=0.0, n_steps=3)
    before, now, after = run
    dt = SETTINGS["timestep_fs"] * FEMTOSECOND
    central = (after.structures[0].positions - before.structures[0].positions) / (2 * dt)
    assert np.abs(now.velocities[0] - central).max() < 1e-10
    assert not np.shares_memory(now.velocities[0], after.velocities[0])


def test_the_structure_keeps_its_information(argon, pair):
    tagged = pair(3.9).tagged(seed="argon")
    assert frames(argon, [tagged], [30.0], [0])[-1].structures[0].info == {"seed": "argon"}


def test_an_explosion_is_raised_with_its_index(argon, cluster, pair):
    with pytest.raises(DynamicsFailure, match="force") as caught:
        frames(argon, [cluster, pair(1.0)], [50.0, 50.0], [0, 1])
    assert caught.value.index == 1


def test_a_potential_that_gives_up_is_raised_with_its_index(fragile, pair):
    with pytest.raises(DynamicsFailure, match="SCF did not converge") as caught:
        frames(fragile(raises=True), [pair(3.9), pair(5.5)], [30.0, 30.0], [0, 1])
    assert caught.value.index == 1


def test_counts_must_match_before_anything_runs(argon, pair):
    with pytest.raises(ValueError, match="as many temperatures"):
        run_langevin(argon, [pair(3.9)], [np.zeros((2, 3))], temperatures_K=[1.0, 2.0], rngs=[], **SETTINGS)


def test_an_empty_batch_yields_nothing(argon):
    assert frames(argon, [], [], []) == []


def test_a_hot_bath_is_no_failure(wells):
    """Two atoms at 8000 K are above 10,000 K every few steps."""
    pair = Structure([1, 1], np.zeros((2, 3)))
    run = frames(wells(5.0), [pair], [8000.0], seeds=[1], timestep_fs=0.5, friction_per_ps=100.0, n_steps=400)
    assert run[-1].step == 400
