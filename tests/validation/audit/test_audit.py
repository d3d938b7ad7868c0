"""The whole audit: the error floor, hopeless teachers, failures as findings, the file."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError, DistillerError
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.audit.audit import THEMES, audit, chosen
from mlff_distiller.validation.audit.floor import error_floor
from mlff_distiller.validation.audit.plan import AuditLimits, AuditPlan
from mlff_distiller.validation.audit.result import read_audit
from mlff_distiller.validation.audit.theme import Theme, Workload, conclude
from mlff_distiller.validation.surface.rms import rms

QUICK = AuditPlan(duration_ps=0.03, n_directions=4, n_loops=2)


def outcomes(result) -> dict[str, str]:
    return {theme.name: theme.outcome for theme in result.themes}


def test_xtb_on_ethanol_passes_and_its_floor_is_about_zero(ethanols):
    from mlff_distiller.teachers.xtb import XTBPlan

    seen = []
    result = audit(
        XTBPlan().build(),
        ethanols[:2],
        replace_plan(QUICK, duration_ps=0.05),
        workload=Workload(1000, 500, 2),
        advance=lambda n=1, *, note="": seen.append(note),
    )
    assert outcomes(result) == {
        "composition": "PASS",
        "determinism": "PASS",
        "cost": "REPORTED",
        "conservation": "PASS",
        "symmetry": "PASS",
        "periodicity": "NOT_RUN",
        "smoothness": "PASS",
        "dynamics": "PASS",
    }
    assert result.floor.value < 1e-4
    assert result.floor.ci95[1] < 1e-3
    assert "Nothing keeps a student from following this teacher's forces: the error floor is below" in (
        result.floor_sentence
    )
    assert result.hopeless == ()
    assert seen == [theme.title for theme in THEMES]
    result.demand("failure")


def no_answer() -> Labels:
    raise FloatingPointError("SCF did not converge")


def replace_plan(plan: AuditPlan, **changes) -> AuditPlan:
    return plan.model_copy(update=changes)


def test_the_floor_of_chance_is_its_size_and_is_not_counted_in_every_check(ethanols, tools, planted):
    rng = np.random.default_rng(0)
    noisy = planted(
        tools.exact(), lambda s, x: replace(x, forces=x.forces + rng.normal(scale=0.1, size=x.forces.shape))
    )
    result = audit(noisy, ethanols, replace_plan(QUICK, n_repeats=8, n_rotations=8, n_directions=16))
    assert result.floor.detail["parts"]["not deterministic"] == pytest.approx(0.1, rel=0.2)
    assert result.floor.value == pytest.approx(0.1, rel=0.4)
    assert result.floor.ci95[0] < 0.1 < result.floor.ci95[1]


def test_the_floor_holds_all_planted_faults(ethanols, tools, planted):
    """A torque about z: no gradient, and bound to a direction in space."""
    strength = 0.1

    def swirl(positions):
        return strength * np.cross([0.0, 0.0, 1.0], positions - positions.mean(0))

    faulty = planted(tools.exact(), lambda s, x: replace(x, forces=x.forces + swirl(s.positions)))
    result = audit(faulty, ethanols, replace_plan(QUICK, n_directions=64, n_rotations=24))
    parts = result.floor.detail["parts"]
    torque = np.sqrt(np.mean([swirl(s.positions) ** 2 for s in ethanols]))
    assert parts["not conservative"] == pytest.approx(torque, rel=0.2)
    assert parts["not symmetric"] > 0.5 * torque
    # Without the torque the forces obey every rule: that student's error is the torque, and no floor may be above it.
    assert result.floor.value == pytest.approx(max(parts.values()))
    assert result.floor.ci95[0] < torque < result.floor.ci95[1]
    assert result.floor.detail["without_energies"] < result.floor.value
    assert outcomes(result)["conservation"] == outcomes(result)["symmetry"] == "FAIL"
    assert result.hopeless == ()
    result.demand("hopeless")
    with pytest.raises(DistillerError, match=r"stops before labeling with planted .*set audit.stop_on to never"):
        result.demand("failure")


def forces(name, size):
    return {name: Measurement(name, size, "eV/A", (0.9 * size, 1.1 * size))}


def test_chance_adds_to_the_largest_fault_and_is_counted_once():
    found = forces("repeat_force_spread", 0.3) | forces("batch_force_spread", 0.3) | forces("force_residual", 0.5)
    found |= forces("rotation_force_spread", 0.34) | forces("loop_force", 0.3)
    floor = error_floor(found)
    assert floor.value == pytest.approx(0.5)  # 0.4 of the residual and 0.3 of chance
    assert floor.detail["without_energies"] == pytest.approx(0.34)
    assert floor.detail["missing"] == []


def test_a_floor_without_a_part_is_a_lower_bound_that_says_so():
    floor = error_floor({"force_residual": Measurement("force_residual", 0.02, "eV/A", (0.01, 0.03))})
    assert floor.value == pytest.approx(0.02)
    assert floor.detail["missing"] == ["not symmetric", "not deterministic"]
    assert np.isnan(error_floor({}).value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s, x: replace(x, forces=x.forces * np.nan), "not finite"),
        (lambda s, x: replace(x, forces=-x.forces), "sign is reversed"),
        (lambda s, x: replace(x, energy=x.energy / len(s)), "energy per atom"),
        (lambda s, x: no_answer(), "SCF did not converge"),
    ],
    ids=["nan", "sign", "per atom", "always failing"],
)
def test_a_hopeless_teacher_stops_the_run_with_a_sentence(ethanols, tools, planted, change, said):
    result = audit(planted(tools.exact(), change), ethanols, QUICK)
    with pytest.raises(DistillerError, match=said):
        result.demand("hopeless", where="out/audit.json")
    result.demand("never")


def test_an_element_that_is_not_covered_is_hopeless(ethanols, tools, planted):
    teacher = planted(tools.exact(), lambda s, x: x)
    teacher.elements = frozenset({1, 6})
    result = audit(teacher, ethanols, QUICK)
    assert "holds O" in result.hopeless[0]
    assert {o for name, o in outcomes(result).items() if name != "composition"} == {"NOT_RUN"}


def test_one_structure_that_fails_is_a_finding_and_the_rest_is_measured(ethanols, tools, planted):
    fatal = ethanols[2].positions.copy()

    def fails(structure, labels):
        is_it = structure.positions.shape == fatal.shape and np.abs(structure.positions - fatal).max() < 1e-9
        return no_answer() if is_it else labels

    result = audit(planted(tools.exact(), fails), ethanols, QUICK)
    found = result.measurements["failed_structures"]
    assert found.value == 1
    assert found.detail["examples"] == [{"system": "ethanol", "reason": "SCF did not converge"}]
    assert outcomes(result)["composition"] == "FAIL"
    assert outcomes(result)["conservation"] == "PASS"
    assert result.hopeless == ()


def test_a_check_on_which_the_teacher_fails_is_said_to_be_missing(ethanols, tools, planted):
    def fails(structure, labels):
        if len(structure) > 9:  # two molecules at once
            raise FloatingPointError("too large")
        return labels

    theme = audit(planted(tools.exact(), fails), ethanols, QUICK).theme("smoothness")
    assert theme.outcome == "INCONCLUSIVE"
    assert [s.check for s in theme.skipped] == ["cutoff_energy_jump"]
    assert "too large" in theme.skipped[0].reason


def test_without_time_nothing_passes(ethanols, tools):
    result = audit(tools.exact(), ethanols, replace_plan(QUICK, budget_s=1e-9))
    assert "PASS" not in outcomes(result).values()
    assert np.isnan(result.floor.value)
    assert "unknown" in result.floor_sentence


def test_a_single_atom_and_no_structure(tools):
    atom = Structure([18], [[0, 0, 0]])
    result = audit(tools.exact(), [atom], QUICK)
    assert "FAIL" not in outcomes(result).values()
    assert outcomes(result)["dynamics"] == "NOT_RUN"
    with pytest.raises(DataError, match="no structures"):
        audit(tools.exact(), [])


def test_undecided_and_missing_checks_never_pass():
    theme = Theme("t", "T", lambda s: Evidence(), lambda found, outcome: outcome)
    good, straddling = (Measurement("force_residual", 0.009, "eV/A", ends) for ends in ((0.0, 0.0099), (0.0, 0.02)))
    plain = Measurement("time_per_call", 3.0, "ms")
    cases = {
        "PASS": Evidence([good, plain], [Skipped("stress_residual", "none", applies=False)]),
        "INCONCLUSIVE": Evidence([good, straddling]),
        "REPORTED": Evidence([plain]),
        "NOT_RUN": Evidence([], [Skipped("loop_force", "no time")]),
        "FAIL": Evidence([straddling, replace(good, ci95=(0.011, 0.02))]),
    }
    assert {name: conclude(theme, evidence, AuditLimits()).outcome for name, evidence in cases.items()} == {
        name: name for name in cases
    }
    missing = Evidence([good], [Skipped("loop_force", "no time")])
    assert conclude(theme, missing, AuditLimits()).outcome == "INCONCLUSIVE"
    no_interval = Evidence([replace(good, ci95=None)])
    assert conclude(theme, no_interval, AuditLimits()).outcome == "INCONCLUSIVE"


def test_every_judged_number_has_its_limit():
    limits = AuditLimits()
    names = {
        "force_residual": 0.01,
        "supercell_energy_spread": 0.001,
        "reflection_force_spread": 0.01,
        "bond_force_jump": 0.05,
        "cutoff_energy_jump": 0.005,
        "odd_electrons": 0.0,
        "time_batched": None,
        "force_residual_relative": None,
    }
    assert {name: limits.criterion(name).limit for name in names} == names


def test_structures_are_chosen_from_all_over_the_data():
    names = ["a"] * 100 + ["b"] * 3 + ["c"]
    rows = chosen(names, AuditPlan(n_per_system=4))
    assert rows == [0, 33, 66, 99, 100, 101, 102, 103]
    assert {names[row] for row in chosen(names, AuditPlan(n_systems=2, n_per_system=1))} == {"a", "c"}


@pytest.fixture(scope="module")
def water_result(tools, tmp_path_factory):
    water = from_ase(molecule("H2O")).tagged(seed="water")
    result = audit(tools.exact(), [water], QUICK, workload=Workload(100))
    path = tmp_path_factory.mktemp("audit") / "audit.json"
    result.write(path)
    return result, path


def test_the_file_is_read_back_as_it_was(water_result):
    result, path = water_result
    text = path.read_text()
    assert json.loads(text)["format"] == "mlffd-audit"
    assert "NaN" not in text
    again = read_audit(path)
    assert again.floor == result.floor
    assert outcomes(again) == outcomes(result)
    assert again.floor_sentence == result.floor_sentence
    assert [theme.skipped for theme in again.themes] == [theme.skipped for theme in result.themes]
    assert again.measurements.keys() == result.measurements.keys()
    assert again.measurements["time_per_call"] == result.measurements["time_per_call"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda value: "[]", "is no audit or is damaged"),
        (lambda value: "{", "is no audit or is damaged"),
        (lambda value: json.dumps(value | {"format": "mlffd-verdict"}), "is not an audit"),
        (lambda value: json.dumps(value | {"version": 99}), "install a newer one"),
        (lambda value: json.dumps(value | {"themes": [{"name": "x"}]}), "is no audit or is damaged"),
        (lambda value: json.dumps(value | {"teacher": {}}), "is no audit or is damaged"),
        (lambda value: json.dumps(value).replace('"PASS"', '"FINE"'), "unknown outcome 'FINE'"),
    ],
)
def test_a_damaged_file_is_one_sentence(water_result, tmp_path, damage, said):
    path = tmp_path / "audit.json"
    path.write_text(damage(json.loads(water_result[1].read_text())))
    with pytest.raises(DataError, match=said):
        read_audit(path)
    with pytest.raises(DataError, match="does not exist"):
        read_audit(tmp_path / "none.json")


def test_of_a_slow_teacher_fewer_structures_are_looked_at(ethanols, tools):
    class Slow(type(tools.exact())):
        def __init__(self, inner):
            self.__dict__.update(vars(inner))

        def predict(self, structures, properties=("energy", "forces")):
            time.sleep(0.01 * len(structures))
            return super().predict(structures, properties)

    calls = 6 * QUICK.n_directions + 16 * QUICK.n_loops + 4 * QUICK.n_rotations + 2 * QUICK.n_repeats + 25
    result = audit(Slow(tools.exact()), ethanols, replace_plan(QUICK, budget_s=0.015 * calls))
    assert 1 <= result.facts["n_structures"] < 4
    slower = audit(Slow(tools.exact()), ethanols[:1], replace_plan(QUICK, budget_s=0.016 * 80))
    assert slower.measurements["force_residual"].detail["n_directions"] == 3
    assert slower.theme("conservation").outcome != "NOT_RUN"
    assert audit(tools.exact(), ethanols, QUICK).facts["n_structures"] == 4


def test_a_teacher_too_slow_for_all_structures_is_not_called_hopeless(tools):
    class Slow(type(tools.exact())):
        def __init__(self, inner):
            self.__dict__.update(vars(inner))

        def predict(self, structures, properties=("energy", "forces")):
            time.sleep(0.05 * len(structures))
            return super().predict(structures, properties)

    names = ["H2O", "CH4"]
    structures = [x for name in names for x in tools.rattled(from_ase(molecule(name)).tagged(seed=name), 12)]
    result = audit(Slow(tools.exact()), structures, replace_plan(QUICK, budget_s=1.0))
    assert result.measurements["failed_structures"].value == 0
    assert result.hopeless == ()
    assert result.theme("composition").outcome == "PASS"
    assert "raise audit.budget_s" in result.theme("conservation").sentence
    result.demand("failure")


def test_a_fault_of_one_structure_among_exact_ones_has_a_finite_interval():
    squares = [np.full(6, size) for size in (1e-30, 1e-30, 1e-12)]
    found = rms("force_residual", "eV/A", squares)
    assert found.value == pytest.approx(1e-6 / 3**0.5)
    assert found.ci95[0] < found.value < found.ci95[1] < 3e-6


def test_one_number_alone_has_an_interval_too():
    rng = np.random.default_rng(1)
    ends = [rms("energy_noise", "eV", [rng.normal(scale=0.1, size=1) ** 2]).ci95 for _ in range(400)]
    assert np.mean([low <= 0.1 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.03)
    assert rms("energy_noise", "eV", [np.zeros(1)]).ci95 == (0.0, 0.0)


def test_the_interval_covers_the_size_of_faults():
    covered, rng = 0, np.random.default_rng(0)
    for _ in range(200):
        squares = [rng.normal(scale=0.1, size=8) ** 2 for _ in range(4)]
        low, high = rms("force_residual", "eV/A", squares).ci95
        covered += low <= 0.1 <= high
    assert covered >= 180
