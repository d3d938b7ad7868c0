"""The report: offline, escaped, complete, and drawn without an error by a real browser."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlff_distiller.core.errors import DistillerError
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.html import words
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.potentials.analytic import morse
from mlff_distiller.validation.audit.audit import audit
from mlff_distiller.validation.audit.plan import AuditPlan
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.report import ReportData, StudentReport, comparison, worst, write_report
from mlff_distiller.validation.report.page import render
from mlff_distiller.validation.verdict import judge
from mlff_distiller.validation.waivers import Waiver

EVIL = "<script>alert('x')</script>&\""
ORDER = [
    "verdict", "comparison", "asked", "teacher", "dataset", "learning", "errors", "nve", "worst", "timestep",
    "physicality", "visited", "observables", "timing", "checks", "trust", "provenance",
]  # fmt: skip


@pytest.fixture(scope="module")
def html(report_data) -> str:
    return render(report_data)


@pytest.fixture(scope="module")
def page(html, parsed):
    return parsed(html)


def test_nothing_is_loaded_from_anywhere(page) -> None:
    loading = {"src", "srcset", "data", "action", "poster", "background", "href"}
    links = [(tag, k, v) for tag, attributes in page.tags for k, v in attributes.items() if k in loading and v]
    assert links
    assert all(v.startswith("#") for _, _, v in links), links
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "base"}
    policy = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy
    assert policy[0].startswith("default-src 'none'")


def test_plotly_is_inlined_once(html) -> None:
    from plotly.offline import get_plotlyjs

    assert html.count(get_plotlyjs()) == 1
    assert len(html) < 8_000_000


def test_sections_come_in_the_order_a_reader_needs(page) -> None:
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert sections == [name for name in ORDER if name in sections]
    assert {"verdict", "comparison", "worst", "timing", "checks", "trust", "provenance"} <= set(sections)
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert [f"#{name}" for name in sections] == [link for link in links if link[1:] in sections]


def test_figures_and_tables_are_numbered_without_a_gap(page) -> None:
    for kind in ("Figure", "Table"):
        numbers = [int(n) for n in re.findall(rf"\b{kind} (\d+)\.", page.text)]
        assert numbers == list(range(1, len(numbers) + 1))


def test_figures_are_valid_for_plotly_and_have_axis_titles(page) -> None:
    import plotly.graph_objects as go

    for figure in page.figures:
        for shown in figure.get("choices", [figure]):
            layout = {**figure["layout"], **shown.get("layout", {})}
            go.Figure({"data": shown["data"], "layout": layout})
            titles = [axis["title"]["text"] for key, axis in layout.items() if "axis" in key]
            assert "scene" in layout or any(titles), titles


def test_the_verdict_comes_first_with_every_student_and_number(page, report_data) -> None:
    first = page.text.split("Comparison", 2)[1]
    for name, student in report_data.students.items():
        assert name in first
        assert f"{student.n_parameters:,} parameters" in first
        assert student.verdict.verdict.replace("_", " ") in first
        for check in student.verdict.reasons:
            assert squeezed(check.settle) in squeezed(first)
    assert "≤ 0.2" in first
    assert "thermostatted runs only" in first
    assert "The verdict stays as it is." in first


def squeezed(text: str) -> str:
    """Return a text without spaces and marks of code."""
    return re.sub(r"[\s`]", "", text)


def test_a_waiver_is_shown_and_turns_nothing(report_data, parsed) -> None:
    student = report_data.students["leaky"]
    waived = [
        Waiver(check=check.name, reason="we do not mind", signed="A. Chemist") for check in student.verdict.checks
    ]
    verdict = judge(student.measurements, CriteriaPlan(), waivers=waived)
    text = parsed(render(replace(report_data, students={"leaky": replace(student, verdict=verdict)}))).text
    assert "leaky is rejected" in " ".join(text.split())
    assert text.count("we do not mind") == len(waived)
    of_another = Waiver(check="nve_drift", reason="for somebody else", signed="A. Chemist", student="tiny")
    verdict = judge(student.measurements, CriteriaPlan(), waivers=[of_another])
    assert "somebody else" not in render(replace(report_data, students={"leaky": replace(student, verdict=verdict)}))


def test_a_check_that_does_not_apply_is_listed_with_its_reason(report_data, parsed) -> None:
    skipped = [Skipped("stress_error_percent", "none is periodic <here>", applies=False)]
    verdict = judge([], CriteriaPlan(), skipped=skipped)
    text = parsed(render(replace(report_data, students={"s": StudentReport(1, verdict)}))).text
    assert "does not apply" in text
    assert "Stress error: none is periodic <here>." in text


def test_the_comparison_places_students_and_teacher(report_data) -> None:
    figure = comparison.pareto(report_data)
    points = {trace["text"][0].strip(): trace for trace in figure.traces if "text" in trace}
    assert set(points) == set(report_data.students)
    for name, student in report_data.students.items():
        assert points[name]["x"][0] == pytest.approx(student.measurement("step_time").value, rel=1e-4)
        assert points[name]["y"][0] == pytest.approx(student.measurement("force_rmse").value, rel=1e-4)
    looks = {(points[name]["marker"]["color"], points[name]["marker"]["symbol"]) for name in ("tiny", "leaky")}
    assert len({color for color, _ in looks}) == len({symbol for _, symbol in looks}) == 2
    teacher = next(trace for trace in figure.traces if "teacher" in trace.get("name", ""))
    time = report_data.students["tiny"].measurement("teacher_step_time").value
    assert teacher["x"][0] == pytest.approx(time, rel=1e-4)
    assert "not an error" in figure.caption


def test_the_front_joins_what_nothing_else_beats(report_data) -> None:
    at = {"slow": (4.0, 0.01), "fast": (1.0, 0.1), "beaten": (5.0, 0.1), "middle": (2.0, 0.05)}
    students = {
        name: StudentReport(1, judge([], CriteriaPlan()), {"errors": Evidence(placed(*place))})
        for name, place in at.items()
    }
    bad = placed(0.1, 9.0)
    students["rejected"] = StudentReport(
        1, judge([replace(bad[1], ci95=(8.0, 10.0))], CriteriaPlan()), {"errors": Evidence(bad)}
    )
    figure = comparison.pareto(replace(report_data, students=students))
    front = next(trace for trace in figure.traces if trace["mode"] == "lines")
    assert front["x"] == [1.0, 2.0, 4.0]
    assert front["y"] == [0.1, 0.05, 0.01]
    assert comparison.pareto(replace(report_data, students={"s": StudentReport(1, judge([], CriteriaPlan()))})) is None


def test_names_in_the_comparison_do_not_run_out_of_it_or_into_each_other(report_data) -> None:
    at = {"left": (1.0, 0.1), "right": (9.0, 0.012), "neighbor": (8.0, 0.01)}
    students = {
        name: StudentReport(1, judge([], CriteriaPlan()), {"errors": Evidence(placed(*place))})
        for name, place in at.items()
    }
    figure = comparison.pareto(replace(report_data, students=students))
    sides = {trace["text"][0].strip(): trace["textposition"] for trace in figure.traces if "text" in trace}
    assert sides == {"left": "top right", "right": "top left", "neighbor": "bottom left"}
    assert "not an error" not in figure.caption  # nobody timed the teacher


def placed(time: float, error: float) -> list[Measurement]:
    return [Measurement("step_time", time, "ms"), Measurement("force_rmse", error, "eV/A")]


def test_the_worst_frames_show_student_minus_teacher(report_data) -> None:
    student = report_data.students["tiny"]
    sights, parity = worst.sights({"tiny": student}), student.parity
    frame = int(np.argmax(parity.frame_force_rmse))
    assert len([sight for sight in sights if "held-out" in sight.what]) == 3
    assert sights[0].what == f"{parity.systems[frame]}, held-out frame {frame}"
    own = parity.atom_frames == frame
    line, cone = sights[0].choice.traces[-2:]
    starts, tips = (np.stack([line[k] for k in "xyz"], axis=1)[first::3].astype(float) for first in (0, 1))
    arrows = tips - starts
    errors = (parity.predicted_forces - parity.reference_forces)[own]
    atoms = [int(np.linalg.norm(parity.positions[own] - start, axis=1).argmin()) for start in starts]
    directions = [errors[atom] / np.linalg.norm(errors[atom]) for atom in atoms]
    np.testing.assert_allclose(arrows / np.linalg.norm(arrows, axis=1)[:, None], directions, atol=2e-3)
    assert len(cone["u"]) == len(starts)


def failing(**more) -> StudentReport:
    """Return a student one of whose two runs failed."""
    path = np.zeros((3, 5, 3))
    path[:, :, 0] = np.arange(5) * 1.1
    path[2, 3] += [0.0, 0.5, 0.0]
    path[2, :2] = np.nan  # the other run ended before
    arrays = {
        "systems": np.array(["a", EVIL]),
        "failures": np.array(["", f"two atoms met {EVIL}"]),
        "survived_ps": np.array([1.0, 0.25]),
        "times_ps": np.array([0.0, 0.25]),
        **{key: np.zeros((2, 2)) for key in ("potential_energy", "kinetic_energy", "temperatures_K")},
        "n_atoms": np.array([2, 3]),
        "numbers": np.array([1, 1, 8, 1, 1]),
        "last_times_ps": np.array([[0.1, 0.1], [0.2, 0.2], [np.nan, 0.25]]),
        "last_positions": path,
        "cells": np.zeros((2, 3, 3)),
        "pbc": np.zeros((2, 3), dtype=bool),
        "charges": np.zeros(2, dtype=int),
        "spins": np.ones(2, dtype=int),
        "failure_atoms": np.array([[-1, -1], [0, 1]]),
        **more,
    }
    return StudentReport(1, judge([], CriteriaPlan()), {"mine": Evidence(), "nve": Evidence(arrays=arrays)})


def test_a_failed_run_shows_how_its_atoms_moved_at_the_end() -> None:
    (sight,) = worst.sights({"s": failing()})
    assert "failed after 0.250" in sight.size
    assert EVIL not in "".join([sight.what, sight.why, sight.choice.label, sight.choice.text])
    rings, line, cone = sight.choice.traces[-3:]
    assert rings["x"] == pytest.approx([2.2, 3.3])
    assert line["x"][0] == pytest.approx(3.3)
    assert cone["v"][0] > 0
    assert cone["u"] == [0.0]


def test_a_failed_run_shows_student_minus_teacher_where_the_teacher_was_asked() -> None:
    forces = np.zeros((3, 5, 3))
    forces[2, 2] = [0.0, 0.0, 2.0]
    known = failing(last_student_forces=forces, last_teacher_forces=np.zeros_like(forces))
    (sight,) = worst.sights({"s": known})
    line, cone = sight.choice.traces[-2:]
    assert "student minus teacher" in sight.choice.text
    assert line["x"][0] == pytest.approx(2.2)
    assert cone["u"] == cone["v"] == [0.0]
    assert cone["w"][0] > 0


def test_a_teacher_that_was_not_audited_is_said_to_be_unknown(page) -> None:
    assert "The teacher was not audited" in page.text


def test_the_floor_of_the_teacher_stands_beside_the_errors_of_its_students(report_data, parsed, starts) -> None:
    teacher = morse(depth=1.0, width=1.5, distance=1.3, cutoff=6.0)
    result = audit(teacher, list(starts.values()), AuditPlan(duration_ps=0.03, n_directions=2, n_loops=1))
    floor = replace(result.floor, value=0.0123, ci95=(0.0111, 0.0135))
    sentence = replace(result.themes[0], sentence=EVIL)
    shown = replace(result, floor=floor, themes=(sentence, *result.themes[1:]))
    html = render(replace(report_data, audit=shown))
    assert EVIL not in html
    assert '<table class="prose">' in html  # sentences are wrapped instead of running out of the page
    assert "td:last-child:not(.num) { min-width: 9rem; white-space: normal; }" in html
    text = " ".join(parsed(html).text.split())
    head, rest = text.split("What was asked", 2)[-1], text
    assert "Error floor of the teacher no student that follows its energies comes closer 0.0123" in rest
    assert "No student that follows this teacher's energies can come closer to its forces than 0.012" in head
    error = report_data.students["tiny"].measurement("force_rmse").value
    assert f"student tiny , force RMSE {words.number(error)}" in text
    for theme in result.themes:
        assert theme.title in text
    assert "no structure of this recipe is periodic" in text
    assert "not run" in text


def test_failed_runs_are_listed_with_their_reason(page, report_data) -> None:
    failures = report_data.students["leaky"].measurement("nve_duration").detail["failures"]
    assert failures
    assert failures[0]["reason"] in page.text


def test_the_recipe_is_shown_as_written(page, report_data) -> None:
    assert report_data.recipe_yaml.strip() in page.text


def test_plain_words_name_domain_teacher_and_reasons(page) -> None:
    assert "H, C and O" in page.text
    assert "sampled at 300 and 600" in page.text
    assert "not against experiment" in page.text
    assert "leaky is rejected" in " ".join(page.text.split())


def hostile(student: StudentReport, names: list[str]) -> StudentReport:
    """Return a student whose systems, reasons and numbers are called something evil, everywhere alike."""

    def evil(value):
        if isinstance(value, str):
            return re.sub("|".join(names), lambda found: EVIL + found[0], value)
        if isinstance(value, dict):
            return {evil(key): evil(inner) for key, inner in value.items()}
        return [evil(inner) for inner in value] if isinstance(value, list | tuple) else value

    def arrays(found: Evidence):
        texts = {key: array for key, array in found.arrays.items() if array.dtype.kind == "U"}
        return {**found.arrays, **{key: np.array(evil(array.tolist()), dtype=str) for key, array in texts.items()}}

    found = {
        name: Evidence(
            [*(replace(m, detail=evil(m.detail)) for m in own.measurements), Measurement(f"{EVIL}{name}", 1.0, EVIL)],
            [*own.skipped, Skipped("nve_drift" if name == "nve" else EVIL + name, EVIL)],
            arrays(own),
        )
        for name, own in student.evidence.items()
    }
    measured = [m for own in found.values() for m in own.measurements]
    waiver = Waiver(check="nve_drift", reason=EVIL, signed=EVIL, date=EVIL)
    return replace(student, evidence=found, verdict=judge(measured, CriteriaPlan(), waivers=[waiver]))


def test_everything_from_outside_is_escaped(report_data, starts) -> None:
    student = hostile(report_data.students["leaky"], [*starts, "spread", "pair"])
    dataset = {**report_data.dataset, "systems": {EVIL: {"formula": EVIL, "n_atoms": 1, "charge": 0, "n_frames": {}}}}
    recipe = {EVIL: EVIL, "list": [{EVIL: [EVIL]}]}
    data = ReportData(EVIL, EVIL, recipe, EVIL, dataset, {EVIL: student}, {EVIL: 2}, {EVIL: {EVIL: EVIL}})
    html = render(data)
    assert EVIL not in html
    assert "<script>alert" not in html
    alone = render(replace(report_data, students={"leaky": report_data.students["leaky"]}))
    assert html.count("<script") == alone.count("<script")


def test_an_undecided_student_is_told_what_would_settle_it(report_data, parsed) -> None:
    measured = [
        Measurement("force_rmse", 0.19, "eV/A", (0.1, 0.3), 4),
        Measurement("force_mae", 0.05, "eV/A", None, 1),
        Measurement("nve_drift_percent", 0.9, "%", (0.0, 3.0), 3),
        Measurement("nve_duration", 2.0, "ps", None, 3, {"censored": True}),
        Measurement("force_r2", float("nan"), ""),
    ]
    verdict = judge(measured, CriteriaPlan(), skipped=[Skipped("force_residual", "it was in a hurry")])
    student = StudentReport(7, verdict, {"errors": Evidence(measured)})
    text = " ".join(parsed(render(replace(report_data, students={"s": student}))).text.split())
    for check in verdict.reasons:
        assert check.settle
        assert squeezed(check.settle) in squeezed(text)
    assert "lies on both sides of ≤ 0.2" in text
    assert "it was in a hurry" in text


def test_a_report_of_almost_nothing_is_still_a_page(parsed) -> None:
    page = parsed(render(ReportData("empty", "xtb", {}, "", {}, {"s": StudentReport(1, judge([], CriteriaPlan()))})))
    assert page.figures == []
    assert "INCONCLUSIVE" in page.text
    assert "There is no training log" in page.text
    assert "This was not measured, and the verdict depends on it." in page.text


def test_what_was_not_trained_here_is_reported_too(report_data, parsed) -> None:
    student = replace(report_data.students["tiny"], n_parameters=None, history=())
    page = parsed(render(ReportData("mine", "", {}, "", {}, {"EMT": student})))
    assert "1 force field validated without a teacher" in " ".join(page.text.split())
    for said in (
        "There is no recipe",
        "There was no teacher",
        "no labeled data",
        "nothing was trained",
        "hang together",
    ):
        assert said in page.text
    assert "distilled" not in page.text
    assert "77,203" not in page.text
    with_data = parsed(render(replace(report_data, students={"EMT": student})))
    assert "What it was trained on is not known here" in with_data.text
    assert "student force field" not in with_data.text


def test_many_students_fit(report_data, parsed) -> None:
    student = report_data.students["tiny"]
    page = parsed(render(replace(report_data, students={f"s{k}": student for k in range(9)})))
    assert all(f"s{k}" in page.text for k in range(9))
    for figure in page.figures:
        domains = [axis["domain"] for key, axis in figure["layout"].items() if "axis" in key and "domain" in axis]
        assert all(0 <= low < high <= 1 for low, high in domains)


def test_writing_is_atomic_and_a_folder_that_cannot_be_written_is_explained(tmp_path: Path, report_data) -> None:
    write_report(tmp_path / "report.html", report_data)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(DistillerError, match="cannot write"):
        write_report(tmp_path / "file" / "report.html", report_data)
