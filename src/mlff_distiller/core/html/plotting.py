"""The look of the figures: palette, axes and panels, as plain plotly dictionaries."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5E4FA2", "#7F7F7F")
"""Okabe and Ito's colors, told apart by readers with any color vision."""

COLORS: Final = PALETTE * 8
"""The palette again and again, for more lines than it has colors."""

INK: Final = "#1c2733"
FAINT: Final = "#8794a1"
GRID: Final = "#e8ecf0"
DENSITY: Final = [[0.0, "#c6d9ea"], [0.35, "#5b9bc8"], [0.7, "#1f5f99"], [1.0, "#0b2545"]]
"""One hue from light to dark: reads the same in gray."""

TIGHT: Final = {"l": 64, "r": 16, "t": 10, "b": 52}
"""Margins of a figure without a legend on top, pixels."""

_FONT: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


class Choice(NamedTuple):
    """One of the things that a figure can show.

    Attributes
    ----------
    label, text : str
        What it is called in the list, and what is said of it; escaped HTML.
    traces : list of dict
    layout : dict
        What takes the place of entries of the figure's layout.
    """

    label: str
    text: str
    traces: list[dict[str, Any]]
    layout: dict[str, Any]


class Choices(NamedTuple):
    """Things of which a figure shows the one that the reader chooses.

    Attributes
    ----------
    key : str
        Anchor of the list; a link to it with ``data-choice="2"`` chooses the third.
    label : str
        What stands before the list.
    options : sequence of Choice
    """

    key: str
    label: str
    options: list[Choice]


@dataclass(frozen=True, eq=False)
class Figure:
    """A plotly figure with its caption.

    Parameters
    ----------
    title : str
        First words of the caption, escaped HTML.
    caption : str
        The rest: units and sample sizes, escaped HTML.
    traces : list of dict
    layout : dict
    height : int
        Pixels.
    choices : Choices, optional
        What a reader may choose from; their traces take the place of ``traces``.
    """

    title: str
    caption: str
    traces: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int
    choices: Choices | None = None

    @property
    def n_columns(self) -> int:
        """How many panels stand side by side: so much wider a figure must be to be read.

        Examples
        --------
        >>> Figure("", "", [], {"xaxis": {"domain": [0, 0.4]}, "xaxis2": {"domain": [0.6, 1]}}, 300).n_columns
        2
        """
        starts = {value.get("domain", [0])[0] for key, value in self.layout.items() if key.startswith("xaxis")}
        return max(len(starts), 1)


def layout(**more: Any) -> dict[str, Any]:
    """Return a white layout with the report's font, margins and a legend on top."""
    return {
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "font": {"family": _FONT, "size": 12, "color": INK},
        "margin": {"l": 64, "r": 16, "t": 34, "b": 52},
        "hoverlabel": {"font": {"family": _FONT, "size": 12}},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.0,
            "yanchor": "bottom",
            "xanchor": "left",
            "bgcolor": "rgba(0,0,0,0)",
        },
        "showlegend": False,
        **more,
    }


def axis(label: str, **more: Any) -> dict[str, Any]:
    """Return an axis with a frame, outside ticks and a faint grid."""
    return {
        "title": {"text": label, "standoff": 8},
        "showline": True,
        "mirror": True,
        "linecolor": FAINT,
        "linewidth": 1,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": FAINT,
        "gridcolor": GRID,
        "zeroline": False,
        "automargin": True,
        **more,
    }


def log_axis(label: str, values: Any, **more: Any) -> dict[str, Any]:
    """Return a logarithmic axis: decades where the values span many, ticks at 1, 2 and 5 or more where they do not."""
    numbers = np.array([v for v in values if v is not None and v > 0])
    low, high = (np.log10(numbers.min()), np.log10(numbers.max())) if len(numbers) else (0.0, 0.0)
    if high - low > 1.3:
        return axis(label, type="log", dtick=1, exponentformat="none", **more)
    exponents = range(int(np.floor(low)) - 1, int(np.ceil(high)) + 2)
    digits = (1, 2, 5) if high - low > 0.5 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    ticks = [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]
    return axis(label, type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks], **more)


def steps(edges: Any, heights: Any, color: str, panel: int, **more: Any) -> dict[str, Any]:
    """Return a histogram as an outline: ``heights`` (B,) between ``edges`` (B + 1,)."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": rounded([edges[0], *edges]),
        "y": rounded([0.0, *heights, 0.0]),
        "line": {"shape": "hv", "width": 1.6, "color": color},
        **more,
        **axes_of(panel),
    }


def ridge(x: Floats, heights: Floats, base: float, color: str, panel: int) -> list[dict[str, Any]]:
    """Return a filled curve on a base line; many of them stand above each other, each scaled to its highest point."""
    shared = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False, **axes_of(panel)}
    scaled = 0.85 * heights / max(float(heights.max()), 1e-300)
    floor = {"x": rounded(x[[0, -1]]), "y": [base, base], "line": {"color": FAINT, "width": 0.7}}
    line = {"color": color, "width": 1.5, "shape": "spline", "smoothing": 0.4}
    filled = {"fill": "tonexty", "fillcolor": translucent(color, 0.22)}
    return [{**shared, **floor}, {**shared, "x": rounded(x), "y": rounded(base + scaled, 4), "line": line, **filled}]


def block_means(values: Floats, n_blocks: int) -> Floats:
    """Return means over consecutive blocks ; what does not fill a block is left out.

    Examples
    --------
    >>> block_means(np.arange(6.0), 3).tolist()
    [0.5, 2.5, 4.5]
    """
    size = max(len(values) // n_blocks, 1)
    count = len(values) // size
    return np.asarray(values[: count * size].reshape(count, size).mean(1))


def domain(index: int, count: int, gap: float) -> list[float]:
    """Return the part of the width (or height) that panel ``index`` of ``count`` takes.

    Examples
    --------
    >>> domain(1, 2, 0.2)
    [0.6, 1.0]
    """
    size = (1 - gap * (count - 1)) / count
    first = index * (size + gap)
    return [round(first, 6), round(min(first + size, 1.0), 6)]


def panel_title(text: str, panel: int, **more: Any) -> dict[str, Any]:
    """Return a heading above a panel, at its left edge."""
    suffix = "" if panel == 1 else str(panel)
    return {
        "text": text,
        "xref": f"x{suffix} domain",
        "yref": f"y{suffix} domain",
        "x": 0,
        "y": 1,
        "xanchor": "left",
        "yanchor": "bottom",
        "yshift": 3,
        "showarrow": False,
        "font": {"size": 12, "color": INK},
        **more,
    }


def axes_of(panel: int) -> dict[str, str]:
    """Return which axes a trace of a panel belongs to."""
    suffix = "" if panel == 1 else str(panel)
    return {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}


def key_of(letter: str, panel: int) -> str:
    """Return the layout's key of an axis, for instance "xaxis2"."""
    return f"{letter}axis{'' if panel == 1 else panel}"


def rounded(values: Any, digits: int = 5) -> list[float | None]:
    """Return numbers for JSON with few digits; null where not finite."""
    array = np.asarray(values, dtype=np.float64).ravel()
    return [float(f"{x:.{digits}g}") if np.isfinite(x) else None for x in array]


def translucent(color: str, alpha: float) -> str:
    """Return a color "#rrggbb" with an opacity.

    Examples
    --------
    >>> translucent("#0072B2", 0.2)
    'rgba(0,114,178,0.2)'
    """
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def thinned(n: int, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` indices evenly spread over ``n``, the same ones each time.

    Examples
    --------
    >>> thinned(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def density(x: Floats, y: Floats, n_bins: int = 80) -> Floats:
    """Return the logarithm of how many points share each point's cell of a grid, scaled to 0...1."""
    counts, x_edges, y_edges = np.histogram2d(x, y, bins=n_bins)
    i = np.clip(np.searchsorted(x_edges, x, side="right") - 1, 0, n_bins - 1)
    j = np.clip(np.searchsorted(y_edges, y, side="right") - 1, 0, n_bins - 1)
    height = np.log(counts[i, j])
    return np.asarray(height / max(float(height.max()), 1e-9))


def anchored(shape: dict[str, Any]) -> dict[str, Any]:
    """Name the first axes as plotly does: "x", not "x1"."""
    for key, value in shape.items():
        if "axis" in key and isinstance(value, dict) and value.get("anchor") in ("x1", "y1"):
            shape[key] = {**value, "anchor": value["anchor"][0]}
    return shape
