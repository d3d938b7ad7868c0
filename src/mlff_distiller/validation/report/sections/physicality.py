"""The section on physicality: what holds for every energy surface, in plain words, and where two atoms meet."""

from collections.abc import Collection, Sequence
from html import escape
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import Numbered, table
from mlff_distiller.core.html.plotting import (
    COLORS,
    FAINT,
    Figure,
    anchored,
    axes_of,
    axis,
    domain,
    key_of,
    layout,
    panel_title,
    rounded,
)
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.report.content import StudentReport

Arrays = dict[str, NDArray[Any]]
Traces = list[dict[str, Any]]

_QUESTIONS: Final = {
    "force_residual": "Forces are the gradient of the energy",
    "loop_force": "No energy is gained on closed loops",
    "stress_residual": "The stress is the derivative of the energy",
    "force_spread": "Forces are the same in any orientation, order, image and batch",
    "energy_spread": "So are energies",
    "energy_jump": "No energy jumps where a bond stretches or at the cutoff",
    "force_jump": "Nor does any force",
    "extensivity_error": "What is far apart adds up",
    "short_range_hole": "Atoms that meet run into a wall, not into a hole",
}
_LOWEST, _HIGHEST = -12.0, 40.0  # eV, of the figure of walls
_NOTHING: Final = 0.02  # eV


def section(numbered: Numbered, name: str, student: StudentReport) -> str:
    """Return what is to be said of the physicality of a student; empty where it was not measured.

    Parameters
    ----------
    numbered : Numbered
        Numbers figures and tables.
    name : str
        Name of the student.
    student : StudentReport
        Its evidence of ``physicality``.
    """
    found = student.evidence.get("physicality")
    if found is None or not (found.measurements or found.skipped):
        return ""
    arrays, strange = student.arrays("physicality"), found.measurement("out_of_domain")
    title, caption = (
        f"What must hold of {escape(name)}.",
        "Measured without the teacher: it holds of every energy surface.",
    )
    parts = [
        _hole(found.measurement("short_range_hole")),
        numbered.table(title, caption, _rows(found)),
        numbered.figure(walls(name, arrays, _falling(found))),
        numbered.figure(through_the_cutoff(name, arrays)),
        _outside(numbered, name, strange) if strange else "",
    ]
    return "".join(parts)


def _hole(hole: Measurement | None) -> str:
    """Return in plain words whether atoms can fall into each other."""
    if hole is None:
        return ""
    if hole.value <= _NOTHING:
        guarded = [kind for kind, row in hole.detail["kinds"].items() if row.get("fall_eV", 0.0) > _NOTHING]
        behind = (
            f" Deeper in, behind barriers that nothing gets over, the energy of {len(guarded)} pairs falls again."
            if guarded
            else ""
        )
        return f"<p>Wherever atoms were pushed together, the energy rises like a wall.{behind}</p>"
    worst = hole.detail["kinds"][hole.detail["worst"]]
    return (
        f"<p>There is a hole: with {escape(hole.detail['worst'])}, the energy falls by "
        f"{words.quantity(hole.value, 'eV', 2)} between {words.quantity(worst['top_A'], 'Å', 2)} and "
        f"{words.quantity(worst['bottom_A'], 'Å', 2)}, behind a barrier of "
        f"{words.quantity(worst['barrier_eV'], 'eV', 2)}. Dynamics that gets over it falls in.</p>"
    )


def _rows(found: Evidence) -> str:
    missing = {skipped.check: skipped for skipped in found.skipped}
    rows = []
    for name, question in _QUESTIONS.items():
        measured = found.measurement(name)
        if measured is not None:
            value = words.quantity(measured.value, measured.unit, 2)
            rows.append([question, value, words.interval(measured.ci95, 2), _where(measured)])
        elif name in missing:
            said = "not measured" if missing[name].applies else "does not apply"
            rows.append([question, said, words.NONE, escape(missing[name].reason)])
    return table(["What must hold", "Violated by", "95 % interval", "Worst"], rows, numeric=[1, 2])


def _where(measured: Measurement) -> str:
    """Return where a number is worst, and of how many it is the worst."""
    kinds = measured.detail.get("kinds", {})
    if kinds:
        return f"{escape(measured.detail['worst'])}<small>worst of {len(kinds)}</small>"
    systems = measured.detail.get("systems_eV_per_atom", {})
    if systems:
        return escape(max(systems, key=lambda name: systems[name]))
    return f"{measured.n_samples:,} structures"


def _outside(numbered: Numbered, name: str, strange: Measurement) -> str:
    """Return how the student answers far from what it was trained on."""
    rows = [
        [
            escape(change),
            f"{row['n_answered']} of {row['n_structures']}",
            words.NONE if row["restoring_share"] is None else f"{100 * row['restoring_share']:.0f}&nbsp;%",
            words.number(row["largest_force_eV_per_A"]),
        ]
        for change, row in strange.detail["changes"].items()
    ]
    head = ["Structures", "Finite energies and forces", "Forces pull back", "Largest force (eV/Å)"]
    unknown = strange.detail["unknown_element"]
    element = "" if unknown == "none" else f" An element that it does not know: {escape(unknown)}."
    caption = f"One structure of each system, scaled or displaced as a whole; only reported.{element}"
    return numbered.table(
        f"Outside of what {escape(name)} was trained on.", caption, table(head, rows, numeric=[1, 2, 3])
    )


def _falling(found: Evidence) -> dict[str, float]:
    """Return how far the energy of those pairs falls that do not run into a wall."""
    hole = found.measurement("short_range_hole")
    kinds = hole.detail["kinds"] if hole else {}
    return {kind: row["fall_eV"] for kind, row in kinds.items() if row.get("fall_eV", 0.0) > _NOTHING}


def walls(name: str, arrays: Arrays, falling: Collection[str] = ()) -> Figure | None:
    """Return the energy of two atoms pushed together: isolated pairs on the left, within molecules on the right.

    Parameters
    ----------
    name : str
        Name of the student.
    arrays : dict
        Of its physicality.
    falling : collection of str
        Labels of the curves that fall again, to be drawn in color.
    """
    if "short_range_labels" not in arrays:
        return None
    labels = arrays["short_range_labels"].tolist()
    alone = [k for k, label in enumerate(labels) if label.endswith(" alone")]
    within = [k for k in range(len(labels)) if k not in alone]
    panels = [(title, own) for title, own in (("Isolated pairs", alone), ("Within molecules", within)) if own]
    shape, traces = layout(showlegend=True, annotations=[]), []
    colors = dict(zip((label for label in labels if label in falling), COLORS, strict=False))
    for panel, (title, own) in enumerate(panels, 1):
        across = domain(panel - 1, len(panels), 0.1)
        shape[key_of("x", panel)] = axis("Distance of the two atoms (Å)", domain=across, anchor=f"y{panel}")
        shape[key_of("y", panel)] = axis(
            "Energy (eV)" if panel == 1 else "", range=[_LOWEST, _HIGHEST], anchor=f"x{panel}"
        )
        shape["annotations"].append(panel_title(title, panel))
        traces += [_wall(arrays, k, panel) for k in own if labels[k] not in falling]
        traces += [_wall(arrays, k, panel, colors[labels[k]]) for k in own if labels[k] in colors]
    shape["legend"] |= {"y": 1.09}  # above the titles of the panels
    shape["margin"] |= {"t": 70}
    caption = (
        f"Energy of <em>{escape(name)}</em> while one atom is pushed into another, everything else at rest, counted "
        "from where the way in begins. Coming from the right, every curve must rise at short distances, and never "
        f"fall again. Gray: the {len(labels) - len(falling)} that do; in color: the {len(falling)} that fall."
    )
    return Figure(f"Where atoms meet, {escape(name)}.", caption, traces, anchored(shape), 420)


def _wall(arrays: Arrays, k: int, panel: int, color: str = "") -> dict[str, Any]:
    label, energies = str(arrays["short_range_labels"][k]), arrays["short_range_energies"][k]
    shown = np.clip(energies, 2 * _LOWEST, 2 * _HIGHEST)  # beyond the frame, and short to write down
    distances = arrays["short_range_distances"][k]
    return _line(distances, shown, color or FAINT, panel, name=escape(label), showlegend=bool(color))


def through_the_cutoff(name: str, arrays: Arrays) -> Figure | None:
    """Return energy and force between two copies of each molecule while they are drawn apart."""
    if "cutoff_labels" not in arrays:
        return None
    traces: Traces = []
    for k, (label, color) in enumerate(zip(arrays["cutoff_labels"].tolist(), COLORS, strict=False)):
        gaps = arrays["cutoff_gaps"][k]
        traces.append(_line(gaps, 1000 * arrays["cutoff_energies"][k], color, 1, name=escape(label)))
        traces.append(_line(gaps, 1000 * arrays["cutoff_forces"][k], color, 2, name=escape(label), showlegend=False))
    shape = layout(showlegend=True)
    for column in range(2):
        across = domain(column, 2, 0.12)
        shape[key_of("x", column + 1)] = axis("Gap between the two (Å)", domain=across, anchor=f"y{column + 1}")
    shape["yaxis"] = axis("Energy (meV)")
    shape["yaxis2"] = axis("Repulsion (meV/Å)", anchor="x2")
    caption = (
        f"Two copies of each molecule, or two atoms of a crystal, drawn apart until <em>{escape(name)}</em> sees no "
        "more of it. Left: energy, counted from the end. Right: the force by which they repel each other. Both must go "
        "to zero without a step."
    )
    return Figure(f"Through the cutoff, {escape(name)}.", caption, traces, anchored(shape), 340)


def _line(x: Sequence[float] | NDArray[Any], y: NDArray[Any], color: str, panel: int, **more: Any) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": rounded(x, 4),
        "y": rounded(y, 4),
        "line": {"color": color, "width": 1.5},
        "hovertemplate": f"{more['name']}: %{{x}} Å, %{{y}}<extra></extra>",
        "legendgroup": more["name"],
        **more,
        **axes_of(panel),
    }
