"""Long runs cost what short ones do: the memory of the process and the time of a step stay what they are."""

import gc
import time
from collections.abc import Callable
from pathlib import Path

import ase.build
import numpy as np
import pytest
from ase import units
from ase.md.verlet import VelocityVerlet

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.dynamics.nve import run_nve
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.potentials.calculator import PotentialCalculator
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.student import Student

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads memory where Linux says it"),
]
N_STEPS, BLOCK = 10_000, 100


def potential() -> StudentPotential:
    """Return an untrained student; it binds nothing, so velocities are turned around before the atoms fly off."""
    plan = PaiNNPlan(preset="ultra-tiny", n_layers=1, repulsion="none")
    return StudentPotential(Student(plan, {1: -13.6, 6: -1030.0, 8: -2040.0}))


def calculator_run() -> Callable[[], None]:
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.calc = PotentialCalculator(potential())
    atoms.set_velocities(maxwell_boltzmann(from_ase(atoms), 300.0, np.random.default_rng(0)))
    dynamics = VelocityVerlet(atoms, 0.2 * units.fs)

    def block() -> None:
        dynamics.run(BLOCK)
        atoms.set_momenta(-atoms.get_momenta())

    return block


def replicas_run() -> Callable[[], None]:
    structure, student = from_ase(ase.build.molecule("CH3CH2OH")), potential()
    state = [structure] * 4, [maxwell_boltzmann(structure, 300.0, np.random.default_rng(k)) for k in range(4)]

    def block() -> None:
        nonlocal state
        trace = run_nve(student, *state, timestep_fs=0.2, n_steps=BLOCK, record_every=BLOCK)
        assert trace.failures == (None,) * 4
        state = trace.structures, [-velocities for velocities in trace.velocities]

    return block


def resident_bytes() -> int:
    gc.collect()
    return 4096 * int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])


def timed(block: Callable[[], None]) -> float:
    """Return the time that this process worked; what its neighbors on the machine do counts little."""
    start = time.process_time()
    block()
    return time.process_time() - start


@pytest.mark.parametrize("run", [calculator_run, replicas_run])
def test_memory_and_speed_stay_flat(run):
    """Blocks of a run 10,000 steps long take turns with those of one that has just begun, on the same machine."""
    old = run()
    for _ in range(6):
        old()
    early = resident_bytes()
    for _ in range(N_STEPS // BLOCK):
        old()
    assert resident_bytes() <= 1.01 * early
    ratios = []
    for _ in range(4):  # a machine with neighbors may be uneven for a while
        young = run()
        for _ in range(2):
            young()
        times = [(timed(old), timed(young)) for _ in range(20)]
        ratios.append(np.median([a for a, _ in times]) / np.median([b for _, b in times]))
        if ratios[-1] <= 1.05:
            break
    assert min(ratios) <= 1.05
