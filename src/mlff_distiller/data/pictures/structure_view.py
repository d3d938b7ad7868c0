"""A structure in three dimensions: atoms, bonds, cell, forces, and the atoms that findings are about."""

from collections.abc import Sequence
from html import escape
from typing import Any, Final

import numpy as np
from ase.data.colors import jmol_colors
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.core.html import words
from mlff_distiller.core.html.plotting import FAINT, Choice, Choices, Figure, layout, rounded
from mlff_distiller.data.blocks import has
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.pictures.outliers import Outlier, accused_atoms
from mlff_distiller.data.similarity.connectivity import RADII, find_bonds
from mlff_distiller.data.storage.store import Store

Floats = NDArray[np.float64]
Traces = list[dict[str, Any]]

KEY: Final = "structure"
"""Anchor of the list of structures."""

_MOST_ATOMS: Final = 600
_ACCUSED: Final = "#D55E00"
_FORCE: Final = "#0072B2"
_MOST_INFO: Final = 160
_MOST_LETTERS: Final = 40
_MOST_VACUUM: Final = 2.5  # size of a cell over that of its atoms
_SMALL: Final = 0.08  # of the longest force; what is shorter is hidden by its atom
_PIXELS: Final = 165  # of one unit of the aspect ratio, in an orthographic picture of this height
_UNITS: Final = 2.4  # of the diagonal: fills the height, and hardly goes beyond the width of a telephone
_CAMERA: Final = {"projection": {"type": "orthographic"}, "eye": {"x": 0.55, "y": -1.6, "z": 0.75}}


def view(store: Store, outliers: Sequence[Outlier]) -> Figure:
    """Return a figure that shows one of the structures, whichever a reader chooses."""
    options = [_choice(store.take([outlier.row]), outlier) for outlier in outliers]
    shape = layout(margin={"l": 0, "r": 0, "t": 0, "b": 0})
    caption = (
        "Drag to turn, scroll to zoom. Orange rings: the atoms that a finding is about, where it names them. Blue "
        "arrows: forces, in proportion within a structure. Gray box: the periodic cell; bonds follow from covalent "
        "radii, and those to metal atoms are not drawn."
    )
    return Figure("Structures to look at.", caption, [], shape, 460, Choices(KEY, "Structure", options))


def _choice(columns: Columns, outlier: Outlier) -> Choice:
    structure = columns.structure(0)
    label = f"{outlier.row}: {words.formula(_shortened(structure.formula, _MOST_LETTERS))}, {outlier.title}"
    return Choice(label, _text(columns, outlier), *_drawn(columns, accused_atoms(columns, outlier.kinds)))


def _text(columns: Columns, outlier: Outlier) -> str:
    structure, labels = columns.structure(0), columns.labels(0)
    facts = [f"{len(structure):,} atoms", f"row {outlier.row}, id {columns.arrays['ids'][0]}"]
    if structure.charge:
        facts.append(f"charge {structure.charge:+d}".replace("-", words.MINUS))
    if labels.energy is not None:
        facts.append(f"energy {words.quantity(labels.energy, 'eV', 7)}")
    if labels.forces is not None and np.isfinite(labels.forces).all():
        facts.append(f"longest force {words.quantity(float(np.linalg.norm(labels.forces, axis=1).max()), 'eV/A')}")
    said = escape(_shortened(", ".join(f"{key} {value}" for key, value in structure.info.items()), _MOST_INFO))
    reasons = "; ".join(escape(reason) for reason in outlier.reasons)
    notes = f" Only the {_MOST_ATOMS:,} atoms about the middle are drawn." if len(structure) > _MOST_ATOMS else ""
    if structure.pbc.any() and not len(_corners(columns)):
        notes += " Its cell is much larger than the atoms and is not drawn."
    return (
        f"<p><strong>{words.formula(structure.formula)}</strong>: {reasons}.{notes}<br>"
        f'<small class="inline">{" · ".join(facts)}{f" · {said}" if said else ""}<br>{_colors(columns)}</small></p>'
    )


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _colors(columns: Columns) -> str:
    numbers = np.unique(columns.arrays["numbers"]).tolist()
    return " ".join(f'<span class="atom" style="background:{_color(z)}"></span>{SYMBOLS[z]}' for z in numbers)


def _color(number: int) -> str:
    red, green, blue = (round(255 * x) for x in jmol_colors[number])
    return f"#{red:02x}{green:02x}{blue:02x}"


def _drawn(columns: Columns, accused: NDArray[np.int64]) -> tuple[Traces, dict[str, Any]]:
    """Return the traces and the scene around them."""
    positions = columns.arrays["positions"]
    kept = _near(positions, positions[accused].mean(0) if len(accused) else positions.mean(0))
    corners = _corners(columns)
    size = float(np.ptp(np.concatenate([positions[kept], corners]), axis=0).max())
    starts, ends = _arrows(columns, kept, max(1.3, 0.25 * size))
    scene, scale = _scene(np.concatenate([positions[kept], corners, ends]))
    traces = [_box(corners)] if len(corners) else []
    traces += [_bonds(columns, kept), _atoms(columns, kept, scale)]
    if len(accused):
        traces.append(_rings(columns, accused, scale))
    if len(starts):
        traces += _forces(starts, ends, head=11 / scale)
    return traces, {"scene": scene}


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


def _atoms(columns: Columns, kept: NDArray[np.int64], scale: float) -> dict[str, Any]:
    numbers, positions = columns.arrays["numbers"][kept], columns.arrays["positions"][kept]
    marker = {
        "size": rounded(_diameters(numbers, scale), 3),
        "color": [_color(z) for z in numbers.tolist()],
        "opacity": 1,
        "line": {"color": "#55626f", "width": 1},
    }
    lengths = np.full(len(kept), np.nan)
    if has(columns, "forces")[0]:
        lengths = np.linalg.norm(columns.arrays["forces"][kept], axis=1)
    texts = [
        f"{SYMBOLS[z]} {atom}" + (f"<br>{words.number(float(force))} eV/Å" if np.isfinite(force) else "")
        for z, atom, force in zip(numbers.tolist(), kept.tolist(), lengths.tolist(), strict=True)
    ]
    return _points("markers", positions, marker=marker, text=texts, hoverinfo="text")


def _rings(columns: Columns, accused: NDArray[np.int64], scale: float) -> dict[str, Any]:
    sizes = 1.25 * _diameters(columns.arrays["numbers"][accused], scale) + 4
    marker = {"symbol": "circle-open", "size": rounded(sizes, 3), "color": _ACCUSED, "line": {"width": 3}}
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


def _arrows(columns: Columns, kept: NDArray[np.int64], longest: float) -> tuple[Floats, Floats]:
    """Return where arrows of forces start and end (n, 3), the longest as long as said; the smallest are left out."""
    forces = columns.arrays["forces"][kept] if has(columns, "forces")[0] else np.zeros((len(kept), 3))
    lengths = np.linalg.norm(forces, axis=1)
    largest = lengths[np.isfinite(lengths)].max(initial=0)
    drawn = np.isfinite(lengths) & (lengths > _SMALL * largest)
    starts = columns.arrays["positions"][kept][drawn]
    return starts, starts + forces[drawn] * (longest / (largest or 1))


def _forces(starts: Floats, ends: Floats, *, head: float) -> Traces:
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
        "colorscale": [[0, _FORCE], [1, _FORCE]],
        "hoverinfo": "skip",
    }
    return [_points("lines", path, line={"color": _FORCE, "width": 4}), cone]
