"""Figures of how structures lie among each other in the descriptor: a map, and the distances to the nearest."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.html import words
from mlff_distiller.core.html.plotting import (
    COLORS,
    DENSITY,
    FAINT,
    INK,
    TIGHT,
    Figure,
    axes_of,
    axis,
    layout,
    log_axis,
    rounded,
    steps,
    translucent,
)
from mlff_distiller.data.pictures.numbers import Numbers
from mlff_distiller.data.pictures.sample import Sample
from mlff_distiller.data.splits.split import PARTS

_MOST_NAMES: Final = 8
_SYMBOLS: Final = ("circle", "diamond", "cross")
_COPY: Final = 1e-4  # of the typical distance: nearer than float32 and positions with 6 digits can tell apart


def similarity_map(sample: Sample, numbers: Numbers, parts: NDArray[np.uint8] | None, split: str) -> Figure | None:
    """Return the first two principal components of the descriptor of the sampled structures.

    Parameters
    ----------
    sample : Sample
    numbers : Numbers
    parts : (S,) uint8 or None
        The part of each structure in a split that is kept with the data.
    split : str
        Name of the split.
    """
    if len(sample.rows) < 3 or not np.ptp(sample.places) > 0:
        return None
    names = np.array([_name(sample, k) for k in range(len(sample.rows))])
    shown = np.zeros(len(names), dtype=np.uint8) if parts is None else parts[sample.rows]
    traces, legend, said = _colored(sample, numbers, names, shown)
    if parts is not None:
        legend += [_key(PARTS[part], _SYMBOLS[part], INK, "legend2") for part in np.unique(shown).tolist()]
    shape = layout(showlegend=True)
    shape["legend2"] = {**shape["legend"], "y": 1.08}
    shape["margin"] = {**shape["margin"], "t": 64 if parts is not None else 40}
    shares = [f"{100 * share:.0f} % of the variance" for share in sample.shares]
    shape["xaxis"] = axis(f"First component ({shares[0]})", showticklabels=False, ticks="")
    shape["yaxis"] = axis(f"Second component ({shares[1]})", showticklabels=False, ticks="")
    signs = f" Signs: the split <em>{split}</em>." if parts is not None else ""
    caption = (
        f"Principal components of the built-in descriptor (distances between elements within 5&nbsp;Å) of "
        f"{len(sample.rows):,} structures{_of(sample, numbers)}. Near points are alike; {said}. Separate islands are "
        f"other molecules or phases, a lone point is an outlier; empty parts were never sampled.{signs}"
    )
    return Figure("Map of the structures.", caption, [*traces, *legend], shape, 520)


def _name(sample: Sample, k: int) -> str:
    return sample.columns.structure(k).formula


def _of(sample: Sample, numbers: Numbers) -> str:
    n = len(numbers.systems)
    return f", chosen at random of {n:,}" if n > len(sample.rows) else ""


def _colored(
    sample: Sample, numbers: Numbers, names: NDArray[np.str_], parts: NDArray[np.uint8]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    """Return points, entries of the legend and words: by composition if a few make up the data, else by a number."""
    found, counts = np.unique(names, return_counts=True)
    order = np.argsort(-counts, kind="stable")[: _MOST_NAMES - 1]
    if len(found) > 1 and 2 * counts[order].sum() >= len(names):
        return _by_composition(sample, numbers, names, parts, found[order].tolist())
    energies = numbers.energies[sample.rows]
    if np.isfinite(energies).any():
        return [_numbered_points(sample, numbers, names, parts, energies, "eV/atom")], [], "color: energy"
    sizes = sample.columns.sizes.astype(np.float64)
    return [_numbered_points(sample, numbers, names, parts, sizes, "atoms")], [], "color: number of atoms"


def _by_composition(
    sample: Sample, numbers: Numbers, names: NDArray[np.str_], parts: NDArray[np.uint8], shown: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    groups = [(words.formula(name), names == name) for name in shown]
    others = ~np.isin(names, shown)
    traces, legend = [], []
    for (name, own), color in zip([*groups, ("others", others)], (*COLORS[: len(groups)], FAINT), strict=True):
        if own.any():
            traces.append(_points(sample, numbers, names, parts, np.flatnonzero(own), translucent(color, 0.65)))
            legend.append(_key(name, "circle", color, "legend"))
    return traces, legend, "color: composition"


def _numbered_points(
    sample: Sample,
    numbers: Numbers,
    names: NDArray[np.str_],
    parts: NDArray[np.uint8],
    values: NDArray[np.float64],
    unit: str,
) -> dict[str, Any]:
    low, high = np.nanquantile(values[np.isfinite(values)], [0.02, 0.98])
    trace = _points(sample, numbers, names, parts, np.arange(len(names)), rounded(values, 4))
    scale = {"colorscale": DENSITY, "cmin": float(low), "cmax": float(high), "showscale": True, "opacity": 0.8}
    trace["marker"] |= {**scale, "colorbar": {"title": {"text": unit}, "thickness": 14, "outlinewidth": 0}}
    return trace


def _points(
    sample: Sample,
    numbers: Numbers,
    names: NDArray[np.str_],
    parts: NDArray[np.uint8],
    own: NDArray[np.int64],
    color: Any,
) -> dict[str, Any]:
    ids, energies = sample.columns.arrays["ids"], numbers.energies[sample.rows]
    texts = [
        f"structure {sample.rows[k]}, id {ids[k]}<br>{names[k]}"
        + (f"<br>{words.number(float(energies[k]))} eV/atom" if np.isfinite(energies[k]) else "")
        for k in own.tolist()
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": rounded(sample.places[own, 0], 4),
        "y": rounded(sample.places[own, 1], 4),
        "text": texts,
        "hoverinfo": "text",
        "marker": {"size": 6, "color": color, "symbol": [_SYMBOLS[part] for part in parts[own]], "line": {"width": 0}},
        "showlegend": False,
        **axes_of(1),
    }


def _key(name: str, symbol: str, color: str, legend: str) -> dict[str, Any]:
    """Return an entry of a legend that belongs to no points."""
    marker = {"symbol": symbol, "color": color, "size": 9}
    return {"type": "scatter", "mode": "markers", "x": [None], "y": [None], "name": name, "marker": marker} | {
        "legend": legend
    }


def redundancy(sample: Sample, numbers: Numbers) -> Figure | None:
    """Return how far the sampled structures are from the one most like them."""
    if len(sample.nearest) < 3 or not sample.typical_distance > 0:
        return None
    relative = sample.nearest / sample.typical_distance
    n_copies = int((relative < _COPY).sum())
    apart = np.log10(relative[relative >= _COPY])
    if not len(apart):
        return None
    n_bins = int(np.clip(3 * len(apart) ** (1 / 3), 8, 60))
    counts, edges = np.histogram(apart, bins=n_bins, range=(apart.min() - 0.05, apart.max() + 0.05))
    fill = {"fill": "tozeroy", "fillcolor": translucent(COLORS[0], 0.15)}
    trace = steps(10.0**edges, counts, COLORS[0], 1, **fill)
    trace["hovertemplate"] = "%{x:.3g}: %{y:,} structures<extra></extra>"
    shape = layout(margin=TIGHT)
    shape["xaxis"] = log_axis("Distance to the nearest, over that of two at random", 10.0**edges)
    shape["yaxis"] = axis("Structures", rangemode="tozero")
    share = int((relative < 0.1).sum())
    sampled = (
        ", looked for among the sampled ones; in the whole data the nearest are nearer"
        if len(numbers.systems) > len(sample.rows)
        else ""
    )
    copies = f" {n_copies:,} have a neighbor that cannot be told from them and are not drawn." if n_copies else ""
    caption = (
        f"Distance of {len(relative):,} structures to the one most like them in the descriptor{sampled}. 1 would be "
        f"as different as two structures at random, small values repeat what is there: {share:,} have one within a "
        f"tenth of that.{copies}"
    )
    return Figure("Redundancy.", caption, [trace], shape, 300)
