"""The section of the report: every number and figure that there is evidence for, and nothing that is not escaped."""

import json
import re

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.html.markup import Numbered
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.potentials.analytic import lennard_jones
from mlff_distiller.validation.checks.observables import ObservablesPlan
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.observables.measures import NAMES
from mlff_distiller.validation.report import StudentReport
from mlff_distiller.validation.report.sections.observables import said, section
from mlff_distiller.validation.trial import Trial
from mlff_distiller.validation.verdict import judge


@pytest.fixture(scope="module")
def shown(springs, warm, plan):
    found = plan.measure(
        Trial(springs(1.1, 0.02), {"<water>": warm["water"], "ethanol": warm["ethanol"]}, make_teacher=springs)
    )
    return section(Numbered(), "<tiny>", student(found))


def student(found: Evidence) -> StudentReport:
    return StudentReport(1, judge(found.measurements, CriteriaPlan(), skipped=found.skipped), {"observables": found})


def figures(html: str) -> list[dict]:
    return [json.loads(text) for text in re.findall(r'data-figure="[^"]*">(.*?)</script>', html)]


def test_figures_show_teacher_and_student_side_by_side(shown):
    titles = re.findall(r"<figcaption><b>Figure \d+\. (.*?)</b>", shown)
    assert [title.split(" of ")[0] for title in titles] == [
        "Bond lengths",
        "Bond angles",
        "Dihedral angles",
        "Vibrational density",
        "Harmonic frequencies",
        "Torsion profiles",
    ]
    bonds = figures(shown)[0]["data"]
    kinds = 3  # O-H, C-H, C-C, O-C
    assert len(bonds) == 3 * (kinds + 1)
    low, high, mean = (np.array(trace["y"], dtype=float) for trace in bonds[:3])
    assert (low <= high).all()
    assert mean.sum() > 0


def test_names_from_outside_are_escaped(shown):
    text = re.sub(r"<script.*?</script>", "", shown, flags=re.S)
    assert "<tiny>" not in text
    assert "<water>" not in text
    assert "&lt;tiny&gt;" in text


def test_what_was_not_measured_is_said(shown):
    assert "Not measured, Dimer curves" in shown
    assert "Radial" not in shown  # does not apply to molecules, so nothing is missing


def test_a_solid_shows_its_own_figures():
    crystal = from_ase(ase.build.bulk("Ar", "fcc", a=5.3, cubic=True))
    teacher, potential = (lennard_jones(epsilon=e, sigma=3.4, cutoff=8.0) for e in (0.0104, 0.0108))
    plan = ObservablesPlan(duration_ps=0.2, timestep_fs=2.0, temperature_K=20.0, record_every=2, frame_every=10)
    html = section(
        Numbered(), "lj", student(plan.measure(Trial(potential, {"argon": [crystal]}, make_teacher=lambda: teacher)))
    )
    for title in ("Radial distribution functions", "Equations of state", "Dimer curves", "Bulk modulus"):
        assert title in html


def test_no_evidence_no_section():
    assert section(Numbered(), "tiny", StudentReport(1, judge([], CriteriaPlan()), {})) == ""


def test_a_check_without_a_teacher_says_why():
    found = Evidence(skipped=[Skipped(name, "there is no teacher to compare with") for name in NAMES])
    html = section(Numbered(), "tiny", student(found))
    assert html.count("there is no teacher") == len(NAMES)


@pytest.mark.parametrize(
    ("value", "ci95", "expected"),
    [
        (1.1, (0.7, 1.6), "as far from the teacher as two of its own runs"),
        (3.0, (2.0, 4.5), "not chance"),
        (0.7, (0.5, 0.9), "closer to the teacher"),
        (2.0, None, "too few runs"),
        (float("inf"), (float("inf"), float("inf")), "failed"),
    ],
)
def test_ratios_are_said_in_plain_words(value, ci95, expected):
    assert expected in said(Measurement("vdos", value, "", ci95))
