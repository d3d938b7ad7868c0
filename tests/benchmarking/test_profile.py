"""Profiles: parts add up to the step, a planted cost is found where it was planted, and nothing is left behind."""

import gc
import json
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import ase.build
import numpy as np
import pytest
import torch

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.graph import Graph
from mlff_distiller.benchmarking.backends import ready
from mlff_distiller.benchmarking.kernel_parts import kernel_parts
from mlff_distiller.benchmarking.places import FOUND_ANEW, STEP, places_of
from mlff_distiller.benchmarking.profile import INTERRUPTED, UNKNOWN, Profile, ProfilePlan, _outliers
from mlff_distiller.benchmarking.profile_page import profile_page
from mlff_distiller.benchmarking.spans import GARBAGE, Place, Recorder, Span, chrome_trace, parts
from mlff_distiller.benchmarking.trajectory import Trajectory
from mlff_distiller.potentials import derivatives, graph_potential
from mlff_distiller.potentials.analytic import harmonic
from mlff_distiller.students.backends import kernel
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.student import Student

WATER = from_ase(ase.build.molecule("H2O"))
BRIEF = ProfilePlan(n_steps=60, n_watched_steps=30, n_memory_steps=5, n_operator_steps=2, timestep_fs=0.2)


def student(backend: str) -> StudentPotential:
    torch.manual_seed(0)
    plan = PaiNNPlan(preset="ultra-tiny", n_layers=2, repulsion="none")
    return ready(Student(plan, {1: -13.6, 8: -2040.0}), backend, 1)


@pytest.fixture(scope="module", params=["kernel", "eager"])
def profiled(request) -> Profile:
    return BRIEF.measure(student(request.param), WATER, system="<water>")


def test_parts_add_up_to_the_step(profiled) -> None:
    labels = {part.label for part in profiled.parts}
    assert {STEP, "neighbor list: from the kept one", "conversion from ASE", "conversion to labels"} <= labels
    inside = "kernel: compiled network, forward and backward"
    assert (inside if profiled.backend == "kernel" else "network: messages (forward)") in labels
    whole = sum(part.mean_ms for part in profiled.parts)
    spans = [span for span in profiled.spans if span.label == STEP]
    assert len(spans) == 30
    inner = 1e3 * np.mean([span.end - span.begin for span in spans])
    assert inner <= whole <= 2.0 * inner  # garbage and ASE's look at the results come beside it
    messages = next((part for part in profiled.parts if part.label == "network: messages (forward)"), None)
    assert messages is None or messages.calls == 2.0


def test_what_evaluates_is_looked_into(profiled) -> None:
    if profiled.backend == "kernel":
        assert profiled.operators is None
        assert sum(profiled.kernel.parts_ms.values()) == pytest.approx(profiled.kernel.whole_ms, rel=0.8)
        return
    assert profiled.kernel is None
    rows = {row.name: row for row in profiled.operators.rows}
    assert rows["aten::mm"].n_calls >= 1
    assert rows["aten::mm"].cpu_ms > 0
    assert profiled.operators.peak_device_MB is None


def test_the_trace_is_what_a_viewer_reads(profiled) -> None:
    trace = json.loads(json.dumps(profiled.trace(), allow_nan=False))
    assert set(trace) == {"traceEvents", "displayTimeUnit"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    for event in trace["traceEvents"]:
        assert event["ph"] in ("X", "M")
        assert isinstance(event["name"], str)
        assert all(isinstance(event[key], int) for key in ("pid", "tid"))
        if event["ph"] == "X":
            assert event["ts"] >= 0
            assert event["dur"] >= 0
            assert event["cat"]
        else:
            assert event["name"] in ("process_name", "thread_name")
            assert event["args"]["name"]
    own = [e for e in trace["traceEvents"] if e["ph"] == "X" and e["tid"] == 1]
    _demand_nesting(own)
    threads = {e["tid"] for e in trace["traceEvents"]}
    assert (threads == {1}) == (profiled.backend == "kernel")


def _demand_nesting(events: list[dict]) -> None:
    """Demand that spans of one thread lie inside each other or apart, or a viewer draws them over each other."""
    open_ends: list[float] = []
    for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
        while open_ends and open_ends[-1] <= event["ts"] + 1e-3:
            open_ends.pop()
        end = event["ts"] + event["dur"]
        assert not open_ends or end <= open_ends[-1] + 2e-3
        open_ends.append(end)


def test_the_page_shows_parts_pace_and_memory(profiled, parsed) -> None:
    page = parsed(profile_page(profiled))
    assert "<water>" in page.text
    bars = page.figure("Parts of a step")["data"][0]
    assert len(bars["x"]) == len(profiled.parts)
    assert len(page.figure("Time of each step")["data"][0]["y"]) == 60
    inside = "Inside the compiled kernel" if profiled.backend == "kernel" else "Operators of torch"
    assert inside in page.text


def test_steps_and_allocations_are_counted(profiled) -> None:
    assert profiled.step_ms.shape == (60,)
    assert profiled.summary["p99"] >= profiled.summary["p95"] >= profiled.summary["median"] > 0
    assert len(profiled.memory_MB) == len(profiled.memory_steps) == 60
    assert (profiled.allocation.peak_kB > 0).all()
    assert not tracemalloc.is_tracing()


def test_a_planted_cost_is_found_where_it_was_planted(monkeypatch) -> None:
    labels = graph_potential._labels

    def slow(*arguments):
        end = time.perf_counter() + 5e-3
        while time.perf_counter() < end:
            pass
        return labels(*arguments)

    monkeypatch.setattr(graph_potential, "_labels", slow)
    found = BRIEF.measure(student("kernel"), WATER)
    assert found.parts[0].label == "conversion to labels"
    assert found.parts[0].typical_ms > 4.9 > found.parts[1].typical_ms


def _fail_while_watched(run, potential) -> None:
    with suppress(RuntimeError), Recorder(places_of(run, potential)):
        run.run(3)
        raise RuntimeError


def test_nothing_is_left_behind() -> None:
    potential = student("kernel")
    run = Trajectory(potential, WATER)
    run.run(2)  # what is made at the first call is there
    owners = [place.owner for place in places_of(run, potential)]
    before = [dict(vars(owner)) for owner in owners]
    callbacks = list(gc.callbacks)
    _fail_while_watched(run, potential)
    kernel_parts(
        potential.choice.backend, Graph.from_structures([WATER], potential.cutoff, dtype=torch.float32), n_calls=1
    )
    changing = {"_converted", "results", "atoms", "nsteps", "max_steps", "_covered", "_last_order", "_parameters"}
    for owner, was in zip(owners, before, strict=True):
        now = vars(owner)
        assert set(now) <= set(was) | changing
        assert all(now[name] is was[name] for name in was if callable(was[name]) and name not in changing)
    assert gc.callbacks == callbacks
    assert kernel.evaluate.py_func.__name__ == "evaluate"
    assert not hasattr(derivatives._gradient, "__wrapped__")


def test_numbers_are_the_same_while_watched() -> None:
    potential = student("kernel")
    run = Trajectory(potential, WATER)
    plain = potential.predict([WATER])[0]
    with Recorder(places_of(run, potential)) as recorder:
        watched = potential.predict([WATER])[0]
    assert watched.energy == plain.energy
    assert np.array_equal(watched.forces, plain.forces)
    assert recorder.spans


def test_watched_garbage_is_a_span_of_its_own() -> None:
    class Clock:
        def tick(self) -> None:
            gc.collect()

    clock = Clock()
    with Recorder([Place(clock, "tick", "tick"), Place(clock, "missing", "x")]) as recorder:
        clock.tick()
    assert [(span.label, span.parent) for span in recorder.spans] == [("tick", -1), (GARBAGE, 0)]


def test_shares_are_of_the_quicker_half_and_of_all() -> None:
    spans = [Span("step", float(k), k + (0.001 if k < 3 else 0.101), -1) for k in range(4)]
    spans.insert(2, Span("inner", 1.0005, 1.0007, 1))
    (step, inner) = parts(spans, "step")
    assert step.typical_ms == pytest.approx((1.0 + 0.8 + 1.0) / 3)
    assert step.mean_ms == pytest.approx((1.0 + 0.8 + 1.0 + 101) / 4)
    assert inner.calls == 0.25
    assert parts([], "step") == []


def test_outliers_say_what_happened_in_them() -> None:
    times = np.ones(40)
    marks = np.stack([np.arange(40.0), np.arange(40.0) + 0.5], axis=1)
    times[[5, 9, 20, 30]] = 8.0
    switches = np.zeros(40)
    switches[20] = 1
    spans = [Span(FOUND_ANEW, 5.1, 5.2, -1), Span(GARBAGE, 9.1, 9.2, -1), Span(GARBAGE, 12.1, 12.2, -1)]
    found = {outlier.step: outlier.cause for outlier in _outliers(times, switches, marks, spans)}
    assert found == {5: FOUND_ANEW, 9: GARBAGE, 20: INTERRUPTED, 30: UNKNOWN}


def test_any_local_potential_can_be_profiled(tmp_path) -> None:
    found = BRIEF.measure(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), WATER)
    assert found.backend == ""
    assert "evaluation" in {part.label for part in found.parts}
    path = Path(tmp_path) / "trace.json"
    path.write_text(json.dumps(chrome_trace(found.spans, name="spring")))
    assert json.loads(path.read_text())["traceEvents"]
