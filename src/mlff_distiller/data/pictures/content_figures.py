"""Figures of what is in the data: elements, compositions, sizes and distances."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.core.html import words
from mlff_distiller.core.html.plotting import (
    COLORS,
    DENSITY,
    FAINT,
    GRID,
    INK,
    TIGHT,
    Figure,
    anchored,
    axes_of,
    axis,
    domain,
    key_of,
    layout,
    ridge,
    rounded,
)
from mlff_distiller.data.similarity.connectivity import RADII

Content = Mapping[str, Any]

_DASH: Final = "\N{EN DASH}"
_MOST_BARS: Final = 12
_MOST_FORMULAS: Final = 20
_MOST_LETTERS: Final = 30
_MOST_PAIRS: Final = 15
_MOST_SIZES: Final = 60

_PERIODS: Final = (
    "H . . . . . . . . . . . . . . . . He",
    "Li Be . . . . . . . . . . B C N O F Ne",
    "Na Mg . . . . . . . . . . Al Si P S Cl Ar",
    "K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr",
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe",
    "Cs Ba La Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn",
    "Fr Ra Ac Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og",
    ". . . Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu .",
    ". . . Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr .",
)


def elements(content: Content) -> Figure:
    """Return the atoms of each element: bars for a few elements, the periodic table for many."""
    found = {name: counts["n_atoms"] for name, counts in content["elements"].items()}
    return _element_bars(content, found) if len(found) <= _MOST_BARS else _periodic_table(found)


def _element_bars(content: Content, found: Mapping[str, int]) -> Figure:
    total = sum(found.values())
    texts = [
        f"{words.number(100 * n / total)} % of the atoms, in {content['elements'][name]['n_structures']:,} structures"
        for name, n in found.items()
    ]
    trace = _bars(list(found), list(found.values()), 1, text=texts, textposition="outside", cliponaxis=False)
    shape = layout(bargap=0.35, margin=TIGHT)
    shape["xaxis"] = axis("Atoms", range=[0, 1.6 * max(found.values())], nticks=6)
    shape["yaxis"] = axis("", autorange="reversed", showgrid=False, type="category")
    caption = "Atoms of each element over all structures, and how many structures hold it."
    return Figure("Elements.", caption, [trace], shape, 90 + 28 * len(found))


def _periodic_table(found: Mapping[str, int]) -> Figure:
    table = np.array([row.split() for row in _PERIODS])
    names = np.where(table == ".", "", table)
    counts = np.array([[found.get(str(name), 0) for name in row] for row in table])
    shared = {"type": "heatmap", "text": names.tolist(), "texttemplate": "%{text}", "xgap": 2, "ygap": 2}
    empty = {**shared, "z": _or_none(np.ones_like(counts), (names != "") & (counts == 0)), "showscale": False}
    empty |= {"colorscale": [[0, GRID], [1, GRID]], "textfont": {"color": FAINT}, "hoverinfo": "skip"}
    decades = np.log10(np.maximum(counts, 1))
    ticks = list(range(int(decades.max()) + 1))
    full = {
        **shared,
        "z": _or_none(decades, counts > 0),
        "zmin": 0,
        "zmax": float(max(decades.max(), 1)),
        "colorscale": DENSITY,
        "customdata": counts.tolist(),
        "hovertemplate": "%{text}: %{customdata:,} atoms<extra></extra>",
        "colorbar": {"title": {"text": "Atoms"}, "tickvals": ticks, "ticktext": [f"{10**t:,}" for t in ticks]},
    }
    shape = layout(margin={"l": 8, "r": 8, "t": 8, "b": 8})
    shape["xaxis"] = {"visible": False, "fixedrange": True}
    shape["yaxis"] = {"visible": False, "fixedrange": True, "autorange": "reversed"}
    caption = f"Atoms of each of the {len(found)} elements that are in the data; gray elements are not."
    return Figure("Elements.", caption, [empty, full], shape, 340)


def _or_none(values: NDArray[Any], shown: NDArray[np.bool_]) -> list[list[float | None]]:
    rows = zip(values.tolist(), shown.tolist(), strict=True)
    return [[float(v) if s else None for v, s in zip(row, mask, strict=True)] for row, mask in rows]


def compositions(content: Content, sizes: NDArray[np.int64]) -> Figure | None:
    """Return the most frequent formulas and the numbers of atoms, each where there is more than one."""
    formulas = dict(list(content["formulas"].items())[:_MOST_FORMULAS])
    panels = []
    if content["n_formulas"] > 1 and max(formulas.values()) > 1:
        panels.append("formulas")
    if len(np.unique(sizes)) > 1:
        panels.append("sizes")
    if not panels:
        return None
    traces, shape, captions = [], layout(bargap=0.25, margin=TIGHT), []
    for index, panel in enumerate(panels, start=1):
        across = domain(index - 1, len(panels), 0.12)
        x, y = key_of("x", index), key_of("y", index)
        if panel == "formulas":
            traces.append(_bars([words.formula(_shortened(name)) for name in formulas], list(formulas.values()), index))
            shape[x] = axis("Structures", domain=across, anchor=f"y{index}", nticks=6)
            shape[y] = axis("", autorange="reversed", showgrid=False, type="category", anchor=f"x{index}", dtick=1)
            of = (
                f"the {len(formulas)} most frequent of {content['n_formulas']:,}"
                if content["n_formulas"] > len(formulas)
                else f"all {len(formulas)}"
            )
            captions.append(f"structures of each composition ({of})")
        else:
            traces.append(_size_bars(sizes, index))
            shape[x] = axis("Atoms in a structure", domain=across, anchor=f"y{index}", nticks=8)
            shape[y] = axis("Structures", anchor=f"x{index}", rangemode="tozero")
            captions.append(f"how large structures are ({sizes.min():,} to {sizes.max():,} atoms)")
    sides = ("Left: ", "Right: ") if len(panels) == 2 else ("",)
    caption = ". ".join(side + text for side, text in zip(sides, captions, strict=True)) + "."
    caption = caption[0].upper() + caption[1:]
    height = max(300, 90 + 19 * len(formulas)) if panels[0] == "formulas" else 300
    return Figure("Compositions and sizes.", caption, traces, anchored(shape), height)


def _shortened(formula: str) -> str:
    return formula if len(formula) <= _MOST_LETTERS else f"{formula[: _MOST_LETTERS - 1]}…"


def _size_bars(sizes: NDArray[np.int64], panel: int) -> dict[str, Any]:
    low, high = int(sizes.min()), int(sizes.max())
    width = -(-(high - low + 1) // _MOST_SIZES)
    counts = np.bincount((sizes - low) // width)
    starts = low + width * np.arange(len(counts))
    names = [str(s) if width == 1 else f"{s} to {s + width - 1}" for s in starts.tolist()]
    return {
        "type": "bar",
        "x": (starts + (width - 1) / 2).tolist(),
        "y": counts.tolist(),
        "width": width,
        "customdata": names,
        "hovertemplate": "%{customdata} atoms: %{y:,} structures<extra></extra>",
        "marker": {"color": COLORS[0], "line": {"color": "white", "width": 0.5}},
        **axes_of(panel),
    }


def _bars(names: list[str], counts: list[int], panel: int, **more: Any) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "x": counts,
        "y": names,
        "marker": {"color": COLORS[0]},
        "hovertemplate": "%{y}: %{x:,}<extra></extra>",
        **more,
        **axes_of(panel),
    }


def distances(content: Content) -> Figure | None:
    """Return the distribution of distances of each pair of elements, a ridge for each, the shortest marked."""
    edges = np.array(content["distances"]["edges_A"])
    counts = {name: np.array(found) for name, found in content["distances"]["counts"].items() if sum(found)}
    if not counts:
        return None
    shown = sorted(counts, key=lambda name: -counts[name].sum())[:_MOST_PAIRS]
    shown.sort(key=lambda name: [SYMBOLS.index(symbol) for symbol in name.split("-")])
    traces: list[dict[str, Any]] = []
    middles = (edges[1:] + edges[:-1]) / 2
    for place, name in enumerate(shown):
        base = len(shown) - 1 - place
        traces += ridge(middles, counts[name] / middles**2, base, COLORS[place], 1)
    shape = layout(margin=TIGHT)
    shortest = [_first(edges, counts[name]) for name in shown]
    traces.append(_marks(shortest))
    shape["xaxis"] = axis("Distance (Å)", range=[max(0.0, min(shortest) - 0.5), float(edges[-1])])
    places = list(range(len(shown)))
    labels = [name.replace("-", _DASH) for name in reversed(shown)]
    shape["yaxis"] = axis("", tickvals=places, ticktext=labels, range=[-0.15, len(shown) + 0.1], ticks="")
    caption = (
        f"{_which(shown, counts)} Number of pairs divided by the squared distance, each curve scaled to its own "
        f"highest point, periodic images included. Mark and number: the shortest distance, to {edges[1]:.2g}&nbsp;Å. "
        f"{_closest(edges, counts)} A shortest distance far below a bond length is worth a look."
    )
    return Figure("Distances by elements.", caption, traces, shape, 80 + max(34 * len(shown), 120))


def _marks(shortest: list[float]) -> dict[str, Any]:
    """Return a mark at the shortest distance of each ridge, from top to bottom, with its number."""
    bases = np.arange(len(shortest))[::-1]
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": rounded(shortest),
        "y": rounded(bases + 0.17),
        "text": [f"{x:.2f} " for x in shortest],
        "textposition": "middle left",
        "textfont": {"size": 11},
        "marker": {"symbol": "line-ns-open", "size": 11, "color": INK, "line": {"width": 1.5}},
        "hoverinfo": "skip",
        "showlegend": False,
        **axes_of(1),
    }


def _first(edges: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    return float(edges[np.flatnonzero(counts)[0]])


def _which(shown: list[str], counts: Mapping[str, Any]) -> str:
    n = len(counts)
    return f"The {len(shown)} most frequent of {n:,} pairs of elements." if n > len(shown) else ""


def _closest(edges: NDArray[np.float64], counts: Mapping[str, NDArray[np.int64]]) -> str:
    """Return a sentence on the pair that is shortest relative to its covalent radii."""
    ratios = {
        name: _first(edges, found) / sum(RADII[SYMBOLS.index(symbol)] for symbol in name.split("-"))
        for name, found in counts.items()
    }
    name = min(ratios, key=lambda pair: ratios[pair])
    return (
        f"Closest for their size are {name.replace('-', _DASH)} at {_first(edges, counts[name]):.2f}&nbsp;Å, "
        f"{ratios[name]:.2f} times the sum of their covalent radii."
    )
