"""The figures of the report, each with a caption that states units and sample sizes."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.core.html.plotting import (
    COLORS,
    DENSITY,
    FAINT,
    Figure,
    anchored,
    axes_of,
    axis,
    density,
    domain,
    key_of,
    layout,
    log_axis,
    rounded,
    steps,
    thinned,
    translucent,
)
from mlff_distiller.validation.checks.errors.parity import Parity
from mlff_distiller.validation.report.content import StudentReport

Traces = list[dict[str, Any]]
_MOST_POINTS = 4000
_MOST_NAMES = 8
_CURVES = (
    ("validation_force_rmse", "Force RMSE (eV/Å)", 1.0),
    ("validation_energy_rmse_per_atom", "Energy RMSE (meV/atom)", 1000.0),
    ("train_loss", "Training loss", 1.0),
)


def distributions(dataset: Mapping[str, Any]) -> Figure | None:
    """Return histograms of forces and energies of the data set by split."""
    known = dataset.get("distributions", {})
    panels = [
        ("force_magnitude_eV_per_A", "Force on an atom, teacher (eV/Å)"),
        ("relative_energy_meV_per_atom", "Energy about the mean, teacher (meV/atom)"),
    ]
    panels = [panel for panel in panels if known.get(panel[0])]
    if not panels:
        return None
    traces: Traces = []
    shape = layout(showlegend=True)
    for index, (key, label) in enumerate(panels, start=1):
        histogram = known[key]
        colors = zip(histogram["counts"], COLORS, strict=False)
        traces += [_steps(histogram, split, color, index) for split, color in colors]
        shape[key_of("x", index)] = axis(label, domain=domain(index - 1, len(panels), 0.12), anchor=f"y{index}")
        shape[key_of("y", index)] = axis("Share of the split (% per bin)", rangemode="tozero", anchor=f"x{index}")
    sizes = ", ".join(f"{escape(name)} {s['n_frames']:,}" for name, s in dataset.get("splits", {}).items())
    caption = (
        "Left: magnitudes of the teacher's forces. Right: energies per atom about the mean of their system. "
        f"Frames: {sizes}. Where the curves lie on each other, held-out frames cover what was trained on."
    )
    return Figure("Distribution of the labels.", caption, traces, anchored(shape), 330)


def _steps(histogram: Mapping[str, Any], split: str, color: str, panel: int) -> dict[str, Any]:
    counts = np.array(histogram["counts"][split])
    name = {"name": escape(split), "legendgroup": escape(split), "showlegend": panel == 1}
    return steps(histogram["edges"], 100 * counts / max(counts.sum(), 1), color, panel, **name)


def learning_curves(students: Mapping[str, StudentReport]) -> Figure | None:
    """Return validation errors and training loss over the epochs, all students together."""
    rows = [row for student in students.values() for row in student.history]
    curves = [curve for curve in _CURVES if any(row.get(curve[0]) is not None for row in rows)]
    if not curves:
        return None
    x_key, x_label = ("epoch", "Epoch") if all("epoch" in row for row in rows) else ("step", "Training step")
    traces: Traces = []
    shape = layout(showlegend=True)
    for panel, (key, label, factor) in enumerate(curves, start=1):
        own = []
        for (name, student), color in zip(students.items(), COLORS, strict=False):
            known = [row for row in student.history if row.get(key) is not None]
            xy = [row.get(x_key) for row in known], rounded([factor * row[key] for row in known])
            own.append(_curve(name, xy, color, panel))
        traces += own
        values = [y for curve in own for y in curve["y"]]
        shape[key_of("x", panel)] = axis(x_label, domain=domain(panel - 1, len(curves), 0.11), anchor=f"y{panel}")
        shape[key_of("y", panel)] = log_axis(label, values, anchor=f"x{panel}")
    ends = "; ".join(f"{escape(name)}, {_length(student)}" for name, student in students.items())
    caption = f"Errors on the validation split, which chooses the weights that are kept, and the training loss. {ends}."
    return Figure("Learning curves.", caption, traces, anchored(shape), 330)


def _curve(name: str, xy: tuple[list[Any], list[float | None]], color: str, panel: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": xy[0],
        "y": xy[1],
        "name": escape(name),
        "legendgroup": escape(name),
        "showlegend": panel == 1,
        "line": {"color": color, "width": 1.6},
        **axes_of(panel),
    }


def _length(student: StudentReport) -> str:
    last = student.history[-1] if student.history else {}
    parts = [f"{last[key]:,} {key}s" for key in ("epoch", "step") if isinstance(last.get(key), int)]
    return " and ".join(parts) or f"{len(student.history):,} records"


def parity(name: str, numbers: Parity) -> Figure:
    """Return force components, sizes of force errors and energies of a student against the teacher's."""
    labeled = np.isfinite(numbers.reference_forces) & np.isfinite(numbers.predicted_forces)
    x, y = numbers.reference_forces[labeled], numbers.predicted_forces[labeled]
    traces: Traces = [] if not len(x) else [_diagonal(x, y, 1), _cloud(x, y)]
    energies = _energy_points(numbers)
    traces += _error_shares(numbers) + energies
    errors = [e for t in traces if t["xaxis"] == "x2" for e in t["x"]]
    shape = layout(showlegend=True, margin={"l": 64, "r": 16, "t": 20, "b": 52})
    ends = [_range([*x, *y]), _range([e for t in energies for side in "xy" for e in t[side] if e is not None])]
    shape["xaxis"] = axis("Force, teacher (eV/Å)", domain=domain(0, 3, 0.1), range=ends[0])
    shape["yaxis"] = axis("Force, student (eV/Å)", range=ends[0])
    shape["xaxis2"] = log_axis("Error of a force vector (eV/Å)", errors, domain=domain(1, 3, 0.1), anchor="y2")
    shape["yaxis2"] = axis("Atoms with a smaller error (%)", anchor="x2", range=[0, 100])
    shape["xaxis3"] = axis("Energy, teacher (meV/atom)", domain=domain(2, 3, 0.1), anchor="y3", range=ends[1])
    shape["yaxis3"] = axis("Energy, student (meV/atom)", anchor="x3", range=ends[1])
    shape["legend"], shape["legend2"] = _inside(1), _inside(2)
    shown = min(len(x), _MOST_POINTS)
    n_energies = int(np.isfinite(numbers.reference_energies).sum())
    caption = (
        f"Held-out frames that <em>{escape(name)}</em> never saw in training. Left: {len(x):,} force components "
        f"({shown:,} drawn, darker where they are denser). Middle: share of the {len(numbers.numbers):,} force vectors "
        f"whose error is smaller, by element. Right: {n_energies:,} energies per atom, with the mean of the teacher's "
        "energies of each system taken off both axes, so that a constant error of the student stays visible. "
        "Gray line: perfect agreement."
    )
    return Figure(f"Parity of {escape(name)}.", caption, traces, shape, 360)


def _inside(column: int) -> dict[str, Any]:
    """Return a legend in the upper left corner of a panel, which these curves leave free."""
    x = domain(column, 3, 0.1)[0] + 0.008
    plain = {"font": {"size": 11}, "bgcolor": "rgba(255,255,255,0.7)", "tracegroupgap": 0}
    return {"orientation": "v", "x": x, "y": 0.985, "xanchor": "left", "yanchor": "top", **plain}


def _range(values: Sequence[float]) -> list[float]:
    """Return ends with a little room, the same for both axes of a panel."""
    low, high = (min(values), max(values)) if len(values) else (0.0, 1.0)
    room = 0.04 * (high - low) or 1.0
    return [float(low - room), float(high + room)]


def _error_shares(numbers: Parity) -> Traces:
    """Return the cumulative distribution of the errors of force vectors, by element."""
    error = np.linalg.norm(numbers.predicted_forces - numbers.reference_forces, axis=1)
    traces: Traces = []
    for element, color in zip(np.unique(numbers.numbers), COLORS, strict=False):
        own = np.sort(error[(numbers.numbers == element) & np.isfinite(error)])
        if not len(own):
            continue
        chosen = thinned(len(own), 200)
        xy = [float(x) for x in own[chosen]], rounded(100 * (chosen + 1) / len(own), 4)
        traces.append({**_curve(SYMBOLS[element], (rounded(xy[0]), xy[1]), color, 2), "showlegend": True})
    return traces


def _cloud(x: NDArray[np.float64], y: NDArray[np.float64]) -> dict[str, Any]:
    height = density(x, y)
    chosen = thinned(len(x), _MOST_POINTS)
    chosen = chosen[np.argsort(height[chosen], kind="stable")]  # dense points last, on top
    return {
        "type": "scatter",
        "mode": "markers",
        "x": rounded(x[chosen], 4),
        "y": rounded(y[chosen], 4),
        "marker": {"size": 4, "color": rounded(height[chosen], 2), "colorscale": DENSITY, "cmin": 0, "cmax": 1},
        "showlegend": False,
        "hovertemplate": "teacher %{x}<br>student %{y}<extra></extra>",
        **axes_of(1),
    }


def _diagonal(x: NDArray[np.float64], y: NDArray[np.float64], panel: int) -> dict[str, Any]:
    ends = rounded([min(x.min(), y.min()), max(x.max(), y.max())])
    line = {"color": FAINT, "width": 1}
    shared = {"type": "scatter", "mode": "lines", "showlegend": False, "hoverinfo": "skip"}
    return {**shared, "x": ends, "y": ends, "line": line, **axes_of(panel)}


def _energy_points(numbers: Parity) -> Traces:
    reference = 1000 * numbers.reference_energies / numbers.n_atoms
    predicted = 1000 * numbers.predicted_energies / numbers.n_atoms
    labeled = np.isfinite(reference) & np.isfinite(predicted)
    traces: Traces = []
    pairs = []
    for system, color in zip(np.unique(numbers.systems[labeled]), COLORS, strict=False):
        own = np.flatnonzero(labeled & (numbers.systems == system))
        mean = reference[own].mean()
        pairs.append((reference[own] - mean, predicted[own] - mean))
        chosen = own[thinned(len(own), 600)]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": rounded(reference[chosen] - mean),
                "y": rounded(predicted[chosen] - mean),
                "name": escape(str(system)),
                "marker": {"size": 5, "color": translucent(color, 0.6)},
                "legend": "legend2",
                "showlegend": len(set(numbers.systems.tolist())) <= _MOST_NAMES,
                "hovertemplate": f"{escape(str(system))}<br>teacher %{{x}}<br>student %{{y}}<extra></extra>",
                **axes_of(3),
            }
        )
    if pairs:
        x, y = (np.concatenate(side) for side in zip(*pairs, strict=True))
        traces.insert(0, _diagonal(x, y, 3))
    return traces
