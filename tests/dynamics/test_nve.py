"""Velocity Verlet: against ASE, against theory, and the same alone or in a batch."""

import ase.build
import numpy as np
import pytest
from ase import units
from ase.md.verlet import VelocityVerlet

from mlff_distiller.atoms.conversion import from_ase, to_ase
from mlff_distiller.atoms.elements import MASSES
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.units import FEMTOSECOND
from mlff_distiller.dynamics.nve import run_nve
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.potentials.analytic import harmonic, morse
from mlff_distiller.potentials.calculator import PotentialCalculator


def start(structure, temperature_K=40.0, seed=0):
    return maxwell_boltzmann(structure, temperature_K, np.random.default_rng(seed))


def crystal():
    atoms = ase.build.bulk("Ar", "fcc", a=5.3, cubic=True)  # smaller than the cutoff
    atoms.rattle(0.05, seed=1)
    return from_ase(atoms)


@pytest.mark.parametrize("periodic", [False, True])
def test_agrees_with_ase(periodic, argon, cluster):
    structure = crystal() if periodic else cluster
    velocities = start(structure)
    trace = run_nve(argon, [structure], [velocities], timestep_fs=5.0, n_steps=100, record_every=100)
    atoms = to_ase(structure)
    atoms.calc = PotentialCalculator(argon)
    atoms.set_velocities(velocities)
    VelocityVerlet(atoms, timestep=5.0 * units.fs).run(100)
    assert np.abs(atoms.positions - trace.structures[0].positions).max() < 1e-10
    assert np.abs(atoms.get_velocities() - trace.velocities[0]).max() < 1e-10
    assert trace.total_energy[-1, 0] == pytest.approx(atoms.get_total_energy(), abs=1e-10)
    assert trace.times_ps.tolist() == [0.0, 0.5]


def oscillator(timestep_fs, n_steps):
    """Return shadow energy, true energy and frequency of a stretched spring between two hydrogens."""
    stiffness, reduced = 30.0, MASSES[1] / 2
    h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.84]])
    spring = harmonic(stiffness=stiffness, distance=0.74, cutoff=3.0)
    trace = run_nve(spring, [h2], [np.zeros((2, 3))], timestep_fs=timestep_fs, n_steps=n_steps, record_every=1)
    phase = np.sqrt(stiffness / reduced) * timestep_fs * FEMTOSECOND
    shadow = trace.kinetic_energy + trace.potential_energy * (1 - phase**2 / 4)
    return shadow[:, 0], trace.total_energy[:, 0], phase


def test_a_harmonic_oscillator_conserves_the_known_shadow_energy():
    shadow, energy, phase = oscillator(0.5, 2000)
    assert np.abs(shadow - shadow[0]).max() < 1e-12
    assert np.ptp(energy) == pytest.approx(energy[0] * phase**2 / 4, rel=1e-3)


def test_the_energy_fluctuation_grows_with_the_square_of_the_time_step():
    fluctuations = [np.ptp(oscillator(timestep_fs, int(80 / timestep_fs))[1]) for timestep_fs in (0.1, 0.2, 0.4)]
    assert np.divide(fluctuations[1:], fluctuations[:-1]) == pytest.approx([4.0, 4.0], rel=0.02)


def test_running_backwards_returns_to_the_start(argon, cluster):
    there = run_nve(argon, [cluster], [start(cluster)], timestep_fs=5.0, n_steps=200)
    back = run_nve(argon, there.structures, [-there.velocities[0]], timestep_fs=5.0, n_steps=200)
    assert np.abs(back.structures[0].positions - cluster.positions).max() < 1e-9
    assert np.abs(there.structures[0].positions - cluster.positions).max() > 0.1


def test_momentum_and_angular_momentum_are_conserved(argon, cluster):
    drifting = start(cluster) + np.array([0.01, -0.02, 0.005])
    trace = run_nve(argon, [cluster], [drifting], timestep_fs=5.0, n_steps=200)
    mass, last, velocities = MASSES[18], trace.structures[0].positions, trace.velocities[0]
    assert np.abs(mass * (velocities - drifting).sum(0)).max() < 1e-11
    before = mass * np.cross(cluster.positions, drifting).sum(0)
    assert np.abs(mass * np.cross(last, velocities).sum(0) - before).max() < 1e-9


def test_a_batch_gives_what_each_system_gives_alone(argon, cluster, pair):
    structures = [cluster, pair(3.9), crystal(), Structure([18], [[0, 0, 0]])]
    velocities = [start(s, seed=i) for i, s in enumerate(structures)]
    velocities[3] = np.array([[0.01, 0.0, 0.0]])
    settings = {"timestep_fs": 5.0, "n_steps": 60, "record_every": 20}
    together = run_nve(argon, structures, velocities, **settings)
    assert together.failures == (None,) * 4
    assert together.n_atoms.tolist() == [8, 2, 4, 1]
    for i, (structure, own) in enumerate(zip(structures, velocities, strict=True)):
        alone = run_nve(argon, [structure], [own], **settings)
        assert np.allclose(together.structures[i].positions, alone.structures[0].positions, rtol=0, atol=1e-12)
        assert np.allclose(together.total_energy[:, i], alone.total_energy[:, 0], rtol=0, atol=1e-12)
        assert np.allclose(together.temperatures_K[:, i], alone.temperatures_K[:, 0], rtol=1e-9)


def test_what_is_recorded(argon, cluster):
    done = []
    trace = run_nve(
        argon,
        [cluster],
        [start(cluster, 40.0)],
        timestep_fs=2.0,
        n_steps=25,
        record_every=10,
        frame_every=5,
        advance=lambda n=1, *, note="": done.append(n),
    )
    assert trace.times_ps == pytest.approx([0.0, 0.02, 0.04])
    assert trace.temperatures_K[0, 0] == pytest.approx(40.0)
    assert trace.potential_energy.shape == trace.kinetic_energy.shape == (3, 1)
    assert len(trace.frames[0]) == 6
    assert np.array_equal(trace.frames[0][0].positions, cluster.positions)
    assert np.array_equal(trace.frames[0][-1].positions, trace.structures[0].positions)
    assert done == [10, 10, 5]


def test_a_continued_run_is_the_uninterrupted_run(argon, cluster):
    whole = run_nve(argon, [cluster], [start(cluster)], timestep_fs=5.0, n_steps=40)
    first = run_nve(argon, [cluster], [start(cluster)], timestep_fs=5.0, n_steps=20)
    second = run_nve(argon, first.structures, first.velocities, timestep_fs=5.0, n_steps=20)
    assert np.array_equal(whole.structures[0].positions, second.structures[0].positions)


def test_inputs_are_left_alone_and_must_match(argon, cluster):
    velocities = start(cluster)
    kept = velocities.copy()
    run_nve(argon, [cluster], [velocities], timestep_fs=5.0, n_steps=3)
    assert np.array_equal(velocities, kept)
    with pytest.raises(ValueError, match="do not match"):
        run_nve(argon, [cluster], [velocities[:3]], timestep_fs=5.0, n_steps=3)


def test_an_anharmonic_bond_keeps_its_energy():
    bond = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0)
    h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.8]])
    trace = run_nve(bond, [h2], [start(h2, 300.0)], timestep_fs=0.1, n_steps=2000)
    slope = np.polyfit(trace.times_ps, trace.total_energy[:, 0], 1)[0]
    assert abs(slope) < 1e-4
