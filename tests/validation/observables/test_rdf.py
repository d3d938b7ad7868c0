"""Radial distributions: a gas has none, a crystal has its shells."""

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.validation.observables.rdf import bin_centers, element_pairs, pair_names, radial_distributions


def test_a_random_gas_is_even():
    rng = np.random.default_rng(0)
    numbers = [10] * 150 + [18] * 150
    frames = [Structure(numbers, rng.uniform(0, 12, (300, 3)), cell=12 * np.eye(3), pbc=True) for _ in range(40)]
    found = radial_distributions(frames, 6.0)
    assert pair_names(element_pairs(np.array(numbers))) == ["Ne-Ne", "Ar-Ne", "Ar-Ar"]
    far = bin_centers(6.0) > 2
    assert found[:, far].mean(1) == pytest.approx(1.0, abs=0.01)
    assert found[:, far].reshape(3, -1, 8).mean(2) == pytest.approx(1.0, abs=0.05)


def test_copper_has_twelve_nearest_neighbors():
    crystal = from_ase(ase.build.bulk("Cu", cubic=True) * (3, 3, 3))
    found, r = radial_distributions([crystal], 6.0)[0], bin_centers(6.0)
    shells = 4 / 3 * np.pi * ((r + 0.025) ** 3 - (r - 0.025) ** 3)
    density = (len(crystal) - 1) / crystal.volume
    assert (found * shells * density)[r < 3].sum() == pytest.approx(12)
    assert r[found.argmax()] == pytest.approx(3.61 / 2**0.5, abs=0.03)


def test_without_frames_there_is_nothing():
    assert radial_distributions([], 6.0).size == 0
