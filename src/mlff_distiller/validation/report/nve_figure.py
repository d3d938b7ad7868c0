"""The figures of constant-energy runs: energy and temperature over time, and forces before a failure."""

from collections.abc import Mapping
from html import escape
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.html.plotting import (
    COLORS,
    INK,
    Figure,
    anchored,
    axes_of,
    axis,
    block_means,
    domain,
    key_of,
    layout,
    log_axis,
    panel_title,
    rounded,
    thinned,
    translucent,
)
from mlff_distiller.validation.checks.nve.drift import slopes
from mlff_distiller.validation.checks.nve.record import NVERecord

Traces = list[dict[str, Any]]
Floats = NDArray[np.float64]
_MOST_TIMES = 500
_MOST_COLUMNS = 4
_N_BLOCKS = 40
_MOST_FAILURES = 8


def constant_energy(
    name: str, record: NVERecord, temperature_K: float | None, *, drifts: Mapping[str, Any] | None = None
) -> Figure:
    """Return total energy and temperature over time, a panel per system, a line per replica."""
    names = record.names
    rows = ceil(len(names) / min(len(names), _MOST_COLUMNS))
    traces: Traces = []
    shape = layout(annotations=[])
    for index, system in enumerate(names):
        upper, lower = 2 * index + 1, 2 * index + 2
        shape |= _panels(index, len(names), rows)
        shape["annotations"].append(panel_title(f"<b>{escape(system)}</b>", upper))
        traces += _energy_lines(record, system, upper, (drifts or {}).get(system, {})) + _temperature_lines(
            record, system, lower, temperature_K
        )
    n_failed = int((record.failures != "").sum())
    failed = f"; {n_failed} failed, each marked by a cross" if n_failed else ""
    caption = (
        f"{len(record.systems)} runs of <em>{escape(name)}</em>, {record.times_ps[-1]:g} ps each, "
        f"{len(record.systems) // len(names)} with different velocities per system{failed}. Upper panels: total energy "
        "per atom, counted from the start of its line; black: mean slope of the replicas with its 95&nbsp;% interval "
        "(gray). Lower panels: temperature; dashed: that of the starting velocities. Thin: momentary values; "
        f"thick: means over 1/{_N_BLOCKS} of the run."
    )
    return Figure(f"Constant-energy dynamics of {escape(name)}.", caption, traces, anchored(shape), 70 + 300 * rows)


def last_forces(name: str, record: NVERecord) -> Figure | None:
    """Return the largest force over the last geometries of the runs that failed, and the teacher's; None for none."""
    failed = [run for run in record.failed if len(record.last_student_forces)][:_MOST_FAILURES]
    traces = [trace for run, color in zip(failed, COLORS, strict=False) for trace in _approach(record, run, color)]
    if not traces:
        return None
    shape = layout(showlegend=True, margin={"l": 64, "r": 16, "t": 60, "b": 52})
    shape["xaxis"] = axis("Time before the end (fs)", anchor="y")
    shape["yaxis"] = log_axis("Largest force (eV/Å)", [y for trace in traces for y in trace["y"]], anchor="x")
    caption = (
        f"Largest force on any atom in the last geometries of failed runs of <em>{escape(name)}</em>. Open circles: "
        "what the teacher says of the last good geometry and of the one where the run failed. A student's line that "
        "leaves the teacher's circles made the failure itself; one that stays with them had been led astray before."
    )
    return Figure(f"Forces before the failures of {escape(name)}.", caption, traces, anchored(shape), 340)


def _approach(record: NVERecord, run: int, color: str) -> Traces:
    """Return the largest forces of the student as a line, and of the teacher as circles."""
    before = 1000 * (record.last_times_ps[:, run] - record.last_times_ps[-1, run])
    shown = {"type": "scatter", "legendgroup": str(run), **axes_of(1)}
    traces: Traces = []
    for forces, style in (
        (record.last_student_forces, {"mode": "lines+markers", "line": {"color": color}, "marker": {"size": 4}}),
        (
            record.last_teacher_forces,
            {"mode": "markers", "marker": {"symbol": "circle-open", "size": 9, "color": color}},
        ),
    ):
        largest = np.linalg.norm(forces[:, record.atoms(run)], axis=-1).max(1)
        known = np.isfinite(largest) & (largest > 0)
        if known.any():
            label = f"{escape(str(record.systems[run]))}, run {record.replica(run)}"
            drawn = {"x": rounded(before[known]), "y": rounded(largest[known]), "name": label}
            traces.append({**shown, **style, **drawn, "showlegend": not traces})
    return traces


def _panels(index: int, n_systems: int, rows: int) -> dict[str, Any]:
    """Return the axes of one system: energy above temperature, sharing the time."""
    columns = min(n_systems, _MOST_COLUMNS)
    row, column = divmod(index, columns)
    across = domain(column, columns, 0.07)
    bottom, top = domain(rows - 1 - row, rows, 0.36 / (rows + 1))
    edge = bottom + 0.38 * (top - bottom)
    upper, lower = 2 * index + 1, 2 * index + 2
    energy, temperature = ("ΔE (meV/atom)", "T (K)") if column == 0 else ("", "")
    return {
        key_of("x", upper): axis("", domain=across, anchor=f"y{upper}", matches=f"x{lower}", showticklabels=False),
        key_of("x", lower): axis("Time (ps)", domain=across, anchor=f"y{lower}"),
        key_of("y", upper): axis(energy, domain=[edge + 0.05 * (top - bottom), top], anchor=f"x{upper}", nticks=6),
        key_of("y", lower): axis(temperature, domain=[bottom, edge], anchor=f"x{lower}", nticks=4),
    }


def _energy_lines(record: NVERecord, system: str, panel: int, drift: Mapping[str, Any]) -> Traces:
    own = np.flatnonzero(record.systems == system)
    time, slope = record.times_ps, slopes(record)
    traces: Traces = []
    for run, color in zip(own.tolist(), COLORS, strict=False):
        energy = 1000 * record.energy_per_atom[:, run]
        whole = np.isfinite(slope[run])
        start = (energy - 1000 * slope[run] * time).mean() if whole else energy[0]
        traces += _thin_and_thick(record, energy - start, color, panel)
        if not whole:
            traces.append(_failure(record, run, energy - start, color, panel))
    mean, interval = drift.get("mean", float("nan")), drift.get("ci95")
    if interval:
        ends = [0.0, float(time[-1]), float(time[-1])]
        band = _line(np.array(ends), np.array([0.0, *(1000 * end * time[-1] for end in interval)]), INK, panel, width=0)
        traces.append({**band, "fill": "toself", "fillcolor": translucent(INK, 0.18)})
    if np.isfinite(mean):
        traces.append(_line(time[[0, -1]], 1000 * mean * time[[0, -1]], INK, panel, width=1.6))
    return traces


def _failure(record: NVERecord, run: int, energy: Floats, color: str, panel: int) -> dict[str, Any]:
    alive = np.flatnonzero(np.isfinite(energy))
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [float(record.survived_ps[run])],
        "y": rounded(energy[alive[-1:]]) if len(alive) else [0.0],
        "marker": {"symbol": "x", "size": 9, "color": color},
        "showlegend": False,
        "hovertext": escape(str(record.failures[run])),
        "hoverinfo": "text",
        **axes_of(panel),
    }


def _temperature_lines(record: NVERecord, system: str, panel: int, temperature_K: float | None) -> Traces:
    traces: Traces = []
    for run, color in zip(np.flatnonzero(record.systems == system), COLORS, strict=False):
        traces += _thin_and_thick(record, record.temperatures_K[:, run], color, panel)
    if temperature_K is not None:
        target = _line(record.times_ps[[0, -1]], np.full(2, temperature_K), INK, panel, width=1)
        traces.append({**target, "line": {**target["line"], "dash": "dash"}})
    return traces


def _thin_and_thick(record: NVERecord, values: Floats, color: str, panel: int) -> Traces:
    """Return a line of momentary values, faint, and one of block means, strong."""
    chosen = thinned(len(values), _MOST_TIMES)
    means, times = block_means(values, _N_BLOCKS), block_means(record.times_ps, _N_BLOCKS)
    return [
        _line(record.times_ps[chosen], values[chosen], translucent(color, 0.25), panel, width=0.7),
        _line(times, means, color, panel, width=1.6),
    ]


def _line(x: Any, y: Any, color: str, panel: int, *, width: float) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": rounded(x),
        "y": rounded(y),
        "line": {"color": color, "width": width},
        "hoverinfo": "skip",
        "showlegend": False,
        **axes_of(panel),
    }
