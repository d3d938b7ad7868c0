"""A structure in three dimensions: atoms, bonds, cell, arrows on atoms, and the atoms to look at."""

from typing import Any, Final

import numpy as np
from ase.data.colors import jmol_colors
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.core.html import words
from mlff_distiller.core.html.plotting import FAINT, rounded
from mlff_distiller.core.html.plotting import layout as page_layout
from mlff_distiller.data.blocks import has
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.similarity.connectivity import RADII, find_bonds

Floats = NDArray[np.float64]
Traces = list[dict[str, Any]]

FORCE: Final = "#0072B2"
"""Color of forces."""

ACCUSED: Final = "#D55E00"
"""Color of what is wrong."""

HEIGHT: Final = 460
"""Pixels of a figure of one structure."""

HOW_TO_TURN: Final = "Drag or press the arrow keys to turn, scroll to zoom."
HOW_TO_READ: Final = (
    "Gray box: the periodic cell; bonds follow from covalent radii, and those to metal atoms are not drawn."
)

_GROUND: Final = "#f5f7f9"  # white atoms are seen on it
_MOST_ATOMS: Final = 600
_MOST_VACUUM: Final = 2.5  # size of a cell over that of its atoms
_SMALL: Final = 0.08  # of the longest arrow; what is shorter is hidden by its atom
_PIXELS: Final = 165  # of one unit of the aspect ratio, in an orthographic picture of this height
_UNITS: Final = 2.4  # of the diagonal: fills the height, and hardly goes beyond the width of a telephone
_CAMERA: Final = {"projection": {"type": "orthographic"}, "eye": {"x": 0.55, "y": -1.6, "z": 0.75}}


def draw(
    columns: Columns,
    *,
    ringed: NDArray[np.int64] | None = None,
    vectors: Floats | None = None,
    color: str = FORCE,
    unit: str = "eV/A",
) -> tuple[Traces, dict[str, Any]]:
    """Return the traces of a structure and the scene around them.

    Parameters
    ----------
    columns : Columns
        One structure of N atoms.
    ringed : (n,) int, optional
        Atoms to point at; the view is about them.
    vectors : (N, 3), optional
        Arrows at the atoms, in proportion to each other; NaN where there is none.
    color, unit : str
        Of the arrows.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> traces, shape = draw(pack([0], [Structure([8, 1], [[0, 0, 0], [0, 0, 0.97]])]), vectors=np.eye(3)[:2])
    >>> [trace["type"] for trace in traces], shape["scene"]["aspectmode"]
    (['scatter3d', 'scatter3d', 'scatter3d', 'cone'], 'manual')
    """
    positions = columns.arrays["positions"]
    accused = np.zeros(0, dtype=np.int64) if ringed is None else ringed
    arrows = np.full(positions.shape, np.nan) if vectors is None else vectors
    kept = _near(positions, positions[accused].mean(0) if len(accused) else positions.mean(0))
    corners = _corners(columns)
    size = float(np.ptp(np.concatenate([positions[kept], corners]), axis=0).max())
    starts, ends = _ends(positions[kept], arrows[kept], max(1.3, 0.25 * size))
    scene, scale = _scene(np.concatenate([positions[kept], corners, ends]))
    traces = [_box(corners)] if len(corners) else []
    traces += [_bonds(columns, kept), _atoms(columns, kept, scale, _hints(columns, arrows, unit))]
    if len(accused):
        traces.append(_rings(columns, accused, scale))
    if len(starts):
        traces += _arrows(starts, ends, color, head=11 / scale)
    return traces, {"scene": scene}


def layout() -> dict[str, Any]:
    """Return the layout of a figure that shows a structure and nothing else."""
    return page_layout(margin={"l": 0, "r": 0, "t": 0, "b": 0}, paper_bgcolor=_GROUND)


def forces(columns: Columns) -> Floats | None:
    """Return the labeled forces of a structure (N, 3), or None."""
    return columns.arrays["forces"] if has(columns, "forces")[0] else None


def colors(columns: Columns) -> str:
    """Return which color each element has, as HTML."""
    numbers = np.unique(columns.arrays["numbers"]).tolist()
    return " ".join(f'<span class="atom" style="background:{_color(z)}"></span>{SYMBOLS[z]}' for z in numbers)


def left_out(columns: Columns) -> str:
    """Return a sentence on what is not drawn, empty where everything is."""
    n_atoms, periodic = len(columns.arrays["numbers"]), columns.arrays["pbc"][0].any()
    notes = f" Only the {_MOST_ATOMS:,} atoms about the middle are drawn." if n_atoms > _MOST_ATOMS else ""
    if periodic and not len(_corners(columns)):
        notes += " Its cell is much larger than the atoms and is not drawn."
    return notes


def _color(number: int) -> str:
    red, green, blue = (round(255 * x) for x in jmol_colors[number])
    return f"#{red:02x}{green:02x}{blue:02x}"


def _hints(columns: Columns, vectors: Floats, unit: str) -> list[str]:
    """Return what is said of each atom (N,) when the mouse is on it."""
    lengths = np.linalg.norm(vectors, axis=1).tolist()
    return [
        f"{SYMBOLS[z]} {atom}" + (f"<br>{words.quantity(size, unit)}" if np.isfinite(size) else "")
        for atom, (z, size) in enumerate(zip(columns.arrays["numbers"].tolist(), lengths, strict=True))
    ]


def _scene(points: Floats) -> tuple[dict[str, Any], float]:
    """Return a scene that shows all points, and its scale in pixels per Angstrom."""
    low, high = points.min(0) - 0.6, points.max(0) + 0.6
    diagonal = float(np.linalg.norm(high - low))
    ratio = dict(zip("xyz", rounded((high - low) * _UNITS / diagonal), strict=True))
    axes = {
        f"{name}axis": {"visible": False, "showspikes": False, "range": rounded(ends)}
        for name, ends in zip("xyz", np.stack([low, high], axis=1), strict=True)
    }
    return {**axes, "aspectmode": "manual", "aspectratio": ratio, "camera": _CAMERA}, _PIXELS * _UNITS / diagonal


def _near(positions: Floats, focus: Floats) -> NDArray[np.int64]:
    order = np.argsort(np.linalg.norm(positions - focus, axis=1), kind="stable")
    return np.sort(order[:_MOST_ATOMS])


def _points(mode: str, positions: Floats, **more: Any) -> dict[str, Any]:
    x, y, z = (rounded(axis, 5) for axis in positions.T)
    return {"type": "scatter3d", "mode": mode, "x": x, "y": y, "z": z, "showlegend": False, "hoverinfo": "skip", **more}


def _diameters(numbers: NDArray[Any], scale: float) -> Floats:
    """Return diameters in pixels: spheres are drawn as disks that do not grow with the zoom."""
    diameters: Floats = np.clip(1.2 * RADII[numbers] * scale, 5, 46)
    return diameters


def _atoms(columns: Columns, kept: NDArray[np.int64], scale: float, hints: list[str]) -> dict[str, Any]:
    numbers, positions = columns.arrays["numbers"][kept], columns.arrays["positions"][kept]
    marker = {
        "size": rounded(_diameters(numbers, scale), 3),
        "color": [_color(z) for z in numbers.tolist()],
        "opacity": 1,
        "line": {"color": "#55626f", "width": 1},
    }
    return _points("markers", positions, marker=marker, text=[hints[atom] for atom in kept], hoverinfo="text")


def _rings(columns: Columns, accused: NDArray[np.int64], scale: float) -> dict[str, Any]:
    sizes = 1.25 * _diameters(columns.arrays["numbers"][accused], scale) + 4
    marker = {"symbol": "circle-open", "size": rounded(sizes, 3), "color": ACCUSED, "line": {"width": 3}}
    return _points("markers", columns.arrays["positions"][accused], marker=marker)


def _bonds(columns: Columns, kept: NDArray[np.int64]) -> dict[str, Any]:
    """Return half a bond from each of its two atoms: right through the cell boundary too."""
    bonds = find_bonds(columns)
    bonds = bonds.where(np.isin(bonds.centers, kept) & np.isin(bonds.neighbors, kept))
    starts = columns.arrays["positions"][bonds.centers]
    gaps = np.full_like(starts, np.nan)
    path = np.stack([starts, starts + bonds.vectors / 2, gaps], axis=1).reshape(-1, 3)
    return _points("lines", path, line={"color": "#8794a1", "width": 6})


def _corners(columns: Columns) -> Floats:
    """Return the corners (8, 3) of the periodic cell; none (0, 3) without one, or in a cell of nearly nothing."""
    periodic = columns.arrays["pbc"][0] != 0
    fractions = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners: Floats = fractions @ (columns.arrays["cells"][0] * periodic[:, None])
    atoms = float(np.ptp(columns.arrays["positions"], axis=0).max())
    empty = float(np.ptp(corners, axis=0).max()) > _MOST_VACUUM * max(atoms, 4.0)
    return np.zeros((0, 3)) if empty or not periodic.any() else corners


def _box(corners: Floats) -> dict[str, Any]:
    edges = [(a, a | bit) for bit in (1, 2, 4) for a in range(8) if not a & bit]
    path = np.concatenate([[corners[a], corners[b], np.full(3, np.nan)] for a, b in edges])
    return _points("lines", path, line={"color": FAINT, "width": 2})


def _ends(positions: Floats, vectors: Floats, longest: float) -> tuple[Floats, Floats]:
    """Return where arrows start and end (n, 3), the longest as long as said; the smallest are left out."""
    lengths = np.linalg.norm(vectors, axis=1)
    largest = lengths[np.isfinite(lengths)].max(initial=0)
    drawn = np.isfinite(lengths) & (lengths > _SMALL * largest)
    starts = positions[drawn]
    return starts, starts + vectors[drawn] * (longest / (largest or 1))


def _arrows(starts: Floats, ends: Floats, color: str, *, head: float) -> Traces:
    """Return arrows with heads of a length in Angstrom."""
    path = np.stack([starts, ends, np.full_like(starts, np.nan)], axis=1).reshape(-1, 3)
    directions = (ends - starts) / np.linalg.norm(ends - starts, axis=1)[:, None]
    cone = {
        "type": "cone",
        **dict(zip("xyz", (rounded(axis) for axis in ends.T), strict=True)),
        **dict(zip("uvw", (rounded(axis) for axis in head * directions.T), strict=True)),
        "anchor": "tip",
        "sizemode": "raw",
        "sizeref": 1,
        "showscale": False,
        "colorscale": [[0, color], [1, color]],
        "hoverinfo": "skip",
    }
    return [_points("lines", path, line={"color": color, "width": 4}), cone]
