"""Forces against energies: residuals of planted faults are measured at their size, and noise is not called a fault."""

from dataclasses import replace

import numpy as np
import pytest

from mlff_distiller.validation.audit.conservation import THEME, unrelated


def swirl(strength):
    """A torque about z, which is no gradient: its forces, and its change of labels."""

    def forces(positions):
        return strength * np.cross([0.0, 0.0, 1.0], positions - positions.mean(0))

    return forces, lambda s, x: replace(x, forces=x.forces + forces(s.positions))


def test_the_gradient_of_an_energy_passes_to_the_last_digits(ethanols, tools):
    result = tools.run(THEME, tools.exact(), ethanols)
    assert result.outcome == "PASS"
    assert tools.value(result, "force_residual") < 1e-7
    assert tools.value(result, "loop_force") < 1e-6
    assert "gradient of the energy" in result.sentence


@pytest.mark.parametrize("strength", [0.02, 0.3])
def test_a_force_that_is_no_gradient_is_measured_at_its_size(ethanols, tools, planted, strength):
    forces, change = swirl(strength)
    result = tools.run(THEME, planted(tools.exact(), change), ethanols, n_directions=64, n_loops=24)
    residual = tools.measured(result, "force_residual")
    true = np.sqrt(np.mean([forces(s.positions) ** 2 for s in ethanols]))
    assert residual.value == pytest.approx(true, rel=0.2)
    assert residual.ci95[0] < true < residual.ci95[1]
    n = len(ethanols[0])
    around = 0.03 * strength * np.sqrt(2 * (n - 1) / (3 * n))  # the mean over circles in random planes
    assert tools.value(result, "loop_force") == pytest.approx(around, rel=0.25)
    assert result.outcome == "FAIL"


def test_a_teacher_that_declares_it_is_told_what_it_costs(ethanols, tools, planted):
    result = tools.run(THEME, planted(tools.exact(), swirl(0.1)[1], is_conservative=False), ethanols)
    assert "no conservative student can follow both" in result.sentence
    assert tools.measured(result, "force_residual").detail["declared_conservative"] is False


def test_another_gradient_than_that_of_the_energy_does_no_work_on_loops(ethanols, tools, planted):
    spring = lambda x: 0.2 * (x - x.mean(0))  # noqa: E731 - conservative, but not in the energy
    result = tools.run(
        THEME, planted(tools.exact(), lambda s, x: replace(x, forces=x.forces - spring(s.positions))), ethanols
    )
    assert tools.outcome(result, "force_residual") == "FAIL"
    assert tools.outcome(result, "loop_force") == "PASS"
    assert "around closed loops they do no work" in result.sentence


def rounded(offset):
    return lambda s, x: replace(x, energy=float(np.float32(x.energy - offset)))


def test_rounding_of_the_energy_is_not_called_a_fault_of_the_forces(ethanols, tools, planted):
    result = tools.run(THEME, planted(tools.exact(), rounded(1e5)), ethanols)
    residual = tools.measured(result, "force_residual")
    assert residual.detail["noise_floor_eV_per_A"] == pytest.approx(1.018 * 2**-7 / 12**0.5 / 0.03, rel=0.5)
    assert residual.ci95[0] == 0
    assert result.outcome == "INCONCLUSIVE"
    assert "cannot be told" in result.sentence


def test_under_little_rounding_a_fault_is_still_found_and_its_absence_passes(ethanols, tools, planted):
    assert tools.run(THEME, planted(tools.exact(), rounded(2000)), ethanols).outcome == "PASS"
    forces, change = swirl(0.1)
    both = planted(planted(tools.exact(), change), rounded(2000))
    result = tools.run(THEME, both, ethanols, n_directions=64)
    true = np.sqrt(np.mean([forces(s.positions) ** 2 for s in ethanols]))
    assert tools.value(result, "force_residual") == pytest.approx(true, rel=0.2)
    assert result.outcome == "FAIL"


@pytest.mark.parametrize(
    ("change", "relative", "said"),
    [
        (lambda s, x: replace(x, energy=x.energy / len(s)), 8 / 9, "energy per atom"),
        (lambda s, x: replace(x, forces=-x.forces), 2, "sign is reversed"),
        (lambda s, x: replace(x, energy=x.energy / 27.2114), 1 - 1 / 27.2, "; energies look like Hartree"),
        (lambda s, x: replace(x, forces=x.forces / 27.2114), 26.2, "; forces look like Hartree/Å"),
        (lambda s, x: replace(x, forces=x.forces / 51.422), 50.4, "; forces look like Hartree/bohr"),
        (
            lambda s, x: replace(x, forces=-x.forces / 1.8897),
            2.89,
            "sign is reversed and forces look as if they were by",
        ),
        (lambda s, x: replace(x, energy=x.energy * 23.06), 22.06, "kcal/mol"),
        (lambda s, x: replace(x, energy=7.5 * x.energy), 6.5, "is a unit wrong"),
        (lambda s, x: replace(x, forces=x.forces[::-1]), None, "are correlated by"),
    ],
)
def test_energies_of_another_kind_are_recognized(ethanols, tools, planted, change, relative, said):
    result = tools.run(THEME, planted(tools.exact(), change), ethanols)
    found = tools.measured(result, "force_residual_relative")
    assert found.ci95[0] > 0.4
    if relative is not None:
        assert found.value == pytest.approx(relative, rel=0.02)
    assert said in unrelated(tools.measured(result, "force_residual"))
