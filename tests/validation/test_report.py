"""The report: offline, escaped, complete, and drawn without an error by a real browser."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlff_distiller.core.errors import DistillerError
from mlff_distiller.core.html import words
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.potentials.analytic import morse
from mlff_distiller.validation.audit.audit import audit
from mlff_distiller.validation.audit.plan import AuditPlan
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.report import ReportData, StudentReport, write_report
from mlff_distiller.validation.report.page import render
from mlff_distiller.validation.verdict import judge

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = "<script>alert('x')</script>&\""


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
    assert sections == [
        "verdict", "asked", "teacher", "data" + "set", "learning", "accuracy", "dynamics", "checks", "speed", "trust",
        "provenance",
    ]  # fmt: skip


def test_figures_and_tables_are_numbered_without_a_gap(page) -> None:
    for kind in ("Figure", "Table"):
        numbers = [int(n) for n in re.findall(rf"\b{kind} (\d+)\.", page.text)]
        assert numbers == list(range(1, len(numbers) + 1))
    assert len(page.figures) == 9  # labels, learning, parity and dynamics of three students, speed


def test_figures_are_valid_for_plotly_and_have_axis_titles(page) -> None:
    import plotly.graph_objects as go

    for figure in page.figures:
        go.Figure(figure)
        titles = [axis["title"]["text"] for key, axis in figure["layout"].items() if "axis" in key]
        assert any("(" in title or title == "Epoch" for title in titles), titles


def test_parity_and_energy_traces_show_the_numbers(page, report_data) -> None:
    cloud = next(t for f in page.figures for t in f["data"] if "colorscale" in t.get("marker", {}))
    parity = report_data.students["tiny"].parity
    pairs = np.column_stack([parity.reference_forces.ravel(), parity.predicted_forces.ravel()])
    drawn = np.column_stack([cloud["x"], cloud["y"]])
    assert len(drawn) == 4000
    nearest = np.abs(pairs[None, :, :] - drawn[:50, None, :]).sum(-1).min(1)
    assert nearest.max() < 2e-3


def test_the_verdict_table_shows_every_student_and_number(page, report_data) -> None:
    for name, student in report_data.students.items():
        assert name in page.text
        assert f"{student.n_parameters:,} parameters" in page.text
        assert student.verdict.verdict.replace("_", " ") in page.text
    assert "≤ 0.2" in page.text
    assert "Shortest NVE run survived" in page.text


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
    assert "table.prose td:last-child { white-space: normal; }" in html
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
    assert "leaky is rejected" in page.text


def test_everything_from_outside_is_escaped(report_data) -> None:
    student = report_data.students["leaky"]
    measurements = [*student.measurements, Measurement(EVIL, 1.0, EVIL)]
    hostile = replace(student, verdict=judge(measurements, CriteriaPlan()), measurements=measurements)
    systems = np.array([f"{EVIL}{s}" for s in student.nve.systems])
    failures = np.array([EVIL for _ in student.nve.failures])
    hostile = replace(hostile, nve=replace(student.nve, systems=systems, failures=failures))
    hostile = replace(hostile, parity=replace(student.parity, systems=np.array([EVIL] * len(student.parity.systems))))
    dataset = {**report_data.dataset, "systems": {EVIL: {"formula": EVIL, "n_atoms": 1, "charge": 0, "n_frames": {}}}}
    data = ReportData(
        EVIL,
        EVIL,
        {EVIL: EVIL, "list": [{EVIL: [EVIL]}]},
        EVIL,
        dataset,
        {EVIL: hostile},
        {EVIL: 2},
        {EVIL: {EVIL: EVIL}},
    )
    html = render(data)
    assert EVIL not in html
    assert "<script>alert" not in html
    assert html.count("<script") == render(report_data).count("<script") - 2 * 2  # two students fewer, two figures each


def test_an_undecided_student_is_told_what_would_settle_it(report_data, parsed) -> None:
    student = report_data.students["tiny"]
    cases = {
        "force_rmse": (Measurement("force_rmse", 0.19, "eV/A", (0.1, 0.3), 4), "more held-out trajectory segments"),
        "force_mae": (Measurement("force_mae", 0.05, "eV/A", None, 1), "one sample gives no interval"),
        "nve_drift_percent": (
            Measurement("nve_drift_percent", 0.9, "%", (0.0, 3.0), 3),
            "more replicas or a longer run",
        ),
        "nve_duration": (Measurement("nve_duration", 2.0, "ps", None, 3, {"censored": True}), "too short"),
        "force_r2": (Measurement("force_r2", float("nan"), ""), "could not be evaluated"),
    }
    measurements = [m for m, _ in cases.values()]
    undecided = StudentReport(7, judge(measurements, CriteriaPlan()), measurements, [], student.parity)
    text = parsed(render(replace(report_data, students={"s": undecided}))).text
    for _, said in cases.values():
        assert said in text
    assert "Energy RMSE was not measured" in text


def test_a_report_of_almost_nothing_is_still_a_page(parsed) -> None:
    page = parsed(render(ReportData("empty", "xtb", {}, "", {}, {"s": StudentReport(1, judge([], CriteriaPlan()))})))
    assert page.figures == []
    assert "INCONCLUSIVE" in page.text
    assert "There is no training log." in page.text


def test_many_systems_and_students_fit(report_data, parsed) -> None:
    student = report_data.students["tiny"]
    rows = [replace(student.nve, systems=np.char.add(student.nve.systems, str(k))) for k in range(2)]
    joined = {
        key: np.concatenate([getattr(r, key) for r in rows], axis=-1) for key in vars(rows[0]) if key != "times_ps"
    }
    twice = replace(student, nve=replace(student.nve, **joined))
    page = parsed(render(replace(report_data, students={f"s{k}": twice for k in range(3)})))
    assert len(page.figures) == 3 + 2 * 3
    dynamics = next(f for f in page.figures if "yaxis16" in f["layout"])
    domains = [dynamics["layout"][f"yaxis{k or ''}"]["domain"] for k in ["", *range(2, 17)]]
    assert all(0 <= low < high <= 1 for low, high in domains)


def test_writing_is_atomic_and_a_folder_that_cannot_be_written_is_explained(tmp_path: Path, report_data) -> None:
    write_report(tmp_path / "report.html", report_data)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(DistillerError, match="cannot write"):
        write_report(tmp_path / "file" / "report.html", report_data)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_draws_every_figure_without_an_error(tmp_path: Path, html: str, page) -> None:
    path = tmp_path / "report.html"
    path.write_text(html, encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --virtual-time-budget=20000 --enable-logging=stderr --dump-dom"
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    body = re.search(r"<body[^>]*>", done.stdout)[0]
    assert f'data-figures="{len(page.figures)}"' in body
    assert 'data-errors="0"' in body
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert done.stdout.count('class="main-svg"') >= len(page.figures)
    assert "Share chart" not in re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)
