"""Physicality: faults planted into exact potentials are found at the size they were given, and exact ones pass."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import ase.build
import numpy as np
import pytest
from ase.build import molecule

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError, UnsupportedStructureError
from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.html.markup import Numbered
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.potentials.analytic import harmonic, lennard_jones
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.validation.checks.physicality.approaches import approaches
from mlff_distiller.validation.checks.physicality.plan import PhysicalityPlan
from mlff_distiller.validation.records import read_evidence, write_evidence
from mlff_distiller.validation.report.content import StudentReport
from mlff_distiller.validation.report.sections.physicality import section
from mlff_distiller.validation.trial import Trial
from mlff_distiller.validation.verdict import StudentVerdict

Change = Callable[[Structure, Labels], Labels]
CUTOFF = 5.0


class Pairs(Potential):
    """A sum over pairs of molecules, smooth, with a hard wall, and with a fault if one is given."""

    is_conservative = True
    properties = frozenset({"energy", "forces"})
    elements = frozenset({1, 6, 8, 18})
    cutoff = CUTOFF
    identity = Identity("pairs", "analytic", "exact", "float64")

    def __init__(self, change: Change | None = None, *, hole: tuple[float, float, float] | None = None) -> None:
        self.change, self.hole = change or (lambda structure, labels: labels), hole

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        self.check(structures, properties)
        found = []
        for index, structure in enumerate(structures):
            try:
                found.append(self.change(structure, self._label(structure)).only(properties))
            except FloatingPointError as error:
                raise PredictionError(index, str(error)) from error
        return found

    def _label(self, structure: Structure) -> Labels:
        vectors = structure.positions[None] - structure.positions[:, None]
        r = np.linalg.norm(vectors, axis=-1) + 1e9 * np.eye(len(structure))
        forces = (self.slope(r) / r)[:, :, None] * vectors
        return Labels(energy=float(self.energy(r).sum() / 2), forces=forces.sum(1))

    def energy(self, r: np.ndarray) -> np.ndarray:
        """Wall and well, times a switch that is smooth at the cutoff, and a Gaussian hole."""
        x = np.clip(1 - (r / CUTOFF) ** 2, 0, None)
        gauss = self.hole[0] * np.exp(-(((r - self.hole[1]) / self.hole[2]) ** 2)) if self.hole else 0.0
        return (6 * np.exp(-3 * (r - 1)) - 2 * np.exp(-(r - 1))) * x**4 - gauss

    def slope(self, r: np.ndarray) -> np.ndarray:
        x = np.clip(1 - (r / CUTOFF) ** 2, 0, None)
        wall, well = 6 * np.exp(-3 * (r - 1)), 2 * np.exp(-(r - 1))
        gauss = 0.0
        if self.hole:
            depth, middle, width = self.hole
            gauss = -2 * (r - middle) / width**2 * depth * np.exp(-(((r - middle) / width) ** 2))
        return (well - 3 * wall) * x**4 - (wall - well) * 8 * x**3 * r / CUTOFF**2 - gauss


def shaken(name: str, n: int = 6, seed: int = 0) -> list[Structure]:
    start = from_ase(molecule(name))
    moves = np.random.default_rng(seed).normal(scale=0.04, size=(n, len(start), 3))
    return [start.moved(start.positions + move) for move in moves]


MOLECULES = {"water": shaken("H2O"), "methane": shaken("CH4")}
ETHANOL = {"ethanol": shaken("CH3CH2OH")}


def crystals(n: int = 6) -> dict[str, list[Structure]]:
    cubic = from_ase(ase.build.bulk("Ar", "fcc", a=5.0, cubic=True))
    rng = np.random.default_rng(2)
    found = []
    for _ in range(n):
        shear = np.eye(3)
        shear[0, 1] = shear[1, 0] = rng.uniform(0.01, 0.03)
        moves = rng.normal(scale=0.05, size=cubic.positions.shape)
        found.append(cubic.moved((cubic.positions + moves) @ shear, cell=cubic.cell @ shear))
    return {"argon": found}


def measured(potential: Potential, starts: dict[str, list[Structure]], **settings: object) -> Evidence:
    settings = {"n_per_system": 6, **settings}
    return PhysicalityPlan(**settings).measure(Trial(potential, starts))


def found(name: str, potential: Potential, starts: dict[str, list[Structure]], **settings: object) -> Measurement:
    measurement = measured(potential, starts, **settings).measurement(name)
    assert measurement is not None
    return measurement


def within(measurement: Measurement, true: float) -> bool:
    assert measurement.ci95 is not None
    low, high = measurement.ci95
    return low <= true <= high


def swirl(strength: float) -> tuple[Callable[[Structure], np.ndarray], Change]:
    """A torque about z, which is no gradient."""

    def forces(structure: Structure) -> np.ndarray:
        return strength * np.cross([0.0, 0.0, 1.0], structure.positions - structure.positions.mean(0))

    return forces, lambda s, x: replace(x, forces=x.forces + forces(s))


def test_an_exact_potential_has_no_fault() -> None:
    evidence = measured(Pairs(), MOLECULES)
    value = {m.name: m.value for m in evidence.measurements}
    assert value["force_residual"] < 1e-6
    assert value["loop_force"] < 1e-6
    assert value["force_spread"] < 1e-9
    assert value["energy_spread"] < 1e-9
    assert value["energy_jump"] < 1e-5
    assert value["force_jump"] < 2e-3
    assert value["extensivity_error"] < 1e-12
    assert value["short_range_hole"] == 0
    assert evidence.measurement("out_of_domain").detail["unknown_element"] == "He refused"
    assert [(s.check, s.applies) for s in evidence.skipped] == [("stress_residual", False)]
    assert all(m.ci95 is not None for m in evidence.measurements if m.name != "out_of_domain")


def test_an_exact_potential_of_a_crystal_has_no_fault() -> None:
    evidence = measured(lennard_jones(epsilon=0.0104, sigma=3.4, cutoff=7.0, elements=[18]), crystals())
    value = {m.name: m.value for m in evidence.measurements}
    assert not evidence.skipped
    assert value["stress_residual"] < 1e-7
    assert value["force_spread"] < 1e-9
    assert value["extensivity_error"] < 1e-9
    assert value["short_range_hole"] == 0
    kinds = evidence.measurement("force_spread").detail["kinds"]
    assert {"rotation", "reflection", "translation", "permutation", "batch", "image", "supercell"} <= set(kinds)


@pytest.mark.parametrize("strength", [0.02, 0.3])
def test_a_force_without_an_energy_is_measured_at_its_size(strength: float) -> None:
    forces, change = swirl(strength)
    residual = found("force_residual", Pairs(change), ETHANOL, n_directions=64)
    true = np.sqrt(np.mean([forces(s) ** 2 for s in ETHANOL["ethanol"]]))
    assert within(residual, true)
    assert residual.value == pytest.approx(true, rel=0.2)
    assert not within(residual, 0.0)


def test_one_stress_component_of_the_wrong_sign_is_measured_at_its_size() -> None:
    """Along random strains e of unit length the fault is 4 s_xy e_xy, and the mean of e_xy^2 is 1/12."""
    inner = lennard_jones(epsilon=0.0104, sigma=3.4, cutoff=7.0, elements=[18])
    flip = np.where(np.eye(3)[[1, 0, 2]] * np.array([[1], [1], [0]]) > 0, -1.0, 1.0)

    class Flipped(Pairs):
        properties, elements, cutoff = frozenset({"energy", "forces", "stress"}), inner.elements, inner.cutoff

        def predict(self, structures, properties=("energy", "forces")) -> list[Labels]:
            labels = inner.predict(structures, properties)
            return [x if x.stress is None else replace(x, stress=x.stress * flip) for x in labels]

    cells = crystals()
    shear = [x.stress[0, 1] for x in inner.predict(cells["argon"], ("energy", "stress"))]
    residual = found("stress_residual", Flipped(), cells)
    true = 4 * np.sqrt(np.mean(np.square(shear)) / 12)
    assert within(residual, true)
    assert residual.value == pytest.approx(true, rel=0.35)
    assert residual.ci95[0] > 0.3 * true


def test_forces_with_a_step_at_the_cutoff_are_found_at_their_size_and_place() -> None:
    """Two neon-like atoms attract each other by another 0.2 eV/Angstrom inside of 4 Angstrom."""

    def step(structure: Structure, labels: Labels) -> Labels:
        if len(structure) != 2:
            return labels
        vector = structure.positions[1] - structure.positions[0]
        r = np.linalg.norm(vector)
        pull = 0.2 * vector / r * (r < 4)
        return replace(labels, forces=labels.forces + np.array([pull, -pull]))

    evidence = measured(Pairs(step), {"argon": [Structure([18], [[0, 0, 0]])]})
    jump = evidence.measurement("force_jump")
    assert within(jump, 0.2)
    assert jump.value == pytest.approx(0.2, rel=1e-2)
    assert jump.detail["kinds"][jump.detail["worst"]]["way_A"] + 2.5 == pytest.approx(4.0, abs=1e-3)
    repulsion = evidence.arrays["cutoff_forces"][0]
    gaps = evidence.arrays["cutoff_gaps"][0]
    assert np.abs(np.diff(repulsion)).argmax() == np.searchsorted(gaps, 4.0) - 1


def test_an_energy_with_a_step_is_found_at_its_size() -> None:
    def step(structure: Structure, labels: Labels) -> Labels:
        r = np.linalg.norm(structure.positions[0] - structure.positions[1])
        return replace(labels, energy=labels.energy + 0.02 * (r > 1.1))

    jump = found("energy_jump", Pairs(step), {"water": MOLECULES["water"]})
    assert within(jump, 0.02)
    assert jump.value == pytest.approx(0.02, rel=1e-2)
    assert "bond stretched" in jump.detail["worst"]


@pytest.mark.parametrize(("depth", "middle"), [(10.0, 0.5), (30.0, 0.5), (30.0, 0.58)])
def test_a_hole_at_short_range_is_found_at_its_depth(depth: float, middle: float) -> None:
    potential = Pairs(hole=(depth, middle, 0.07))
    r = np.linspace(1.3 * 0.62, 0.4, 100_001)
    energy = potential.energy(r)
    fall = np.maximum.accumulate(energy) - energy
    hole = found("short_range_hole", potential, {"hydrogen": shaken("H2")}, reachable_eV=100)
    alone = hole.detail["kinds"]["H-H alone"]
    assert fall.max() > 0.1
    assert alone["value"] == pytest.approx(fall.max(), rel=0.02)
    assert alone["bottom_A"] == pytest.approx(r[fall.argmax()], abs=0.02)
    assert hole.value >= alone["value"]


def test_a_hole_behind_a_barrier_that_nothing_gets_over_does_not_count_but_is_told() -> None:
    potential = Pairs(hole=(60.0, 0.45, 0.04))
    starts = {"methane": MOLECULES["methane"]}
    reached = found("short_range_hole", potential, starts, reachable_eV=100)
    assert reached.value > 10
    guarded = found("short_range_hole", potential, starts)
    assert guarded.value == 0
    told = guarded.detail["kinds"]["C-H in methane, bonded"]
    assert told["barrier_eV"] > 10
    assert told["fall_eV"] > 10


def test_no_wall_at_all_is_a_hole_as_deep_as_the_fall() -> None:
    soft = harmonic(stiffness=2.0, distance=0.0, cutoff=9.0, elements=[1, 18])
    hole = found("short_range_hole", soft, {"hydrogen": shaken("H2")})
    assert hole.detail["kinds"]["H-H alone"]["value"] == pytest.approx((1.3 * 0.62) ** 2 - 0.4**2, rel=0.05)


def test_a_thermal_bond_is_no_hole() -> None:
    """A stretched bond falls into its well on the way in; that does not count, for any frame."""
    for name in ("H2O", "CH4", "CH3CH2OH", "C2H2"):
        assert found("short_range_hole", Pairs(), {name: shaken(name, seed=3)}).value == 0


def test_dependence_on_orientation_is_measured_at_its_size() -> None:
    """A constant pull along z, turned back with the structure, has a third of its square along each axis."""
    pull = np.array([0.0, 0.0, 0.09])
    spread = found("force_spread", Pairs(lambda s, x: replace(x, forces=x.forces + pull)), ETHANOL, n_rotations=24)
    rotation = spread.detail["kinds"]["rotation"]
    assert spread.detail["worst"] in ("rotation", "reflection")
    assert rotation["ci95"][0] <= 0.09 / np.sqrt(3) <= rotation["ci95"][1]
    assert rotation["value"] == pytest.approx(0.09 / np.sqrt(3), rel=0.1)


def test_dependence_on_the_order_of_atoms_is_measured_at_its_size() -> None:
    """A push of the first atom wanders over N atoms: mean square h^2/(3 N) (1 - 1/N) of each component."""

    def first(structure: Structure, labels: Labels) -> Labels:
        forces = labels.forces.copy()
        forces[0] += [0.3, 0.0, 0.0]
        return replace(labels, forces=forces, energy=labels.energy + 0.02 * structure.numbers[0])

    spread = found("force_spread", Pairs(first), ETHANOL, n_rotations=24)
    n = len(ETHANOL["ethanol"][0])
    true = 0.3 * np.sqrt((1 - 1 / n) / (3 * n))
    permutation = spread.detail["kinds"]["permutation"]
    assert permutation["value"] == pytest.approx(true, rel=0.15)
    assert permutation["ci95"][0] <= true <= permutation["ci95"][1]
    energy = found("energy_spread", Pairs(first), ETHANOL, n_rotations=24)
    assert energy.detail["worst"] == "permutation"


def test_an_energy_that_does_not_add_up_is_measured_at_its_size() -> None:
    shift = 0.05
    error = found(
        "extensivity_error",
        Pairs(lambda s, x: replace(x, energy=x.energy + shift)),
        {"methane": MOLECULES["methane"]},
    )
    assert error.value == pytest.approx(shift / 10)
    assert within(error, shift / 10)
    assert list(error.detail["systems_eV_per_atom"]) == ["methane + methane"]


def test_charged_pairs_that_the_potential_does_not_cover_do_not_count() -> None:
    class Ions(Pairs):
        charges = frozenset({1})

        def check(self, structures, properties) -> None:
            if any(s.charge != 1 for s in structures):
                raise UnsupportedStructureError("only cations")

    cation = Structure([8, 1, 1], MOLECULES["water"][0].positions, charge=1, spin=2)
    evidence = measured(Ions(), {"water+": [cation] * 3})
    missing = {s.check: s for s in evidence.skipped}
    assert not missing["extensivity_error"].applies
    assert "covers no two molecules" in missing["extensivity_error"].reason
    assert evidence.measurement("short_range_hole").value == 0


def test_numbers_that_are_not_finite_near_the_wall_leave_the_hole_undecided() -> None:
    def breaks(structure: Structure, labels: Labels) -> Labels:
        r = np.linalg.norm(structure.positions[0] - structure.positions[1])
        return replace(labels, energy=float("nan")) if r < 0.5 else labels

    evidence = measured(Pairs(breaks), {"hydrogen": shaken("H2")})
    assert evidence.measurement("short_range_hole") is None
    missing = next(s for s in evidence.skipped if s.check == "short_range_hole")
    assert missing.applies
    assert "not finite" in missing.reason
    assert np.isnan(evidence.arrays["short_range_energies"]).any()


def test_a_potential_that_gives_nothing_leaves_everything_undecided() -> None:
    def fails(structure: Structure, labels: Labels) -> Labels:
        raise FloatingPointError("overflow")

    evidence = measured(Pairs(fails), MOLECULES)
    missing = {s.check for s in evidence.skipped if s.applies}
    assert {"force_residual", "force_spread", "energy_spread", "energy_jump", "extensivity_error"} <= missing
    assert {"short_range_hole", "force_jump"} <= missing


def test_a_crystal_without_a_stress_leaves_the_stress_undecided() -> None:
    inner = lennard_jones(epsilon=0.0104, sigma=3.4, cutoff=7.0, elements=[18])

    class Silent(Pairs):
        elements, cutoff = inner.elements, inner.cutoff

        def predict(self, structures, properties=("energy", "forces")) -> list[Labels]:
            return inner.predict(structures, properties)

    evidence = measured(Silent(), crystals(2), n_per_system=2)
    assert [(s.check, s.applies) for s in evidence.skipped] == [("stress_residual", True)]


def test_the_same_trial_gives_the_same_numbers() -> None:
    one, other = (measured(Pairs(swirl(0.1)[1]), MOLECULES) for _ in range(2))
    assert one.measurements == other.measurements
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name])


def test_ways_in_end_where_asked_and_move_one_atom_only() -> None:
    ways = approaches(MOLECULES["methane"], fraction=0.4, closest=0.4, n_points=40)
    assert [way.label for way in ways][-1] == "C-H in CH4, bonded"
    for way in ways:
        first, last = way.structures[0].positions, way.structures[-1].positions
        assert (np.abs(first - last).max(axis=1) > 1e-9).sum() == 1
        assert np.linalg.norm(last[:, None] - last, axis=-1)[np.triu_indices(len(last), 1)].min() == pytest.approx(
            way.distances[-1]
        )


def reported(evidence: dict[str, Evidence]) -> str:
    return section(Numbered(), "odd & small", StudentReport(1, StudentVerdict("INCONCLUSIVE", ()), evidence))


def test_the_section_says_in_plain_words_what_holds_and_what_does_not(tmp_path: Path) -> None:
    holed = measured(Pairs(hole=(30.0, 0.5, 0.07)), {"hydrogen <2>": shaken("H2")}, reachable_eV=100)
    write_evidence(tmp_path, holed)
    html = reported({"physicality": read_evidence(tmp_path)})
    assert "There is a hole: with H-H" in html
    assert "odd &amp; small" in html
    assert "<2>" not in html
    assert "does not apply" in html
    assert "He refused" in html
    assert html.count("data-figure=") == 2
    sound = reported({"physicality": measured(Pairs(), MOLECULES)})
    assert "the energy rises like a wall" in sound
    assert "There is a hole" not in sound
    assert reported({}) == ""


def test_the_section_says_what_was_not_measured() -> None:
    def fails(structure: Structure, labels: Labels) -> Labels:
        raise FloatingPointError("overflow")

    html = reported({"physicality": measured(Pairs(fails), MOLECULES)})
    assert html.count("not measured") >= 6
    assert "overflow" in html
