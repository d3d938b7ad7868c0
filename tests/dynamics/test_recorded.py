"""What a run records beside energies: the shadow energy, temperatures of elements, frames and last geometries."""

import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.elements import MASSES
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.units import BOLTZMANN, FEMTOSECOND
from mlff_distiller.dynamics.ends import N_LAST
from mlff_distiller.dynamics.failures import Limits
from mlff_distiller.dynamics.nve import run_nve
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.potentials.analytic import harmonic, morse
from mlff_distiller.teachers.ase_factory import ASEFactoryPlan


def oscillation(timestep_fs, n_steps, *, record_every=1, bond=None):
    h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.84]])
    spring = bond or harmonic(stiffness=30.0, distance=0.74, cutoff=3.0)
    return run_nve(
        spring, [h2], [np.zeros((2, 3))], timestep_fs=timestep_fs, n_steps=n_steps, record_every=record_every
    )


@pytest.mark.parametrize("record_every", [1, 4, 7])
def test_the_shadow_energy_of_a_harmonic_oscillator_is_exact(record_every):
    """Differences of harmonic forces over a step are exact: H + h^2 w^2 (K / 6 - V / 12), with the phase w h."""
    trace = oscillation(0.5, 502, record_every=record_every)
    square = 30.0 / (MASSES[1] / 2) * (0.5 * FEMTOSECOND) ** 2
    expected = trace.total_energy + square * (trace.kinetic_energy / 6 - trace.potential_energy / 12)
    assert np.isfinite(trace.shadow_energy).all()
    np.testing.assert_allclose(trace.shadow_energy, expected, rtol=1e-12, atol=1e-14)
    exact = trace.kinetic_energy + trace.potential_energy * (1 - square / 4)
    np.testing.assert_allclose(exact, exact[0, 0], rtol=1e-12)


def test_the_shadow_energy_is_kept_to_the_fourth_power_of_the_time_step():
    bond = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0)
    runs = [oscillation(h, int(60 / h), bond=bond) for h in (0.2, 0.4)]
    energies, shadows = ([np.ptp(getattr(run, name)) for run in runs] for name in ("total_energy", "shadow_energy"))
    assert energies[1] / energies[0] == pytest.approx(4, rel=0.05)
    assert shadows[1] / shadows[0] == pytest.approx(16, rel=0.1)
    assert shadows[1] < energies[1] / 30


def test_the_zero_of_the_energy_moves_the_shadow_along(wells):
    class Raised(wells):
        def predict(self, structures, properties=("energy", "forces")):
            return [type(x)(energy=x.energy - 1000.0, forces=x.forces) for x in super().predict(structures)]

    atoms = Structure([1, 18], [[1, 0, 0], [0, 1, 0]])
    plain, raised = (
        run_nve(p(2.0), [atoms], [np.zeros((2, 3))], timestep_fs=0.5, n_steps=50, limits=Limits(max_bond_stretch=None))
        for p in (wells, Raised)
    )
    np.testing.assert_allclose(raised.shadow_energy, plain.shadow_energy - 1000, atol=1e-10)


def test_elements_have_the_temperature_of_their_own_motion(wells):
    water, argon = Structure([8, 1, 1], np.diag([2.0, 2, 2])), Structure([18], [[0, 0, 0]])
    velocities = np.array([[0.01, 0, 0], [0, 0.02, 0], [0, 0, 0.03]])
    trace = run_nve(
        wells(1e-9), [water, argon], [velocities, np.array([[0.004, 0, 0]])], timestep_fs=0.5, n_steps=1, record_every=1
    )
    assert trace.elements.tolist() == [1, 8, 18]
    one, oxygen, heavy = (MASSES[z] * v / (3 * BOLTZMANN) for z, v in ((1, 6.5e-4), (8, 1e-4), (18, 1.6e-5)))
    expected = [[one, oxygen, np.nan], [np.nan, np.nan, heavy]]
    np.testing.assert_allclose(trace.element_temperatures_K, [expected] * 2, rtol=1e-6)


def test_frames_and_last_geometries(argon, cluster, pair):
    """Systems of which one collides on the way: everything is kept until then, and nothing after."""
    warm = maxwell_boltzmann(cluster, 30.0, np.random.default_rng(3))
    colliding = np.array([[0.0, 0.0, 0.2], [0.0, 0.0, -0.2]])
    trace = run_nve(
        argon,
        [pair(6.0), cluster],
        [colliding, warm],
        timestep_fs=2.0,
        n_steps=205,
        record_every=5,
        frame_every=10,
        limits=Limits(max_force=5),
    )
    failure = trace.failures[0]
    assert failure.kind == "explosion"
    assert trace.frame_times_ps == pytest.approx(0.02 * np.arange(21))
    assert trace.frame_positions.shape == (21, 10, 3)
    alive = (failure.step - 1) // 10 + 1
    assert np.isfinite(trace.frame_positions[:alive, :2]).all()
    assert np.isnan(trace.frame_positions[alive:, :2]).all()
    assert [len(own) for own in trace.frames] == [alive, 21]
    assert trace.last_positions.shape == (N_LAST, 10, 3)
    assert trace.last_times_ps[:, 1] == pytest.approx(0.01 * np.arange(41 - N_LAST + 1, 42))
    assert trace.last_times_ps[-1, 0] == pytest.approx(failure.time_ps)
    assert np.array_equal(trace.last_positions[-1, :2], trace.structures[0].positions)
    assert np.array_equal(trace.last_positions[-1, 2:], trace.structures[1].positions)
    good = argon.predict([pair(1).moved(trace.last_positions[-2, :2]), trace.structures[0]])
    assert [np.abs(labels.forces).max() > 5 for labels in good] == [False, True]
    assert 0 < trace.last_times_ps[-1, 0] - trace.last_times_ps[-2, 0] <= 0.01


def test_a_short_run_has_fewer_last_geometries(argon, cluster):
    trace = run_nve(argon, [cluster], [np.zeros((8, 3))], timestep_fs=2.0, n_steps=20, record_every=10)
    assert np.isfinite(trace.last_times_ps[:, 0]).tolist() == [False] * 7 + [True] * 3
    assert np.array_equal(trace.last_positions[-3], cluster.positions)


def test_an_ase_calculator_runs_as_any_potential(tmp_path):
    """EMT of ASE through its factory: the same as ASE's own integrator, on disk too."""
    from ase import units
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.md.verlet import VelocityVerlet

    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.05, seed=1)
    structure, potential = from_ase(atoms), ASEFactoryPlan(factory="ase.calculators.emt:EMT").build()
    velocities = maxwell_boltzmann(structure, 300.0, np.random.default_rng(0))
    trace = run_nve(potential, [structure], [velocities], timestep_fs=2.0, n_steps=20, folder=tmp_path, limits=Limits())
    atoms.calc = EMT()
    atoms.set_velocities(velocities)
    VelocityVerlet(atoms, timestep=2.0 * units.fs).run(20)
    assert trace.failures == (None,)
    np.testing.assert_allclose(trace.structures[0].positions, atoms.positions, atol=1e-10)
    assert len(list(tmp_path.rglob("chunk-*.npz"))) == 1


def test_nothing_and_single_atoms_run_too(argon):
    nothing = run_nve(argon, [], [], timestep_fs=2.0, n_steps=20)
    assert nothing.total_energy.shape == nothing.shadow_energy.shape == (3, 0)
    atom = Structure([18], [[0, 0, 0]], cell=np.eye(3) * 20, pbc=True)
    alone = run_nve(argon, [atom], [np.array([[0.1, 0, 0]])], timestep_fs=2.0, n_steps=20, limits=Limits())
    assert alone.failures == (None,)
    np.testing.assert_allclose(alone.shadow_energy, alone.total_energy)
    np.testing.assert_allclose(alone.structures[0].positions, [[0.2 * 20 * FEMTOSECOND, 0, 0]])
