"""The section on dynamics shows what was measured, says why runs failed, and lets nothing in from outside."""

import re
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.html.markup import Numbered
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.validation.checks.nve.plan import NVEPlan
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.report import StudentReport
from mlff_distiller.validation.report.nve_figure import last_forces
from mlff_distiller.validation.report.sections.nve import drifts, failures, section, stability
from mlff_distiller.validation.trial import Trial
from mlff_distiller.validation.verdict import judge

EVIL = "<script>alert(1)</script>"


class Late(Potential):
    """Another potential that pulls two atoms together once they are further apart than a distance."""

    is_conservative = False
    properties = frozenset({"energy", "forces"})
    identity = Identity("late", "test", "0")

    def __init__(self, inner: Potential) -> None:
        self.inner, self.elements = inner, inner.elements

    def predict(self, structures, properties=("energy", "forces")):
        found = self.inner.predict(structures, properties)
        return [Labels(x.energy, x.forces + _push(s)) for x, s in zip(found, structures, strict=True)]


def _push(structure: Structure) -> np.ndarray:
    push = np.zeros(structure.positions.shape)
    if len(structure) == 5:
        vector = structure.positions[3] - structure.positions[0]
        push[3] = 3e3 * max(np.linalg.norm(vector) - 1.12, 0.0) * vector
    return push


def report(evidence: Evidence) -> StudentReport:
    return StudentReport(1000, judge(list(evidence.measurements), CriteriaPlan()), {"nve": evidence})


@pytest.fixture(scope="module")
def failing(teacher) -> StudentReport:
    """Return a student that runs water well and fails on methane."""
    starts = {"water": [from_ase(molecule("H2O"))], EVIL: [from_ase(molecule("CH4"))]}
    plan = NVEPlan(duration_ps=0.4, record_every=2, temperature_K=1000)
    return report(plan.measure(Trial(Late(teacher), starts, make_teacher=lambda: teacher)))


@pytest.fixture(scope="module")
def healthy(teacher) -> StudentReport:
    starts = {"water": [from_ase(molecule("H2O"))], "methane": [from_ase(molecule("CH4"))]}
    return report(NVEPlan(duration_ps=0.4, record_every=2).measure(Trial(teacher, starts)))


def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html)[1:]
    return [[re.sub(r"<[^>]+>", " ", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]


def test_a_student_without_the_check_has_no_section():
    assert section(Numbered(), "none", StudentReport(1, judge([], CriteriaPlan()))) == ""


def test_a_healthy_student_has_energy_and_stability_and_no_failures(healthy):
    html = section(Numbered(), "tiny", healthy)
    assert "Constant-energy dynamics of tiny" in html
    assert "Energy of tiny" in html
    assert "Stability of tiny" in html
    assert "Failed runs" not in html
    assert "Forces before the failures" not in html
    water, methane = cells(stability(healthy))
    assert water[:4] == ["water", "3", "3 of 3", "0.400"]
    rmsd = healthy.measurement("nve_rmsd").detail["systems"]["methane"]["mean"]
    assert methane[4].startswith(f"{rmsd:.4f}"[:6])
    assert re.search(r"O0-H[12]$", water[5])
    assert water[6] == "0"
    slopes = healthy.measurement("nve_drift").detail["systems"]
    assert [row[0] for row in cells(drifts(healthy))] == list(slopes) == ["water", "methane"]


def test_failed_runs_are_explained(failing):
    found = failing.measurement("nve_stability").detail["failures"]
    assert found
    rows = cells(failures(failing))
    assert len(rows) == len(found)
    for row, failure in zip(rows, found, strict=True):
        assert row[3] == failure["reason"].replace("<", "&lt;")
        assert row[4].startswith(failure["pair"])
        assert row[5].startswith("H3")
        student, teacher = (float(cell.split()[0].replace(",", "")) for cell in row[6:])
        assert student > 5 * teacher
    html = section(Numbered(), "tiny", failing)
    assert "Forces before the failures of tiny" in html
    assert f"{3 - len(found)} of 3" in html


def test_the_last_forces_are_those_of_the_record(failing):
    record = failing.nve
    figure = last_forces("tiny", record)
    line, circles = figure.traces[:2]
    run = record.failed[0]
    largest = np.linalg.norm(record.last_student_forces[:, record.atoms(run)], axis=-1).max(1)
    np.testing.assert_allclose(line["y"], largest[largest > 0], rtol=1e-4)
    assert line["x"][-1] == 0
    assert len(circles["x"]) == 2
    assert last_forces("tiny", replace(record, failures=np.full(len(record.systems), ""))) is None


def test_nothing_from_outside_gets_in(failing):
    evidence = failing.evidence["nve"]
    hostile = Evidence(evidence.measurements, [Skipped("nve_rmsd", EVIL)], evidence.arrays)
    html = section(Numbered(), EVIL, report(hostile))
    assert EVIL not in html
    assert "Not measured: &lt;script&gt;" in html


def test_without_arrays_it_says_what_was_not_measured():
    bare = report(Evidence(skipped=[Skipped("nve_drift", "there was no time")]))
    assert "Not measured: there was no time." in section(Numbered(), "tiny", bare)
