"""Periodicity: wrong images, small cells and stresses are found; molecules are said to have none of it."""

from dataclasses import replace

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.potentials.analytic import lennard_jones
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.audit.periodicity import THEME


@pytest.fixture(scope="module")
def argon() -> Potential:
    return lennard_jones(epsilon=0.0104, sigma=3.4, cutoff=7.0)


@pytest.fixture(scope="module")
def cells(tools) -> list[Structure]:
    cubic = from_ase(ase.build.bulk("Ar", "fcc", a=5.0, cubic=True)).tagged(seed="argon")
    return tools.rattled(cubic, 3, amplitude=0.1)


def test_a_right_potential_passes_in_a_cell_smaller_than_its_cutoff(argon, cells, tools):
    result = tools.run(THEME, argon, cells)
    assert result.outcome == "PASS"
    assert tools.value(result, "supercell_energy_spread") < 1e-9
    assert tools.value(result, "stress_residual") < 1e-7
    assert tools.measured(result, "supercell_force_spread").detail["narrowest_cell_A"] == 5.0


def test_a_stress_of_the_wrong_sign_is_named(argon, cells, tools, planted):
    result = tools.run(THEME, planted(argon, lambda s, x: replace(x, stress=-x.stress)), cells)
    stress = tools.measured(result, "stress_residual")
    assert result.outcome == "FAIL"
    assert stress.value == pytest.approx(2 * stress.detail["typical_stress_eV_per_A3"], rel=1e-3)
    assert stress.detail["given_over_found"] == pytest.approx(-1, rel=1e-4)
    assert "sign is reversed" in result.sentence


def test_a_stress_in_another_unit_is_told_by_its_factor(argon, cells, tools, planted):
    result = tools.run(THEME, planted(argon, lambda s, x: replace(x, stress=160.2 * x.stress)), cells)
    assert "160 times" in result.sentence


def test_an_atom_moved_by_a_lattice_vector_must_not_matter(argon, cells, tools, planted):
    def tied(structure, labels):
        """A spring to the origin, blind to the boundaries."""
        return replace(
            labels,
            energy=labels.energy + 5e-3 * float((structure.positions**2).sum()),
            forces=labels.forces - 1e-2 * structure.positions,
        )

    result = tools.run(THEME, planted(argon, tied), cells)
    assert tools.outcome(result, "image_force_spread") == "FAIL"
    assert tools.outcome(result, "image_energy_spread") == "FAIL"


class NearestImageOnly(type(lennard_jones(epsilon=1.0, sigma=1.0, cutoff=2.0))):
    """Counts every pair of atoms once, by its nearest image: wrong in a small cell."""

    def __init__(self, inner):
        self.__dict__.update(vars(inner))
        self.properties = frozenset({"energy", "forces"})

    def predict(self, structures, properties=("energy", "forces")):
        return [self._label(s).only(properties) for s in structures]

    def _label(self, structure):
        vectors = structure.positions[None] - structure.positions[:, None]
        fractional = vectors @ np.linalg.inv(structure.cell)
        vectors = (fractional - np.round(fractional)) @ structure.cell
        r = np.linalg.norm(vectors, axis=-1) + np.eye(len(structure)) * 1e9
        s6 = (3.4 / r) ** 6
        slope = 4 * 0.0104 * (12 * s6**2 - 6 * s6) / r**2
        return Labels(energy=float(2 * 0.0104 * (s6**2 - s6).sum()), forces=-(slope[:, :, None] * vectors).sum(1))


def test_a_teacher_that_knows_the_nearest_image_only_is_wrong_in_small_cells(argon, cells, tools):
    result = tools.run(THEME, NearestImageOnly(argon), cells)
    assert tools.outcome(result, "supercell_energy_spread") == "FAIL"
    assert tools.outcome(result, "image_energy_spread") == "PASS"
    assert [(s.check, s.reason, s.applies) for s in result.skipped] == [
        ("stress_residual", "the teacher gives no stress", False)
    ]


def test_of_molecules_it_is_said_that_nothing_was_measured(argon, ethanols, tools):
    result = tools.run(THEME, argon, ethanols)
    assert result.outcome == "NOT_RUN"
    assert "no structure of this recipe is periodic" in result.sentence
