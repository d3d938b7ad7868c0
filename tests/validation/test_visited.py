"""Errors on frames that the student itself visits: which are taken, how they are labeled, and what follows."""

from dataclasses import replace

import numpy as np
import pytest

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.html.markup import Numbered
from mlff_distiller.potentials.analytic import harmonic
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.checks.errors.plan import ForceErrorsPlan
from mlff_distiller.validation.checks.nve.record import NVERecord
from mlff_distiller.validation.checks.visited import NAMES, VisitedPlan, parity_of, visited_frames
from mlff_distiller.validation.held_out import HeldOut
from mlff_distiller.validation.report.content import StudentReport
from mlff_distiller.validation.report.sections.visited import section
from mlff_distiller.validation.trial import Trial
from mlff_distiller.validation.verdict import StudentVerdict

SYSTEMS = ["a", "a", "b"]
TIMES = np.linspace(0.0, 2.0, 21)
TEACHER = harmonic(stiffness=10.0, distance=1.0, cutoff=4.0)


def record(failures: tuple[str, ...] = ("", "", ""), died_after: int | None = None) -> NVERecord:
    """Two runs of H2 and one of HO, whose bond lengths tell run and time: 1 + 0.01 frame + 0.3 run."""
    lengths = 1.0 + 0.01 * np.arange(21)[:, None] + 0.3 * np.arange(3)
    positions = np.zeros((21, 6, 3))
    positions[:, 1::2, 2] = lengths
    last = positions[-4:].copy()
    last_times = np.repeat(TIMES[-4:, None], 3, axis=1)
    if died_after is not None:
        last[:, 2:4] = positions[died_after - 3 : died_after + 1, 2:4]
        last_times[:, 1] = TIMES[died_after - 3 : died_after + 1]
        positions[died_after:, 2:4] = np.nan
    nothing = np.zeros((21, 3))
    return NVERecord(
        systems=np.array(SYSTEMS),
        n_atoms=np.array([2, 2, 2]),
        times_ps=TIMES,
        potential_energy=nothing,
        kinetic_energy=nothing,
        temperatures_K=nothing,
        survived_ps=np.full(3, 2.0),
        failures=np.array(failures),
        frame_times_ps=TIMES,
        frame_positions=positions,
        last_times_ps=last_times,
        last_positions=last,
        numbers=np.array([1, 1, 1, 1, 1, 8]),
        cells=np.zeros((3, 3, 3)),
        pbc=np.zeros((3, 3), dtype=bool),
        charges=np.array([0, 0, -1]),
        spins=np.array([1, 1, 1]),
    )


def trial(student: Potential, found: NVERecord, teacher: Potential | None = TEACHER, **more: object) -> Trial:
    make = None if teacher is None else lambda: teacher
    return Trial(student, make_teacher=make, found={"nve": Evidence(arrays=vars(found))}, **more)


def bond(frame) -> float:
    return float(frame.structure.positions[1, 2] - frame.structure.positions[0, 2])


def test_frames_are_spread_over_runs_and_time_and_leave_out_the_start() -> None:
    frames = visited_frames(record(), n_per_system=5, n_before_failure=3)
    runs = {run: [frame for frame in frames if frame.run == run] for run in ("a/1", "a/2", "b/1")}
    assert {run: len(own) for run, own in runs.items()} == {"a/1": 3, "a/2": 2, "b/1": 5}
    assert [frame.time_ps for frame in runs["b/1"]] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert [bond(frame) for frame in runs["a/2"]] == pytest.approx([1.4, 1.5])
    assert runs["b/1"][0].structure.charge == -1
    assert runs["b/1"][0].structure.formula == "HO"
    assert not any(frame.before_failure for frame in frames)


def test_of_a_failed_run_the_last_good_frames_are_taken_too_but_not_the_one_it_failed_at() -> None:
    frames = visited_frames(record(("", "exploded", ""), died_after=11), n_per_system=4, n_before_failure=2)
    own = [frame for frame in frames if frame.run == "a/2"]
    assert [frame.before_failure for frame in own] == [False, False, True, True]
    assert [frame.time_ps for frame in own] == pytest.approx([0.5, 1.0, 0.9, 1.0])
    assert max(bond(frame) for frame in own) == pytest.approx(1.3 + 0.01 * 10)


def test_errors_are_those_that_were_built_in() -> None:
    """Springs 5 % too stiff: forces 5 % too large, by an amount that the bond lengths tell."""
    found = VisitedPlan(n_per_system=20).measure(trial(harmonic(stiffness=10.5, distance=1.0, cutoff=4.0), record()))
    stretch = np.concatenate(
        [0.01 * np.arange(2, 21, 2) + 0.3 * run for run in (0, 1)] + [0.01 * np.arange(1, 21) + 0.6]
    )
    value = {m.name: m.value for m in found.measurements}
    assert value["visited_force_rmse"] == pytest.approx(0.5 * np.sqrt((stretch**2).mean() / 3), rel=1e-5)
    assert value["visited_force_max_error"] == pytest.approx(0.5 * stretch.max(), rel=1e-5)
    energy = found.measurement("visited_energy_rmse_per_atom").value
    assert energy == pytest.approx(np.sqrt(((0.125 * stretch**2) ** 2).mean()), rel=1e-5)
    assert found.measurement("visited_force_rmse").n_samples == 3
    assert found.measurement("visited_force_rmse").detail["n_frames"] == 40


def test_the_ratio_to_held_out_frames_is_that_of_the_stretches() -> None:
    """Held out: bonds stretched by 0.1; visited ones are stretched further, and the error grows with them."""
    student = harmonic(stiffness=10.5, distance=1.0, cutoff=4.0)
    near = [record().structure(run, np.array([[0, 0, 0], [0, 0, 1.1]])) for run in (0, 0, 2, 2)]
    held_out = HeldOut(near, TEACHER.predict(near), list("wxyz"), ["a", "a", "b", "b"])
    found = VisitedPlan(n_per_system=20).measure(trial(student, record(), held_out=held_out))
    ratio, rmse = found.measurement("visited_force_ratio"), found.measurement("visited_force_rmse")
    assert ratio.value == pytest.approx(rmse.value / (0.05 / np.sqrt(3)), rel=1e-4)
    assert ratio.ci95[0] < ratio.value < ratio.ci95[1]
    assert ratio.detail["per_system"]["b"] > ratio.detail["per_system"]["a"] > 1


class Choosy(Potential):
    """A teacher that fails for bonds longer than a limit."""

    is_conservative = True
    properties, elements, identity = TEACHER.properties, TEACHER.elements, TEACHER.identity

    def __init__(self, longest: float) -> None:
        self.longest, self.batches = longest, []

    def predict(self, structures, properties=("energy", "forces")) -> list[Labels]:
        self.batches.append(len(structures))
        for index, structure in enumerate(structures):
            if structure.positions[1, 2] > self.longest:
                raise PredictionError(index, "SCF did not converge")
        return TEACHER.predict(structures, properties)


def test_frames_that_the_teacher_cannot_label_are_left_out_and_counted() -> None:
    student = harmonic(stiffness=10.5, distance=1.0, cutoff=4.0)
    teacher = Choosy(longest=1.75)
    found = VisitedPlan(n_per_system=20, chunk_size=10).measure(trial(student, record(), teacher))
    detail = found.measurement("visited_force_rmse").detail
    assert (detail["n_frames"], detail["n_refused"]) == (35, 5)
    assert detail["refusals"][0] == "b/1 at 1.6 ps: SCF did not converge"
    assert max(teacher.batches) == 10
    kept = parity_of(found.arrays)
    assert kept.positions[:, 2].max() <= 1.75
    assert len(found.arrays["times_ps"]) == 35
    alone = visited_frames(record(), n_per_system=20, n_before_failure=0)
    alone = [frame.structure for frame in alone if bond(frame) <= 1.75]
    clean = HeldOut(alone, TEACHER.predict(alone), ["x"] * 35)
    again = ForceErrorsPlan().measure(Trial(student, held_out=clean))
    assert again.measurement("force_rmse").value == pytest.approx(detail_value(found), rel=1e-12)


def detail_value(found: Evidence) -> float:
    return found.measurement("visited_force_rmse").value


def test_errors_before_a_failure_are_told_apart() -> None:
    """A student that is right but for long bonds: the frames before a failure alone are wrong."""
    runs = record(("", "exploded", ""), died_after=15)
    student = harmonic(stiffness=10.0, distance=1.0, cutoff=4.0)

    class Wrong(Choosy):
        def predict(self, structures, properties=("energy", "forces")) -> list[Labels]:
            found = student.predict(structures, properties)
            far = [bool(np.isclose(s.positions[1, 2], [1.42, 1.43, 1.44]).any()) for s in structures]
            return [replace(x, forces=x.forces + 1.0) if wrong else x for x, wrong in zip(found, far, strict=True)]

    found = VisitedPlan(n_per_system=6, n_before_failure=2).measure(trial(Wrong(9.0), runs))
    rmse = found.measurement("visited_force_rmse")
    assert rmse.detail["n_before_failure"] == 2
    assert found.arrays["before_failure"].sum() == 2
    assert rmse.value > 0.3
    assert rmse.detail["rmse_without_failures_eV_per_A"] < rmse.value


@pytest.mark.parametrize(
    ("found", "teacher", "reason"),
    [
        (record(), None, "no teacher"),
        (None, TEACHER, "no frames of constant-energy runs"),
        (record(), Choosy(longest=0.0), "SCF did not converge"),
    ],
)
def test_what_cannot_be_measured_is_missing_not_passed(found, teacher, reason: str) -> None:
    evidence = VisitedPlan().measure(
        Trial(TEACHER, make_teacher=teacher and (lambda: teacher), found={})
        if found is None
        else trial(TEACHER, found, teacher)
    )
    assert not evidence.measurements
    assert [s.check for s in evidence.skipped] == list(NAMES)
    assert all(s.applies and reason in s.reason for s in evidence.skipped)


def test_the_same_seed_gives_the_same_numbers() -> None:
    student = harmonic(stiffness=10.5, distance=1.0, cutoff=4.0)
    one, other = (VisitedPlan(n_per_system=10).measure(trial(student, record(), seed=4)) for _ in range(2))
    assert one.measurements == other.measurements


def reported(evidence: dict[str, Evidence]) -> str:
    return section(Numbered(), "stiff <b>", StudentReport(1, StudentVerdict("INCONCLUSIVE", ()), evidence))


def test_the_section_compares_with_held_out_frames_and_names_what_is_missing() -> None:
    student = harmonic(stiffness=10.5, distance=1.0, cutoff=4.0)
    near = [record().structure(run, np.array([[0, 0, 0], [0, 0, 1.1]])) for run in (0, 0, 2, 2)]
    held_out = HeldOut(near, TEACHER.predict(near), list("wxyz"), ["a", "a", "b", "b"])
    told = trial(student, record(("", "exploded", ""), died_after=11), Choosy(longest=1.7), held_out=held_out)
    errors = ForceErrorsPlan(n_resamples=300).measure(told)
    html = reported({"errors": errors, "visited": VisitedPlan(n_per_system=20).measure(told)})
    assert "stiff &lt;b&gt;" in html
    assert "stiff <b>" not in html
    assert "compared with held-out frames: the ratio is" in html
    assert "just before a run failed" in html
    assert "could not label" in html
    assert "Crosses" in html
    assert html.count("<tr>") == 3
    assert reported({}) == ""
    skipped = Evidence(skipped=[Skipped(name, "there is no teacher <x>") for name in NAMES])
    assert reported({"visited": skipped}) == '<p class="note">Not measured: there is no teacher &lt;x&gt;.</p>'


def test_labeling_that_was_killed_goes_on_where_it_was_and_ends_the_same(tmp_path) -> None:
    """The teacher dies in the third chunk; asked again, it labels what is left, and the journal is gone."""

    class Mortal(Choosy):
        dies = True

        def predict(self, structures, properties=("energy", "forces")) -> list[Labels]:
            if self.dies and len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().predict(structures, properties)

    student, teacher = harmonic(stiffness=10.5, distance=1.0, cutoff=4.0), Mortal(longest=1.75)
    plan = VisitedPlan(n_per_system=20, chunk_size=10)
    with pytest.raises(KeyboardInterrupt):
        plan.measure(trial(student, record(), teacher, folder=tmp_path / "visited"))
    assert len(list((tmp_path / "visited").iterdir())) == 2
    teacher.dies, teacher.batches = False, []
    again = plan.measure(trial(student, record(), teacher, folder=tmp_path / "visited"))
    assert teacher.batches == [10, 10, 9, 8, 7, 6, 5]
    assert not list((tmp_path / "visited").iterdir())
    whole = plan.measure(trial(student, record(), Choosy(longest=1.75)))
    assert again.measurements == whole.measurements
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)
