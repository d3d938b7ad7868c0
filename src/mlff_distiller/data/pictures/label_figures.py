"""Figures of the labels: energies, forces, stress and volumes."""

from typing import Any, Final

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.core.html import words
from mlff_distiller.core.html.plotting import (
    COLORS,
    TIGHT,
    Figure,
    anchored,
    axes_of,
    axis,
    domain,
    key_of,
    layout,
    log_axis,
    ridge,
    rounded,
    steps,
    translucent,
)
from mlff_distiller.data.curation.diversity import FORCE_EDGES
from mlff_distiller.data.pictures.numbers import Numbers
from mlff_distiller.data.storage.store import Store

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_MOST_BINS: Final = 60
_MOST_SYSTEMS: Final = 8
_MOST_CURVES: Final = 8
_MEMBERS: Final = 10  # a composition with fewer structures has no distribution worth drawing
_ROOM: Final = 1.5  # an axis goes this many times the width of the inner 90 % beyond them, not to the last outlier


def energies(store: Store, numbers: Numbers) -> Figure | None:
    """Return the distribution of energies per atom, of all structures and by composition."""
    known = numbers.energies[np.isfinite(numbers.energies)]
    if not len(known):
        return None
    systems = _systems(numbers)
    n_panels = 2 if len(systems) > 1 else 1
    label = "Energy less that of the elements (eV/atom)" if numbers.has_reference else "Energy (eV/atom)"
    trace, view, beyond = _histogram(known, 1)
    shape = layout(margin=TIGHT)
    shape["xaxis"] = axis(label, domain=domain(0, n_panels, 0.2), range=view, nticks=8)
    shape["yaxis"] = axis("Structures", rangemode="tozero")
    fit = "from which a sum over elements, fitted to these data, is taken off" if numbers.has_reference else ""
    side = "Left: energies" if n_panels == 2 else "Energies"
    caption = f"{side} per atom of {len(known):,} structures{f', {fit}' if fit else ''}{beyond}."
    traces = [trace]
    if n_panels == 2:
        ridges, view, names = _ridges(store, numbers, systems)
        traces += ridges
        shape["xaxis2"] = axis(
            "About the median (meV/atom)", domain=domain(1, 2, 0.2), anchor="y2", range=view, nticks=7
        )
        places = {"tickvals": list(range(len(names))), "ticktext": names[::-1], "range": [-0.15, len(names)]}
        shape["yaxis2"] = axis("", anchor="x2", ticks="", **places)
        caption += (
            f" Right: the same about the median of the composition, for the {len(systems)} most frequent compositions "
            f"with at least {_MEMBERS} energies (how many in parentheses), each "
            "scaled to its highest point."
        )
    caption += " A narrow, far-off peak often is another unit, another method or a broken label."
    height = max(300, 110 + 34 * len(systems)) if n_panels == 2 else 300
    return Figure("Energies.", caption, traces, anchored(shape), height)


def _systems(numbers: Numbers) -> list[Indices]:
    """Return the rows with an energy of the most frequent systems."""
    known = np.flatnonzero(np.isfinite(numbers.energies))
    _, group, counts = np.unique(numbers.systems[known], return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_SYSTEMS]
    return [known[group == number] for number in order if counts[number] >= _MEMBERS]


def _ridges(
    store: Store, numbers: Numbers, systems: list[Indices]
) -> tuple[list[dict[str, Any]], list[float], list[str]]:
    """Return a histogram for each system, the range of the axis, and names from top to bottom."""
    about = [1000 * (numbers.energies[rows] - np.median(numbers.energies[rows])) for rows in systems]
    low, high = (end(side) for end, side in zip((min, max), zip(*map(_view, about), strict=True), strict=True))
    traces, names = [], []
    for place, (rows, values) in enumerate(zip(systems, about, strict=True)):
        n_bins = int(np.clip(4 * len(values) ** (1 / 3), 12, 2 * _MOST_BINS))
        counts, edges = np.histogram(values, bins=n_bins, range=(low, high))
        x = np.array([edges[0], *(edges[1:] + edges[:-1]) / 2, edges[-1]])
        heights = np.array([0, *counts, 0], dtype=np.float64)
        traces += ridge(x, heights, len(systems) - 1 - place, COLORS[place], 2)
        structure = store.structure(int(rows[0]))
        charge = f" {structure.charge:+d}" if structure.charge else ""
        names.append(f"{words.formula(structure.formula)}{charge} ({len(rows):,})")
    return traces, [low, high], names


def forces(numbers: Numbers) -> Figure | None:
    """Return the distribution of the lengths of forces on atoms, by element."""
    total = numbers.forces.sum(1)
    if not total.any():
        return None
    order = np.argsort(-total, kind="stable")[: np.count_nonzero(total)]
    n_own = len(order) if len(order) <= _MOST_CURVES else _MOST_CURVES - 1
    curves = [(SYMBOLS[z], numbers.forces[z]) for z in order[:n_own]]
    if len(order) > n_own:
        curves.append((f"{len(order) - n_own} others", numbers.forces[order[n_own:]].sum(0)))
    used = np.flatnonzero(numbers.forces[:, 1:].any(0))
    first, last = (used[0], used[-1] + 1) if len(used) else (0, 1)
    edges = FORCE_EDGES[first : last + 1]
    traces = []
    for (name, counts), color in zip(curves, COLORS, strict=False):
        shares = 100 * counts[first + 1 : last + 1] / counts.sum()
        traces.append(steps(edges, shares, color, 1, name=name, hovertemplate=f"{name}: %{{y:.2g}} %<extra></extra>"))
    shape = layout(showlegend=True)
    shape["xaxis"] = log_axis("Force on an atom (eV/Å)", edges)
    shape["yaxis"] = axis("Atoms of an element (%)", rangemode="tozero")
    largest = float(np.nanmax(numbers.largest_forces[np.isfinite(numbers.largest_forces)], initial=0))
    caption = (
        f"Lengths of the forces on {int(total.sum()):,} atoms by element, ten intervals to a decade; the longest is "
        f"{words.quantity(largest, 'eV/A')}{_tiny(numbers)}. A second hump at small forces comes from relaxed "
        "structures, a long tail to the right from strained or clashing ones."
    )
    return Figure("Forces.", caption, traces, shape, 330)


def _tiny(numbers: Numbers) -> str:
    n = int(numbers.forces[:, 0].sum())
    return f"; {n:,} forces below 10⁻⁴&nbsp;eV/Å, zeros included, are not drawn" if n else ""


def cells(numbers: Numbers, sample: Indices) -> Figure | None:
    """Return volumes and pressures of periodic structures, and energies over volumes."""
    shape = layout(margin=TIGHT)
    panels: list[tuple[str, str, dict[str, Any], list[float]]] = []
    captions = []
    volumes, pressures = (x[np.isfinite(x)] for x in (numbers.volumes, numbers.pressures))
    if len(volumes):
        trace, view, beyond = _histogram(volumes, len(panels) + 1)
        panels.append(("Volume (Å³/atom)", "Structures", trace, view))
        captions.append(f"volume per atom of {len(volumes):,} structures periodic in three directions{beyond}")
    if len(pressures):
        trace, view, beyond = _histogram(pressures / GPa, len(panels) + 1)
        panels.append(("Pressure (GPa)", "Structures", trace, view))
        captions.append(f"pressure, minus a third of the trace of the stress, of {len(pressures):,} structures{beyond}")
    drawn = sample[np.isfinite(numbers.volumes[sample]) & np.isfinite(numbers.energies[sample])]
    if len(drawn) > 1:
        trace, view = _cloud(numbers.volumes[drawn], numbers.energies[drawn], len(panels) + 1)
        panels.append(("Volume (Å³/atom)", "Energy (eV/atom)", trace, view))
        captions.append(f"energies, as in the figure above, over volumes of {len(drawn):,} structures")
    if not panels:
        return None
    for index, (x, y, _, view) in enumerate(panels, start=1):
        across = domain(index - 1, len(panels), 0.12)
        shape[key_of("x", index)] = axis(x, domain=across, anchor=f"y{index}", range=view, nticks=6)
        shape[key_of("y", index)] = axis(y, anchor=f"x{index}", rangemode="tozero" if y == "Structures" else "normal")
    sides = {1: [""], 2: ["Left: ", "Right: "], 3: ["Left: ", "Middle: ", "Right: "]}[len(panels)]
    caption = ". ".join(f"{side}{text}" for side, text in zip(sides, captions, strict=True)) + "."
    caption = caption[0].upper() + caption[1:]
    return Figure("Cells and stress.", caption, [panel[2] for panel in panels], anchored(shape), 300)


def _cloud(x: Floats, y: Floats, panel: int) -> tuple[dict[str, Any], list[float]]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": rounded(x),
        "y": rounded(y),
        "marker": {"size": 4, "color": translucent(COLORS[0], 0.5)},
        "hoverinfo": "x+y",
        **axes_of(panel),
    }, _view(x)


def _histogram(values: Floats, panel: int) -> tuple[dict[str, Any], list[float], str]:
    """Return a histogram, the range of its axis, and words on what lies beyond it."""
    low, high = _view(values)
    inside = values[(values >= low) & (values <= high)]
    n_bins = int(np.clip(3 * len(inside) ** (1 / 3), 8, _MOST_BINS))
    counts, edges = np.histogram(inside, bins=n_bins, range=(low, high))
    trace = steps(edges, counts, COLORS[0], panel, fill="tozeroy", fillcolor=translucent(COLORS[0], 0.15))
    trace["hovertemplate"] = "%{x:.4g}: %{y:,} structures<extra></extra>"
    n_beyond = len(values) - len(inside)
    if not n_beyond:
        return trace, [low, high], ""
    ends = f"{words.number(float(values.min()))} to {words.number(float(values.max()))}"
    return trace, [low, high], f" ({n_beyond:,} of them beyond the axis; all: {ends})"


def _view(values: Floats) -> list[float]:
    """Return the range of an axis: all values but far outliers, with a little room."""
    lowest, low, high, highest = np.quantile(values, [0, 0.05, 0.95, 1])
    reach = _ROOM * (high - low) or highest - lowest
    first, last = max(lowest, low - reach), min(highest, high + reach)
    room = 0.03 * (last - first) or max(abs(first), 1.0) * 1e-3
    return [float(first - room), float(last + room)]
