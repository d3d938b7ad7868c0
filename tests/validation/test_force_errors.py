"""Force and energy errors against numbers worked out by hand or by another route."""

from dataclasses import replace

import numpy as np
import pytest

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError, PredictionError, UnsupportedStructureError
from mlff_distiller.core.html.markup import Numbered
from mlff_distiller.potentials.analytic import morse
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.validation.checks.errors.parity import Parity, compare
from mlff_distiller.validation.checks.errors.plan import ForceErrorsPlan
from mlff_distiller.validation.held_out import HeldOut
from mlff_distiller.validation.report.content import StudentReport
from mlff_distiller.validation.report.sections.errors import section
from mlff_distiller.validation.trial import Trial
from mlff_distiller.validation.verdict import StudentVerdict


class Recited(Potential):
    """Says what it was told, structure by structure."""

    elements = frozenset(range(1, 119))
    properties = frozenset({"energy", "forces", "stress"})
    is_conservative = False
    identity = Identity("recited", "1", "")

    def __init__(self, labels: list[Labels]) -> None:
        self.labels = labels

    def predict(self, structures, properties=("energy", "forces")):
        return [labels.only(properties) for labels in self.labels]


def structures(n: int, n_atoms: int = 2) -> list[Structure]:
    return [Structure([1, 8][:n_atoms], np.eye(3)[:n_atoms] * 2) for _ in range(n)]


def measured(frames: HeldOut, predicted: list[Labels], **settings) -> dict:
    evidence = ForceErrorsPlan(n_resamples=300, **settings).measure(Trial(Recited(predicted), held_out=frames))
    measurements = evidence.measurements
    return {m.name: m for m in measurements}


def random_frames(n: int = 12, seed: int = 0) -> tuple[HeldOut, list[Labels]]:
    rng = np.random.default_rng(seed)
    reference = [Labels(energy=float(rng.normal()), forces=rng.normal(size=(2, 3))) for _ in range(n)]
    predicted = [
        Labels(energy=x.energy + float(rng.normal(0.3, 0.1)), forces=x.forces + 0.1 * rng.normal(size=(2, 3)))
        for x in reference
    ]
    return HeldOut(structures(n), reference, [f"s{k // 3}" for k in range(n)]), predicted


def test_every_error_agrees_with_its_definition() -> None:
    frames, predicted = random_frames()
    f = np.array([x.forces for x in frames.labels])
    g = np.array([x.forces for x in predicted])
    e = np.array([(p.energy - r.energy) / 2 for p, r in zip(predicted, frames.labels, strict=True)])
    found = measured(frames, predicted, angle_threshold_eV_per_A=0.5)
    s, p = np.linalg.norm(f, axis=-1), np.linalg.norm(g, axis=-1)
    cosine = (f * g).sum(-1) / s / p
    expected = {
        "force_rmse": np.sqrt(((f - g) ** 2).mean()),
        "force_mae": np.abs(f - g).mean(),
        "force_r2": 1 - ((f - g) ** 2).sum() / ((f - f.mean()) ** 2).sum(),
        "force_magnitude_r2": 1 - ((p - s) ** 2).sum() / ((s - s.mean()) ** 2).sum(),
        "force_angular_error": np.degrees(np.arccos(cosine[s > 0.5])).mean(),
        "force_max_error": np.linalg.norm(f - g, axis=-1).max(),
        "energy_rmse_per_atom": np.sqrt((e**2).mean()),
        "energy_mae_per_atom": np.abs(e).mean(),
    }
    assert {name: m.value for name, m in found.items()} == pytest.approx(expected, rel=1e-12)
    estimated = [m for name, m in found.items() if name != "force_max_error"]
    assert all(m.ci95[0] < m.value < m.ci95[1] for m in estimated)
    assert {m.n_samples for m in estimated} == {4}
    assert found["force_r2"].ci95[1] <= 1


def test_a_constant_energy_error_is_not_subtracted() -> None:
    frames, _ = random_frames()
    shifted = [replace(x, energy=x.energy + 1.0) for x in frames.labels]
    found = measured(frames, shifted)
    assert found["energy_rmse_per_atom"].value == pytest.approx(0.5)
    assert "no constant was subtracted" in found["energy_rmse_per_atom"].detail["note"]


def test_errors_by_element_and_system_add_up() -> None:
    frames, predicted = random_frames()
    named = HeldOut(frames.structures, frames.labels, frames.segments, ["a"] * 6 + ["b"] * 6)
    detail = measured(named, predicted)["force_rmse"]
    for part in ("per_element", "per_system"):
        assert np.mean(np.square(list(detail.detail[part].values()))) == pytest.approx(detail.value**2)
    assert set(detail.detail["per_element"]) == {"H", "O"}


def test_errors_by_size_of_the_force_add_up_and_lie_in_their_bins() -> None:
    frames, predicted = random_frames(n=40)
    found = measured(frames, predicted)["force_rmse"]
    bins = found.detail["per_magnitude"]
    assert sum(row["n_atoms"] for row in bins) == 80
    squares = [row["n_atoms"] * row["rmse_eV_per_A"] ** 2 for row in bins]
    assert sum(squares) / 80 == pytest.approx(found.value**2)
    assert all(row["from_eV_per_A"] <= 3**0.5 * row["typical_eV_per_A"] < row["to_eV_per_A"] for row in bins)


def test_one_bad_frame_is_named_as_the_worst() -> None:
    frames, predicted = random_frames()
    predicted[7] = replace(predicted[7], forces=frames.labels[7].forces + 2.0)
    evidence = ForceErrorsPlan(n_resamples=300).measure(Trial(Recited(predicted), held_out=frames))
    worst = evidence.measurement("force_rmse").detail["worst_frames"][0]
    assert worst == {"frame": 7, "system": "HO", "segment": "s2", "rmse_eV_per_A": pytest.approx(2.0)}
    parity = Parity(**evidence.arrays)
    assert parity.frame_force_rmse.argmax() == 7
    np.testing.assert_array_equal(parity.positions[14:16], frames.structures[7].positions)


def test_the_sizes_of_forces_may_be_right_where_their_directions_are_not() -> None:
    frames, _ = random_frames()
    turned = [replace(x, forces=x.forces[:, [1, 2, 0]]) for x in frames.labels]
    found = measured(frames, turned)
    assert found["force_magnitude_r2"].value == pytest.approx(1)
    assert found["force_r2"].value < 0.5


def test_a_perfect_student_has_no_error() -> None:
    frames, _ = random_frames()
    found = measured(frames, list(frames.labels))
    assert found["force_rmse"].value == 0
    assert found["force_r2"].value == 1
    assert found["force_angular_error"].value == pytest.approx(0, abs=1e-9)


def test_angles_are_exact_where_the_cosine_is_not() -> None:
    tiny = 1e-7
    reference = [Labels(forces=np.array([[1.0, 0, 0], [0, 2.0, 0]]))] * 2
    predicted = [Labels(forces=np.array([[1.0, tiny, 0], [0, 2.0, 2 * tiny]]))] * 2
    found = measured(HeldOut(structures(2), reference, ["a", "b"]), predicted)
    assert found["force_angular_error"].value == pytest.approx(np.degrees(tiny), rel=1e-6)


def test_frames_without_forces_do_not_count_as_zero_forces() -> None:
    frames, predicted = random_frames()
    partial = [x if k % 2 else Labels(energy=x.energy) for k, x in enumerate(frames.labels)]
    kept = [k for k in range(12) if k % 2]
    alone = HeldOut(structures(6), [frames.labels[k] for k in kept], [frames.segments[k] for k in kept])
    mixed = measured(HeldOut(frames.structures, partial, frames.segments), predicted)
    assert mixed["force_rmse"].value == pytest.approx(measured(alone, [predicted[k] for k in kept])["force_rmse"].value)
    assert mixed["force_rmse"].detail["n_values"] == 36


def test_without_any_forces_the_force_errors_are_nan() -> None:
    frames = HeldOut(structures(3), [Labels(energy=float(k)) for k in range(3)], ["a", "b", "c"])
    found = measured(frames, [Labels(energy=k + 0.1) for k in range(3)])
    assert np.isnan(found["force_rmse"].value)
    assert np.isnan(found["force_max_error"].value)
    assert found["force_rmse"].ci95 is None
    assert found["energy_mae_per_atom"].value == pytest.approx(0.05)


def test_a_prediction_that_is_not_a_number_is_infinitely_wrong() -> None:
    frames, predicted = random_frames()
    predicted[3] = Labels(energy=float("nan"), forces=np.full((2, 3), np.nan))
    found = measured(frames, predicted)
    assert found["force_rmse"].value == np.inf
    assert found["force_rmse"].ci95 == (np.inf, np.inf)
    assert found["force_r2"].value == -np.inf
    assert found["energy_rmse_per_atom"].value == np.inf
    assert np.isfinite(found["force_angular_error"].value)


def test_one_segment_gives_no_interval() -> None:
    frames, predicted = random_frames()
    found = measured(HeldOut(frames.structures, frames.labels, ["a"] * 12), predicted)
    assert found["force_rmse"].ci95 is None


def cells(n: int) -> list[Structure]:
    return [Structure([1, 8], np.eye(3)[:2], cell=np.eye(3) * 5, pbc=True) for _ in range(n)]


def test_stress_is_compared_where_it_is_labeled() -> None:
    forces = np.ones((2, 3))
    reference = [Labels(0.0, forces, np.eye(3) * 0.1), *[Labels(0.0, forces)] * 2, Labels(0.0, forces, np.eye(3) * 0.2)]
    predicted = [Labels(0.0, forces, np.eye(3) * 0.13)] * 4
    found = measured(HeldOut(cells(4), reference, list("abcd")), predicted)
    assert found["stress_rmse"].value == pytest.approx(np.sqrt((0.03**2 + 0.07**2) / 2 / 3))
    assert found["stress_rmse"].unit == "eV/A^3"
    assert found["stress_error_percent"].value == pytest.approx(100 * np.sqrt((0.03**2 + 0.07**2) / 2) / 0.05)


def test_a_stress_off_by_a_factor_is_off_by_that_many_percent_of_its_spread() -> None:
    rng = np.random.default_rng(3)
    stresses = [0.01 * (x + x.T) for x in rng.normal(size=(12, 3, 3))]
    mean = np.mean(stresses, axis=0)
    forces = np.ones((2, 3))
    reference = [Labels(0.0, forces, stress) for stress in stresses]
    predicted = [Labels(0.0, forces, mean + 1.04 * (stress - mean)) for stress in stresses]
    found = measured(HeldOut(cells(12), reference, [f"s{k // 3}" for k in range(12)]), predicted)[
        "stress_error_percent"
    ]
    assert found.value == pytest.approx(4.0)
    assert found.ci95[0] < 4.0 < found.ci95[1]


def test_a_stress_that_does_not_apply_is_told_from_one_that_is_missing() -> None:
    forces = np.ones((2, 3))
    plain, stressed = [Labels(0.0, forces)] * 2, [Labels(0.0, forces, np.eye(3))] * 2
    cases = [
        (structures(2), plain, plain, "no held-out frame is periodic", False),
        (cells(2), plain, stressed, "no periodic held-out frame carries a stress label", True),
        (cells(2), stressed, plain, "the potential gives no stress", True),
    ]
    for frames, reference, predicted, reason, applies in cases:
        trial = Trial(Recited(predicted), held_out=HeldOut(frames, reference, ["a", "b"]))
        evidence = ForceErrorsPlan(n_resamples=300).measure(trial)
        skipped = [s for s in evidence.skipped if s.check.startswith("stress")]
        assert {s.check: s.applies for s in skipped} == {"stress_rmse": applies, "stress_error_percent": applies}
        assert all(reason in s.reason for s in skipped)
        assert evidence.measurement("stress_rmse") is None


def test_without_held_out_frames_nothing_is_measured_and_nothing_left_out() -> None:
    evidence = ForceErrorsPlan().measure(Trial(Recited([])))
    assert not evidence.measurements
    assert {"force_rmse", "energy_rmse_per_atom", "systems_covered"} <= {s.check for s in evidence.skipped if s.applies}


def test_the_same_seed_gives_the_same_intervals_and_another_one_others() -> None:
    frames, predicted = random_frames()
    parity = compare(Recited(predicted), frames)
    plan = ForceErrorsPlan(n_resamples=300)
    assert plan.summarize(parity, seed=3) == plan.summarize(parity, seed=3)
    assert plan.summarize(parity, seed=3)[0].ci95 != plan.summarize(parity, seed=4)[0].ci95


def test_an_analytic_student_is_off_by_what_was_built_in(held_out, teacher, make_student) -> None:
    evidence = ForceErrorsPlan().measure(Trial(make_student(factor=1.05), held_out=held_out))
    measurements, parity = evidence.measurements, Parity(**evidence.arrays)
    value = {m.name: m.value for m in measurements}
    typical = np.sqrt((parity.reference_forces**2).mean())
    assert value["force_rmse"] == pytest.approx(0.05 * typical)
    assert value["force_angular_error"] == pytest.approx(0, abs=1e-6)


def test_progress_counts_every_frame(held_out, teacher) -> None:
    done: list[int] = []
    compare(teacher, held_out, advance=lambda n=1, *, note="": done.append(n))
    assert sum(done) == len(held_out.structures)


def test_empty_or_mismatched_frames_are_refused() -> None:
    with pytest.raises(DataError, match="no held-out frames"):
        HeldOut([], [], [])
    with pytest.raises(DataError, match="2 structures, 1 labels"):
        HeldOut(structures(2), [Labels(energy=0.0)], ["a", "b"])


def test_an_element_the_student_does_not_cover_is_named() -> None:
    frames = HeldOut(structures(1), [Labels(energy=0.0)], ["a"])
    with pytest.raises(UnsupportedStructureError, match="holds O"):
        ForceErrorsPlan().measure(Trial(morse(depth=1, width=1, distance=1, cutoff=3, elements=[1]), held_out=frames))


def test_the_section_says_how_large_and_where_errors_are() -> None:
    frames, predicted = random_frames(n=40)
    predicted[7] = replace(predicted[7], forces=frames.labels[7].forces + 2.0)
    named = HeldOut(frames.structures, frames.labels, frames.segments, ["<a>"] * 20 + ["b"] * 20)
    evidence = ForceErrorsPlan(n_resamples=300).measure(Trial(Recited(predicted), held_out=named))
    student = StudentReport(1, StudentVerdict("INCONCLUSIVE", ()), {"errors": evidence})
    html = section(Numbered(), "odd & small", student)
    assert "On 14 held-out segments" in html
    assert "&lt;a&gt;" in html
    assert "<a>" not in html
    assert "odd &amp; small" in html
    assert "1 to 3" in html
    assert "<td class=num>7</td><td class=num>2.0" in html
    assert section(Numbered(), "x", replace(student, evidence={})) == ""


def test_a_frame_that_the_potential_refuses_is_infinitely_wrong_and_the_others_count() -> None:
    class Refusing(Recited):
        def predict(self, structures, properties=("energy", "forces")):
            for row, structure in enumerate(structures):
                if structure.positions[0, 0] > 5:
                    raise PredictionError(row, "does not converge")
            return [Labels(0.0, np.zeros((2, 3))) for _ in structures]

    frames = [Structure([1, 1], [[x, 0, 0], [x, 0, 1.0]]) for x in (0.0, 6.0, 1.0)]
    held_out = HeldOut(frames, [Labels(0.1, np.full((2, 3), 0.1))] * 3, ["a", "b", "c"])
    parity = compare(Refusing([]), held_out)
    assert np.isnan(parity.predicted_energies).tolist() == [False, True, False]
    evidence = ForceErrorsPlan(n_resamples=300).measure(Trial(Refusing([]), held_out=held_out))
    assert evidence.measurement("force_rmse").value == np.inf


def test_systems_count_as_covered_only_where_somebody_says_what_was_trained() -> None:
    frames, predicted = random_frames()
    unknown = ForceErrorsPlan(n_resamples=300).measure(Trial(Recited(predicted), held_out=frames))
    assert [s.check for s in unknown.skipped if not s.applies and "trained" in s.reason] == ["systems_covered"]
    known = replace(frames, trained=[*frames.systems, "another"])
    found = ForceErrorsPlan(n_resamples=300).measure(Trial(Recited(predicted), held_out=known))
    assert found.measurement("systems_covered").value < 1
