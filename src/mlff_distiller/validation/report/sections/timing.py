"""The section on speed and memory of one student: time per step, its distribution, and memory over a long run."""

from collections.abc import Iterator
from html import escape
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import Numbered, note, table
from mlff_distiller.core.html.plotting import (
    COLORS,
    FAINT,
    Figure,
    anchored,
    axes_of,
    axis,
    domain,
    key_of,
    layout,
    log_axis,
    rounded,
    thinned,
)
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.report.content import StudentReport

Arrays = dict[str, NDArray[Any]]
Traces = list[dict[str, Any]]

_KINDS: Final = (("student", "solid"), ("teacher", "dot"))
_MOST_POINTS: Final = 120


def section(numbered: Numbered, name: str, student: StudentReport) -> str:
    """Return what is to be said of the speed and the memory of a student; empty where nothing was timed.

    Parameters
    ----------
    numbered : Numbered
        Numbers figures and tables.
    name : str
        Name of the student.
    student : StudentReport
        Its evidence of ``timing``.
    """
    found = student.evidence.get("timing")
    if found is None:
        return ""
    parts = [*_speed(numbered, name, student), *_memory(numbered, name, student)]
    missing = (one for one in found.skipped if one.applies)
    parts += [note(f"Not measured, {escape(one.check.replace('_', ' '))}: {escape(one.reason)}.") for one in missing]
    return "".join(parts)


def _speed(numbered: Numbered, name: str, student: StudentReport) -> Iterator[str]:
    step = student.measurement("step_time")
    if step is None:
        return
    caption = (
        "One step of ASE's velocity Verlet, neighbor list and integrator included. Median with its interval over "
        f"{step.n_samples} blocks; mean and percentiles over single steps; ns/day at "
        f"{words.number(step.detail.get('settings', {}).get('timestep_fs'), 2)} fs. "
        f"{escape(_where(step))}"
    )
    yield numbered.table(f"Time per step of {escape(name)}.", caption, _table(student, step))
    yield numbered.figure(latencies(name, student.arrays("timing")))


def _where(step: Measurement) -> str:
    threads, processor = step.detail.get("torch_threads"), step.detail.get("machine", {}).get("processor")
    return f"{processor or 'Unknown processor'}, {threads} thread(s)." if threads or processor else ""


def _table(student: StudentReport, step: Measurement) -> str:
    teacher, speedup = student.measurement("teacher_step_time"), student.measurement("speedup")
    head = ["System", "Median (ms)", "95 % interval", "Mean (ms)", "P95 (ms)", "P99 (ms)", "ns/day"]
    head += ["Teacher (ms)", "Teacher P99 (ms)", "Times faster"] if teacher else []
    rows = []
    for system, own in step.detail.get("systems", {}).items():
        times = [words.number(own.get(key)) for key in ("mean", "p95", "p99", "ns_per_day")]
        row = [escape(system), words.number(own["median"]), words.interval((own["ci95"][0], own["ci95"][1])), *times]
        if teacher is not None:
            theirs = teacher.detail["systems"].get(system, {})
            ratio = speedup.detail["systems"].get(system, {}).get("median") if speedup else None
            row += [words.number(theirs.get("median")), words.number(theirs.get("p99")), words.number(ratio)]
        rows.append(row)
    return table(head, rows, numeric=range(1, len(head)))


def latencies(name: str, arrays: Arrays) -> Figure | None:
    """Return which share of the steps takes longer than a time, by system; None where single steps are not known."""
    if "step_ms" not in arrays:
        return None
    traces: Traces = []
    for row, (system, color) in enumerate(zip(arrays["step_systems"].tolist(), COLORS, strict=False)):
        for column, (kind, dash) in enumerate(_KINDS):
            own = arrays["step_ms"][(arrays["step_system"] == row) & (arrays["step_potential"] == column)]
            if len(own):
                traces.append(_exceedance(own, f"{system}, {kind}", color, dash, column == 0))
    shape = layout(showlegend=True, margin={"l": 64, "r": 16, "t": 60, "b": 52})
    shape["xaxis"] = log_axis("Time of a step (ms)", [x for trace in traces for x in trace["x"]], anchor="y")
    shape["yaxis"] = log_axis("Steps that take longer (%)", [y for trace in traces for y in trace["y"]], anchor="x")
    caption = (
        f"Share of single steps that take longer than a time, {len(arrays['step_ms']):,} steps in all. A steep line "
        "is an even pace; what runs out to the right are steps in which neighbors were found anew, memory was "
        "tidied up or the machine did something else. Solid: the student; dotted: the teacher."
    )
    return Figure(f"Distribution of the time per step, {escape(name)}.", caption, traces, shape, 360)


def _exceedance(times: NDArray[np.float64], label: str, color: str, dash: str, shown: bool) -> dict[str, Any]:
    ordered = np.sort(times)
    share = 100 * (len(ordered) - np.arange(len(ordered))) / len(ordered)
    last = np.unique(len(ordered) - np.geomspace(1, len(ordered), _MOST_POINTS).round().astype(int))
    return {
        "type": "scatter",
        "mode": "lines",
        "x": rounded(ordered[last]),
        "y": rounded(share[last]),
        "name": escape(label.removesuffix(", student")),
        "showlegend": shown,
        "line": {"color": color, "width": 1.6, "dash": dash},
        "hovertemplate": f"{escape(label)}<br>%{{y}} % longer than %{{x}} ms<extra></extra>",
    }


def _memory(numbered: Numbered, name: str, student: StudentReport) -> Iterator[str]:
    growth, arrays = student.measurement("memory_growth"), student.arrays("timing")
    if growth is None or "memory_MB" not in arrays:
        return
    yield numbered.figure(memory_over_steps(name, growth, arrays))


def memory_over_steps(name: str, growth: Measurement, arrays: Arrays) -> Figure:
    """Return memory and time per step over a long run."""
    steps = arrays["memory_steps"]
    shape, traces = layout(), Traces()
    panels = (("memory_MB", "Memory (MB)", COLORS[0]), ("memory_step_ms", "Time per step (ms)", COLORS[1]))
    for panel, (key, label, color) in enumerate(panels, start=1):
        chosen = thinned(len(steps), 500)
        traces.append(_line(steps[chosen], arrays[key][chosen], color, panel))
        high = 1.15 * float(np.nanmax(arrays[key]))
        shape[key_of("x", panel)] = axis("Step", domain=domain(panel - 1, 2, 0.12), anchor=f"y{panel}")
        shape[key_of("y", panel)] = axis(label, range=[0, high], anchor=f"x{panel}")
    start, system = arrays["memory_MB"][0], escape(str(arrays["memory_system"][0]))
    band = {"fill": "toself", "fillcolor": "rgba(135,148,161,0.25)", "hoverinfo": "skip"}
    ends = np.array([steps[0], steps[-1], steps[-1], steps[0]])
    traces.insert(0, _line(ends, start * np.array([0.99, 0.99, 1.01, 1.01]), FAINT, 1) | band | {"mode": "none"})
    caption = (
        f"{int(steps[-1]):,} steps of {system} after a warm-up. Left: what the process holds, garbage collected; "
        f"growth {words.number(growth.value, 2)} % (95 % interval "
        f"{words.interval(growth.ci95, 2)} %), the gray band is 1 % about the start. Right: mean time of a step, block "
        "by block; a line that stays level means that long runs cost what short ones do."
    )
    return Figure(f"Memory and speed over a long run of {escape(name)}.", caption, traces, anchored(shape), 320)


def _line(x: NDArray[Any], y: NDArray[Any], color: str, panel: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": rounded(x, 7),
        "y": rounded(y),
        "line": {"color": color, "width": 1.6},
        "showlegend": False,
        **axes_of(panel),
    }
