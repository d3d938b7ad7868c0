"""The page of a profile: parts of a step, pace of a trajectory, memory, in one file."""

from collections.abc import Iterator
from html import escape
from importlib.metadata import version
from typing import Any

import numpy as np

from mlff_distiller.benchmarking.profile import Profile
from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import Numbered, definitions, table
from mlff_distiller.core.html.page import Section, page
from mlff_distiller.core.html.plotting import (
    COLORS,
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
from mlff_distiller.core.provenance import stamp

_MOST_POINTS = 4000


def profile_page(found: Profile) -> str:
    """Return a page as HTML that loads nothing from anywhere."""
    numbered, own = Numbered(), found.summary
    sections = [
        Section("parts", "Where the time goes", _parts(numbered, found)),
        Section("pace", "Pace of the trajectory", _pace(numbered, found)),
        Section("memory", "Memory", _memory(numbered, found)),
        Section("provenance", "Provenance", definitions({**found.settings, **stamp()})),
    ]
    headline = (
        f"{escape(found.potential)} on {words.formula(found.system)}, {found.n_atoms} atoms: "
        f"{words.number(own['median'])} ms per step, {words.number(own['ns_per_day'])} ns/day."
    )
    return page(
        f"Profile of {found.system}",
        sections,
        title=f"Profile: {found.potential}",
        kicker="mlffd profile",
        headline=headline,
        version=version("mlff-distiller"),
    )


def _parts(numbered: Numbered, found: Profile) -> str:
    whole = sum(part.typical_ms for part in found.parts)
    rows = [
        [
            escape(part.label),
            words.number(part.typical_ms),
            f"{100 * part.typical_ms / whole:.1f}",
            words.number(part.mean_ms),
            words.number(part.calls),
        ]
        for part in found.parts
    ]
    unwatched = words.number(found.summary["median"])
    caption = (
        "Each part without what other parts take inside it. Typical: mean over the quicker half of "
        f"{found.n_watched:,} watched steps; mean: over all of them. Watching itself takes time: the median of a "
        f"watched step is {words.number(found.watched_ms)} ms, of an unwatched one {unwatched} ms."
    )
    head = ["Part", "Typical (ms)", "%", "Mean (ms)", "Calls per step"]
    html = numbered.figure(_bars("Parts of a step.", {p.label: p.typical_ms for p in found.parts}, caption))
    html += numbered.table("Parts of a step.", "", table(head, rows, numeric=range(1, 5)))
    return html + "".join(_inside(numbered, found))


def _inside(numbered: Numbered, found: Profile) -> Iterator[str]:
    if found.kernel is not None:
        sum_ms = sum(found.kernel.parts_ms.values())
        caption = (
            f"The compiled network is one call of {words.number(found.kernel.whole_ms)} ms with one thread. Its parts, "
            "called one by one, with what handing over the arguments costs taken off, add up to "
            f"{words.number(sum_ms)} ms."
        )
        yield numbered.figure(_bars("Inside the compiled kernel.", found.kernel.parts_ms, caption))
    if found.operators is not None:
        rows = [
            [
                escape(row.name),
                *map(words.number, (row.cpu_ms, row.device_ms, row.n_calls)),
                words.number(row.memory_kB),
            ]
            for row in found.operators.rows
        ]
        head = ["Operator", "Processor (ms)", "GPU (ms)", "Calls", "Memory (kB)"]
        peak = found.operators.peak_device_MB
        caption = "As torch's profiler saw them, per step, without what they call." + (
            "" if peak is None else f" Most memory on the GPU: {words.number(peak)} MB."
        )
        yield numbered.table("Operators of torch.", caption, table(head, rows, numeric=range(1, 5)))


def _bars(title: str, values: dict[str, float], caption: str) -> Figure:
    names = list(values)[::-1]
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": rounded([values[name] for name in names]),
        "y": [escape(name) for name in names],
        "marker": {"color": COLORS[0]},
        "hovertemplate": "%{y}: %{x} ms<extra></extra>",
    }
    shape = layout(margin={"l": 16, "r": 16, "t": 10, "b": 52})
    shape |= {"xaxis": axis("Time of a step (ms)", rangemode="tozero"), "yaxis": axis("", showgrid=False)}
    return Figure(title, caption, [trace], shape, 90 + 24 * max(len(names), 3))


def _pace(numbered: Numbered, found: Profile) -> str:
    own = found.summary
    rows = [
        [escape(cause), str(len(times)), words.number(max(times)), f"{100 * sum(times) / found.step_ms.sum():.1f}"]
        for cause, times in sorted(found.causes.items(), key=lambda item: -sum(item[1]))
    ]
    caption = "Steps that took far longer than the middle half, by what happened in them."
    outliers = table(["What happened", "Steps", "Longest (ms)", "Share of all time (%)"], rows, numeric=[1, 2, 3])
    spread = ", ".join(f"{name} {words.number(own[key])} ms" for name, key in (("P95", "p95"), ("P99", "p99")))
    return numbered.figure(_steps(found, spread)) + (numbered.table("Outliers.", caption, outliers) if rows else "")


def _steps(found: Profile, spread: str) -> Figure:
    chosen = thinned(len(found.step_ms), _MOST_POINTS)
    shared: dict[str, Any] = {"type": "scatter", "mode": "markers", "showlegend": True}
    all_steps = {"x": chosen.tolist(), "y": rounded(found.step_ms[chosen]), "name": "steps"}
    traces = [{**shared, **all_steps, "marker": {"size": 3, "color": COLORS[0]}, "hoverinfo": "skip"}]
    for cause, color in zip(found.causes, COLORS[1:], strict=False):
        own = [outlier for outlier in found.outliers if outlier.cause == cause]
        place = {"x": [outlier.step for outlier in own], "y": rounded([outlier.ms for outlier in own])}
        traces.append({**shared, **place, "name": escape(cause), "marker": {"size": 6, "color": color, "symbol": "x"}})
    shape = layout(showlegend=True)
    shape |= {"xaxis": axis("Step"), "yaxis": log_axis("Time of a step (ms)", found.step_ms)}
    caption = (
        f"{len(found.step_ms):,} steps, of which nothing is watched but neighbor lists that are found anew: median "
        f"{words.number(found.summary['median'])} ms, {spread}."
    )
    return Figure("Time of each step.", caption, traces, shape, 380)


def _memory(numbered: Numbered, found: Profile) -> str:
    shape, traces = layout(), []
    allocation = found.allocation
    series = (
        (found.memory_steps, found.memory_MB, "Memory of the process (MB)", "Step"),
        (np.arange(len(allocation.peak_kB)), allocation.peak_kB, "Allocated in a step (kB)", "Step that is followed"),
    )
    for panel, (x, y, label, below) in enumerate(series, start=1):
        line = {"type": "scatter", "mode": "lines", "line": {"color": COLORS[panel - 1], "width": 1.6}}
        traces.append({**line, "x": rounded(x), "y": rounded(y, 7), **axes_of(panel)})
        high = 1.15 * max(float(y.max()), 1e-9)
        shape[key_of("x", panel)] = axis(below, domain=domain(panel - 1, 2, 0.14), anchor=f"y{panel}")
        shape[key_of("y", panel)] = axis(label, range=[0, high], anchor=f"x{panel}")
    caption = (
        "Left: what the process holds along the timed steps. Right: the most that Python's allocations of a step come "
        f"to; {words.number(float(np.mean(allocation.kept_kB)))} kB of a step stay on average."
    )
    html = numbered.figure(Figure("Memory.", caption, traces, anchored(shape), 320))
    if not allocation.lines:
        return html
    rows = [[escape(line), words.number(kB)] for line, kB in allocation.lines]
    below = "Where what stays after all followed steps was allocated; small and bounded numbers are caches."
    return html + numbered.table("Allocations that stay.", below, table(["Line", "kB"], rows, numeric=[1]))
