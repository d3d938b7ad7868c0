"""A failed trajectory is named, dated and dropped; the others go on as if it had never been there."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError, UnsupportedStructureError
from mlff_distiller.dynamics.failures import DynamicsFailure, Limits
from mlff_distiller.dynamics.nve import run_nve
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.dynamics.watch import Watch
from mlff_distiller.potentials.analytic import lennard_jones

RUN = {"timestep_fs": 2.0, "n_steps": 400, "record_every": 5, "frame_every": 50}


def approach(speed):
    return np.array([[0.0, 0.0, speed], [0.0, 0.0, -speed]])


@pytest.fixture
def healthy(argon, cluster):
    velocities = maxwell_boltzmann(cluster, 30.0, np.random.default_rng(3))
    return cluster, velocities, run_nve(argon, [cluster], [velocities], **RUN)


def others_went_on(trace, index, alone):
    assert trace.failures[index] is None
    assert np.allclose(trace.structures[index].positions, alone.structures[0].positions, rtol=0, atol=1e-12)
    assert np.allclose(trace.total_energy[:, index], alone.total_energy[:, 0], rtol=0, atol=1e-12)


def test_atoms_placed_too_close_fail_at_once_and_alone(argon, pair, healthy):
    cluster, velocities, alone = healthy
    trace = run_nve(argon, [pair(1.0), cluster], [np.zeros((2, 3)), velocities], **RUN)
    assert trace.failures[0].step == 0
    assert "force" in trace.failures[0].reason
    assert np.isnan(trace.potential_energy[:, 0]).all()
    others_went_on(trace, 1, alone)


def test_a_collision_fails_when_it_happens(argon, pair, healthy):
    cluster, velocities, alone = healthy
    trace = run_nve(argon, [cluster, pair(6.0)], [velocities, approach(0.2)], **RUN, limits=Limits(max_force=5))
    failure = trace.failures[1]
    assert 0 < failure.step < 400
    assert failure.time_ps == pytest.approx(failure.step * 0.002)
    recorded = np.flatnonzero(np.isfinite(trace.potential_energy[:, 1]))
    assert recorded.tolist() == list(range((failure.step - 1) // 5 + 1))
    assert len(trace.frames[1]) == (failure.step - 1) // 50 + 1
    assert np.isfinite(trace.structures[1].positions).all()
    others_went_on(trace, 0, alone)


def test_an_unstable_time_step_explodes_into_a_failure():
    argon = lennard_jones(epsilon=0.0104, sigma=3.4, cutoff=8.5)
    close = Structure([18] * 4, [[0, 0, 0], [3.2, 0, 0], [0, 3.2, 0], [0, 0, 3.2]])
    trace = run_nve(argon, [close], [np.zeros((4, 3))], timestep_fs=400.0, n_steps=200, record_every=1)
    assert trace.failures[0] is not None
    assert np.isfinite(trace.structures[0].positions).all()


def test_temperature_and_non_finite_velocities_are_bounded(argon, cluster):
    hot = maxwell_boltzmann(cluster, 20_000.0, np.random.default_rng(0))
    broken = np.full((8, 3), np.nan)
    trace = run_nve(argon, [cluster, cluster], [hot, broken], **RUN)
    assert ["temperature" in failure.reason for failure in trace.failures] == [True, True]
    assert [failure.step for failure in trace.failures] == [0, 0]


def test_collapse_is_seen_where_forces_stay_small():
    soft = lennard_jones(epsilon=1e-30, sigma=1.0, cutoff=8.0)
    meeting = Structure([18, 18], [[0, 0, 0], [0, 0, 2.0]])
    trace = run_nve(soft, [meeting], [approach(0.02)], **RUN)
    assert "apart" in trace.failures[0].reason


def test_a_leaving_atom_is_an_escape(argon, cluster, healthy):
    velocities = np.zeros((8, 3))
    velocities[0] = -0.1
    trace = run_nve(argon, [cluster, cluster], [velocities, healthy[1]], **RUN)
    assert trace.failures[0].reason.startswith("escape: 2 parts")
    others_went_on(trace, 1, healthy[2])


def test_fragments_that_were_apart_from_the_start_are_no_escape(argon):
    apart = Structure([18, 18], [[0, 0, 0], [0, 0, 12.0]])
    assert run_nve(argon, [apart], [approach(-0.01)], **RUN).failures == (None,)


def test_nothing_escapes_from_a_periodic_cell():
    gas = Structure([18, 18], [[0, 0, 0], [0, 0, 12.0]], cell=np.eye(3) * 30, pbc=(True, True, False))
    assert Watch(gas, Limits()).fault(gas.positions * [1, 1, 3]) is None


def test_long_chains_are_one_fragment_and_broken_ones_two():
    chain = np.array([[3.0 * i, 0, 0] for i in range(12)])
    watch = Watch(Structure([18] * 12, chain), Limits())
    assert watch.fault(chain) is None
    chain[6:] += [7.0, 0, 0]
    fault = watch.fault(chain)
    assert "2 parts" in fault.reason
    assert fault.atoms == (5, 6)
    assert fault.distance == pytest.approx(10.0)


@pytest.mark.parametrize(("raises", "reason"), [(True, "SCF did not converge"), (False, "not finite")])
def test_a_potential_that_gives_up_fails_one_system(raises, reason, fragile, pair, healthy):
    cluster, velocities, alone = healthy
    trace = run_nve(fragile(raises=raises), [pair(4.0), cluster], [approach(-0.05), velocities], **RUN)
    assert reason in trace.failures[0].reason
    assert trace.failures[0].step > 0
    others_went_on(trace, 1, alone)


def test_the_run_ends_early_and_says_so_when_all_have_failed(argon, pair):
    done = []
    trace = run_nve(argon, [pair(1.0)], [np.zeros((2, 3))], **RUN, advance=lambda n=1, *, note="": done.append(n))
    assert sum(done) == 400
    assert len(trace.times_ps) == 81
    assert np.isnan(trace.temperatures_K).all()


def test_a_foreign_element_is_an_error_not_a_failure():
    argon_only = lennard_jones(epsilon=0.0104, sigma=3.4, cutoff=8.5, elements=[18])
    with pytest.raises(UnsupportedStructureError, match="H"):
        run_nve(argon_only, [Structure([1], [[0, 0, 0]])], [np.zeros((1, 3))], **RUN)


def test_failures_survive_pickling():
    error = pickle.loads(pickle.dumps(DynamicsFailure(3, "temperature of 1e+05 K")))
    assert (error.index, error.reason) == (3, "temperature of 1e+05 K")
    assert not isinstance(error, PredictionError)


def test_reading_the_settings_never_loads_torch():
    code = "import sys, mlff_distiller.dynamics.nve; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
