"""Spectra: a diatomic's line lies at sqrt(k / mu), in the sampled runs too."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mlff_distiller.atoms.elements import MASSES
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.randomness import generator
from mlff_distiller.core.units import FEMTOSECOND
from mlff_distiller.validation.observables.plan import ObservationPlan
from mlff_distiller.validation.observables.sampling import sample
from mlff_distiller.validation.observables.spectra import (
    density_of_states,
    per_cm,
    spectral_distance,
    velocity_autocorrelation,
    wavenumbers,
    without_rotation,
)

STIFFNESS = 40.0
PAIR = Structure([6, 8], [[0, 0, 0], [0, 0, 1.1]])
LINE = float(per_cm(np.sqrt(STIFFNESS * (1 / MASSES[6] + 1 / MASSES[8]))))


def test_the_sampled_spectrum_of_a_diatomic_has_its_line(make_spring):
    plan = ObservationPlan(duration_ps=4.0, equilibration_ps=0.5, timestep_fs=0.25, record_every=8)
    run = sample(make_spring(STIFFNESS, 1.1), [PAIR], plan, lambda k: generator(2, k))[0]
    masses = MASSES[PAIR.numbers]
    inner = without_rotation(run.positions, run.velocities, masses, run.interval_fs)
    spectrum = density_of_states(inner, masses, interval_fs=2.0, width_per_cm=10.0)
    grid = wavenumbers()
    assert grid[spectrum.argmax()] == pytest.approx(LINE, abs=5.0)
    assert spectrum[np.abs(grid - LINE) < 60].sum() > 0.95 * spectrum.sum()  # the rotation is gone
    assert spectrum.sum() * (grid[1] - grid[0]) == pytest.approx(1.0)


@pytest.mark.parametrize("line", [350.0, 1700.0, 3900.0])
def test_a_cosine_is_found_where_it_is(line):
    times = 2.0 * np.arange(1000)
    wave = np.cos(2 * np.pi * 2.99792458e-5 * line * times)
    velocities = np.stack([wave, -wave], 1)[:, :, None] * np.array([1.0, 0.5, 0.0])
    spectrum = density_of_states(velocities, np.ones(2), interval_fs=2.0, width_per_cm=20.0)
    assert wavenumbers()[spectrum.argmax()] == pytest.approx(line, abs=2.5)


def test_a_turning_water_has_the_line_of_one_that_does_not_turn():
    """Its symmetric stretch, while it turns once in 0.4 ps about a skew axis."""
    rest = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])
    masses = MASSES[[8, 1, 1]]
    stretch = np.array([[0.0, -1.18 / masses[0] * masses[1], 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])
    times = 2.0 * np.arange(600)
    phase = 2 * np.pi * 2.99792458e-5 * 3000.0 * times
    body = rest + 0.03 * np.cos(phase)[:, None, None] * stretch
    turn = Rotation.from_rotvec(2 * np.pi * times[:, None] / 400.0 * np.array([0.6, 0.0, 0.8])).as_matrix()
    at = np.einsum("tab,tib->tia", turn, body)
    velocities = np.gradient(at, 2.0 * FEMTOSECOND, axis=0)
    spectra = [
        density_of_states(v, masses, interval_fs=2.0, width_per_cm=10.0)
        for v in (velocities, without_rotation(at, velocities, masses, 2.0))
    ]
    grid = wavenumbers()
    near = np.abs(grid - 3000.0) < 60
    assert grid[spectra[1].argmax()] == pytest.approx(3000.0, abs=5.0)
    assert spectra[1][near].sum() > 0.98 * spectra[1].sum()
    assert spectra[0][near].sum() < 0.5 * spectra[0].sum()


def test_the_correlation_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    velocities, masses = rng.normal(size=(60, 3, 3)), np.array([1.0, 12.0, 16.0])
    velocities -= np.einsum("tic,i->tc", velocities, masses / masses.sum())[:, None]
    direct = [np.mean(np.einsum("tic,tic,i->t", velocities[: 60 - lag], velocities[lag:], masses)) for lag in range(30)]
    assert velocity_autocorrelation(velocities, masses) == pytest.approx(np.array(direct) / direct[0])


def test_translation_is_not_seen_and_equal_spectra_are_no_distance_apart():
    rng = np.random.default_rng(0)
    velocities, masses = rng.normal(size=(100, 3, 3)), np.array([1.0, 12.0, 16.0])
    spectra = [density_of_states(v, masses, interval_fs=2.0, width_per_cm=0.0) for v in (velocities, velocities + 3.0)]
    assert spectral_distance(*spectra) < 1e-10


def test_units_are_those_of_spectroscopy():
    period_fs = 2 * np.pi / FEMTOSECOND  # of one radian per ASE time unit
    assert float(per_cm(np.array(1.0))) == pytest.approx(1 / (period_fs * 2.99792458e-5))
