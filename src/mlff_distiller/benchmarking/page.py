"""The page of a benchmark: distributions, scaling, throughput, and what was compared, in one file."""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.metadata import version
from typing import Any

import numpy as np

from mlff_distiller.benchmarking.baseline import Change
from mlff_distiller.benchmarking.benchmark import TIMESTEP_FS, Benchmark, Row
from mlff_distiller.benchmarking.crossover import costs, report, singles
from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import Numbered, definitions, note, table
from mlff_distiller.core.html.page import Section, page
from mlff_distiller.core.html.plotting import COLORS, Figure, axis, layout, log_axis, rounded
from mlff_distiller.core.provenance import stamp

_SYMBOLS = ("circle", "diamond", "square", "triangle-up")


def benchmark_page(found: Benchmark, changes: Sequence[Change] = (), *, tolerance: float = 0.1) -> str:
    """Return a page as HTML that loads nothing from anywhere.

    Parameters
    ----------
    found : Benchmark
        What was timed.
    changes : sequence of Change
        What became of it since a baseline, if it was compared with one.
    tolerance : float
        How much slower does not count.
    """
    numbered = Numbered()
    sections = [Section("speed", "Time of a call", _speed(numbered, found))]
    if changes:
        sections.insert(0, Section("changes", "Since the baseline", _changes(numbered, changes, tolerance)))
    if scaling := "".join(_scaling(numbered, found)):
        sections.append(Section("scaling", "Size and cross-over", scaling))
    if any(row.n_structures > 1 for row in found.rows):
        sections.append(Section("throughput", "Throughput", numbered.figure(throughput(found))))
    sections.append(Section("provenance", "Provenance", definitions(stamp())))
    names = list(dict.fromkeys(row.name for row in found.rows))
    return page(
        "Benchmark",
        sections,
        title=f"Benchmark of {', '.join(names)}",
        kicker="mlffd bench",
        headline=escape(f"{words.listing(names)}, side by side on {len({r.system for r in found.rows})} systems."),
        version=version("mlff-distiller"),
    )


def _speed(numbered: Numbered, found: Benchmark) -> str:
    caption = (
        f"Energies and forces of moving atoms, neighbor list included. ns/day at {TIMESTEP_FS} fs, all structures of a "
        "call together. Memory: the most that a first call took beyond what was taken before."
    )
    refusals = "".join(note(escape(str(refusal))) for refusal in found.refusals)
    return numbered.figure(distributions(found)) + numbered.table("Times.", caption, _table(found)) + refusals


def _table(found: Benchmark) -> str:
    head = ["System", "Potential", "Atoms", "Median (ms)", "Mean", "P95", "P99", "µs/atom", "ns/day"]
    head += ["Structures/s", "Memory (MB)", "Times faster than base"]
    rows = []
    for row in found.rows:
        own = row.summary()
        keys = ("median_ms", "mean_ms", "p95_ms", "p99_ms", "us_per_atom", "ns_per_day", "structures_per_s", "peak_MB")
        who = [escape(row.system), escape(row.name), f"{row.n_atoms:,}"]
        rows.append([*who, *(words.number(own[key]) for key in keys), words.number(found.times_faster(row))])
    return table(head, rows, numeric=range(2, len(head)))


def _changes(numbered: Numbered, changes: Sequence[Change], tolerance: float) -> str:
    head = ["System", "Potential", "Now / then", "95 % interval", "How", "So"]
    rows = [
        [
            escape(change.system),
            escape(change.name),
            words.number(change.ratio.value),
            words.interval(change.ratio.ci95),
            change.ratio.how,
            change.ratio.outcome(tolerance),
        ]
        for change in changes
    ]
    caption = (
        f"Slower means that the whole interval lies above {1 + tolerance:g}. Paired: the student of then was timed in "
        "the same rounds; normalized: each time is divided by that of a fixed piece of work in the same rounds."
    )
    return numbered.table("Time now over time then.", caption, table(head, rows, numeric=[2, 3]))


def distributions(found: Benchmark) -> Figure:
    """Return median, central 90 % and 99th percentile of the calls, a row for each system."""
    systems = list(dict.fromkeys(row.system for row in found.rows))
    names = list(dict.fromkeys(row.name for row in found.rows))
    traces = []
    for index, (name, color) in enumerate(zip(names, COLORS, strict=False)):
        own = [row for row in found.rows if row.name == name]
        beside = 0.6 * (index - (len(names) - 1) / 2) / len(names)
        places = [systems.index(row.system) + beside for row in own]
        traces += _spread(name, own, places, color, _SYMBOLS[index % 4])
    shape = layout(showlegend=True)
    shape["xaxis"] = log_axis("Time of a call (ms)", [x for trace in traces for x in trace["x"]])
    ticks = {"tickvals": list(range(len(systems))), "ticktext": [escape(system) for system in systems]}
    shape["yaxis"] = axis("", range=[len(systems) - 0.45, -0.55], showgrid=False, **ticks)
    caption = (
        "Mark: median; line: from the 5th to the 95th percentile of the calls; tick: 99th percentile. All took turns "
        f"in one run, {sum(len(row.calls_ms) for row in found.rows):,} calls in all."
    )
    height = 130 + (18 + 12 * len(names)) * max(len(systems), 2)
    return Figure("Distribution of the times.", caption, traces, shape, height)


def _spread(name: str, rows: list[Row], places: list[float], color: str, symbol: str) -> list[dict[str, Any]]:
    low, middle, high, tail = (
        np.array([np.quantile(row.calls_ms, level) for row in rows]) for level in (0.05, 0.5, 0.95, 0.99)
    )
    shared = {"type": "scatter", "mode": "markers", "y": places, "legendgroup": name}
    error = {"type": "data", "symmetric": False, "thickness": 1.4, "width": 0}
    ends = {"array": rounded(high - middle), "arrayminus": rounded(middle - low)}
    return [
        {
            **shared,
            "x": rounded(middle),
            "name": escape(name),
            "marker": {"color": color, "size": 8, "symbol": symbol},
            "error_x": {**error, **ends},
            "hovertemplate": f"{escape(name)}: %{{x}} ms<extra></extra>",
        },
        {
            **shared,
            "x": rounded(tail),
            "showlegend": False,
            "marker": {"color": color, "size": 7, "symbol": "line-ns-open"},
            "hovertemplate": f"{escape(name)}, P99: %{{x}} ms<extra></extra>",
        },
    ]


def _scaling(numbered: Numbered, found: Benchmark) -> Iterator[str]:
    if not costs(found):
        return
    yield "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in report(found)) + "</ul>"
    yield numbered.figure(scaling(found))


def scaling(found: Benchmark) -> Figure:
    """Return time against atoms, one structure in a call, with the fitted costs."""
    fits = costs(found)
    traces: list[dict[str, Any]] = []
    for index, ((name, rows), color) in enumerate(zip(singles(found).items(), COLORS, strict=False)):
        marks = {"color": color, "size": 8, "symbol": _SYMBOLS[index % 4]}
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [row.n_atoms for row in rows],
                "y": rounded([row.median_ms for row in rows]),
                "name": escape(name),
                "marker": marks,
                "hovertemplate": f"{escape(name)}, %{{x}} atoms: %{{y}} ms<extra></extra>",
            }
        )
        if name in fits:
            sizes = np.geomspace(rows[0].n_atoms, rows[-1].n_atoms, 60)
            drawn = {"x": rounded(sizes), "y": rounded(fits[name].at(sizes)), "line": {"color": color, "width": 1.2}}
            plain: dict[str, Any] = {"type": "scatter", "mode": "lines", "showlegend": False, "hoverinfo": "skip"}
            traces.append({**plain, **drawn})
    shape = layout(showlegend=True)
    shape["xaxis"] = log_axis("Atoms", [x for trace in traces for x in trace["x"]])
    shape["yaxis"] = log_axis("Time of a call (ms)", [y for trace in traces for y in trace["y"]])
    caption = (
        "Marks: median time of a call with one structure; lines: fixed overhead and a part that grows with the atoms, "
        "fitted. Flat: the overhead of a call dominates; where lines cross, the faster one changes."
    )
    return Figure("Time and size.", caption, traces, shape, 420)


def throughput(found: Benchmark) -> Figure:
    """Return structures per second against how many are in a call, for systems that come in batches."""
    stem = next(row.system for row in found.rows if row.n_structures > 1).rpartition(" x ")[0]
    traces = []
    for index, (name, color) in enumerate(zip(dict.fromkeys(r.name for r in found.rows), COLORS, strict=False)):
        own = [r for r in found.rows if r.name == name and (r.system == stem or r.system.startswith(f"{stem} x "))]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": [row.n_structures for row in own],
                "y": rounded([row.structures_per_s for row in own]),
                "name": escape(name),
                "line": {"color": color, "width": 1.4},
                "marker": {"size": 8, "symbol": _SYMBOLS[index % 4]},
            }
        )
    shape = layout(showlegend=True)
    shape["xaxis"] = log_axis("Structures in a call", [x for trace in traces for x in trace["x"]])
    shape["yaxis"] = log_axis("Structures per second", [y for trace in traces for y in trace["y"]])
    caption = f"{escape(stem)}, one and many in a call. Where a line stays level, larger batches bring nothing."
    return Figure("Throughput.", caption, traces, shape, 360)
