"""The report's section on speed and memory: what was measured is what it shows."""

import numpy as np
import pytest

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking.memory import MemoryPlan, resident_bytes
from mlff_distiller.benchmarking.step_time import StepTimePlan
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.html.markup import Numbered
from mlff_distiller.potentials.analytic import harmonic
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.report.content import StudentReport
from mlff_distiller.validation.report.sections.timing import section
from mlff_distiller.validation.verdict import judge

H2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])


def reported(evidence: dict[str, Evidence]) -> StudentReport:
    measured = [m for found in evidence.values() for m in found.measurements]
    return StudentReport(10, judge(measured, CriteriaPlan()), evidence)


@pytest.fixture(scope="module")
def timing() -> Evidence:
    spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
    memory = MemoryPlan(n_steps=100, n_warmup_steps=10, n_blocks=10)
    plan = StepTimePlan(n_blocks=6, duration_s=0.03, memory=memory)
    return plan.measure(spring, [H2], names=["<H2>"], teacher=spring)


@pytest.mark.skipif(resident_bytes() is None, reason="reads memory where Linux says it")
def test_times_their_distribution_and_memory_are_shown(timing, parsed) -> None:
    page = parsed(section(Numbered(), "ti<ny", reported({"timing": timing})))
    assert "<H2>" in page.text
    assert "ti<ny" in page.text
    assert "P99 (ms)" in page.text
    latencies, memory = page.figure("Distribution"), page.figure("Memory")
    student, teacher = latencies["data"]
    assert student["line"]["dash"] == "solid"
    assert teacher["showlegend"] is False
    assert max(student["x"]) == pytest.approx(
        timing.arrays["step_ms"][timing.arrays["step_potential"] == 0].max(), rel=1e-4
    )
    assert max(student["y"]) == 100.0
    own = timing.arrays["step_ms"][timing.arrays["step_potential"] == 0]
    for x, y in zip(student["x"], student["y"], strict=True):
        assert y / 100 == pytest.approx(np.mean(own >= x * (1 - 1e-4)), abs=0.02)
    line = memory["data"][1]
    assert line["y"] == pytest.approx(timing.arrays["memory_MB"].tolist(), rel=1e-4)
    assert line["x"][-1] == 100


def test_what_was_not_measured_is_said(timing) -> None:
    some = Evidence(timing.measurements, [Skipped("memory_growth", "no <Linux>")])
    html = section(Numbered(), "tiny", reported({"timing": some}))
    assert "Not measured, memory growth: no &lt;Linux&gt;." in html


def test_speeds_of_earlier_releases_are_shown_without_their_distribution(timing) -> None:
    step = timing.measurement("step_time")
    plain = {name: {"median": own["median"], "ci95": own["ci95"]} for name, own in step.detail["systems"].items()}
    old = Evidence([type(step)("step_time", step.value, "ms", step.ci95, 6, {"systems": plain})])
    html = section(Numbered(), "tiny", reported({"timing": old}))
    assert "Time per step of tiny" in html
    assert "<figure>" not in html


def test_without_evidence_there_is_no_section() -> None:
    assert section(Numbered(), "tiny", reported({})) == ""
