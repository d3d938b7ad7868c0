"""The section on observables: what dynamics and statics of a student show beside the teacher's own spread."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, inf
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import Numbered, note, table
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
    translucent,
)
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.observables.measures import SAMPLED
from mlff_distiller.validation.observables.observations import Arrays, Observations
from mlff_distiller.validation.observables.rdf import bin_centers, pair_names
from mlff_distiller.validation.observables.spectra import wavenumbers
from mlff_distiller.validation.observables.statics import STATICS
from mlff_distiller.validation.report.content import StudentReport

Floats = NDArray[np.float64]
Traces = list[dict[str, Any]]

_COLUMNS: Final = 4
_MOST_PANELS: Final = 12
_STUDENT: Final = COLORS[0]
_BAND: Final = "Gray: from the lowest to the highest of the teacher's runs. Blue: mean of the student's runs."
_LABELS: Final[Mapping[str, str]] = {
    "bond_distribution": "Bond lengths",
    "angle_distribution": "Bond angles",
    "dihedral_distribution": "Dihedral angles",
    "rdf": "Radial distribution",
    "vdos": "Vibrational spectrum",
    "pressure": "Pressure",
    "diffusion": "Diffusion",
    "frequency_mae": "Harmonic frequencies, mean error",
    "geometry_rmsd": "Relaxed geometry, mean distance",
    "torsion_error": "Torsion profiles, largest error",
    "dimer_error": "Dimer curves, largest error",
    "eos_error": "Bulk modulus, largest error",
    "elastic_error": "Elastic constants, largest error",
}


def section(numbered: Numbered, name: str, student: StudentReport) -> str:
    """Return what is to be said of a student's observables; empty where there is no evidence of them.

    Parameters
    ----------
    numbered : Numbered
        Numbers figures and tables.
    name : str
        Name of the student.
    student : StudentReport
        Its evidence of ``observables``.
    """
    found = student.evidence.get("observables")
    if found is None:
        return ""
    parts = [*_tables(numbered, name, found)]
    if found.arrays:
        pair = _Pair.of(found.arrays)
        parts += [numbered.figure(figure) for figure in _figures(name, pair)]
    missing = (one for one in found.skipped if one.applies)
    parts += [note(f"Not measured, {escape(_LABELS[one.check])}: {escape(one.reason)}.") for one in missing]
    return "".join(parts)


def said(found: Measurement) -> str:
    """Return a ratio in plain words.

    Examples
    --------
    >>> said(Measurement("vdos", 1.1, "", (0.8, 1.5)))
    'as far from the teacher as two of its own runs are from each other'
    """
    if found.value == inf:
        return "a run of the student failed"
    times = f"{words.number(found.value, 2)} times as far from the teacher as two of its own runs are from each other"
    if found.ci95 is None:
        return f"{times}; too few runs for an interval"
    low, high = found.ci95
    if low > 1:
        return f"{times}: a difference that is not chance"
    if high < 1:
        return "closer to the teacher than two of its own runs are to each other, which is chance"
    return "as far from the teacher as two of its own runs are from each other"


def _tables(numbered: Numbered, name: str, found: Evidence) -> Iterator[str]:
    ratios = [m for m in found.measurements if m.name in SAMPLED]
    statics = [m for m in found.measurements if m.name in STATICS]
    if ratios:
        metrics = "; ".join(f"{_LABELS[m.name].lower()}, {m.detail['distance']}" for m in ratios)
        caption = (
            "Distance between a run of the student and one of the teacher, over the distance between two runs of the "
            "teacher; geometric mean of the systems. A student that is the teacher gives 1. Distances: "
            f"{escape(metrics)}."
        )
        head = [
            "Observable",
            "Ratio",
            "95&nbsp;% interval",
            "Worst system",
            "Its distance",
            "Teacher's own",
            "In words",
        ]
        yield numbered.table(
            f"Dynamics of {escape(name)} against the teacher.",
            caption,
            table(head, [_ratio_row(m) for m in ratios], numeric=[1, 2, 4, 5], kind="prose"),
        )
    if statics:
        caption = "Both potentials at the same geometries; relaxations of the student begin at the teacher's minimum."
        head = ["Observable", "Value", "Systems", "Worst system", "There"]
        yield numbered.table(
            f"Statics of {escape(name)} against the teacher.",
            caption,
            table(head, [_static_row(m) for m in statics], numeric=[1, 2], kind="prose"),
        )


def _ratio_row(found: Measurement) -> list[str]:
    worst, unit = found.detail["worst_system"], found.detail["distance_unit"]
    own = found.detail["systems"][worst]
    ends = [words.quantity(own[key], unit) for key in ("to_teacher", "of_teacher")]
    text = f"{said(found)}{_left_out(found)}"
    shown = [_LABELS[found.name], words.number(found.value), words.interval(found.ci95), escape(worst), *ends]
    return [*shown, f"{text[0].upper()}{text[1:]}."]


def _static_row(found: Measurement) -> list[str]:
    name = f"{_LABELS[found.name]}{_left_out(found)}"
    worst = found.detail["worst_system"]
    facts = found.detail["systems"].get(worst) or found.detail.get("failures", {}).get(worst, "")
    value = words.quantity(found.value, found.unit)
    return [name, value, str(found.n_samples), escape(worst), words.plain(_short(facts))]


def _short(facts: Any) -> Any:
    """Return plain data with numbers of three digits, and without what is empty."""
    if isinstance(facts, Mapping):
        return {key: _short(value) for key, value in facts.items() if value not in ([], {}, None)}
    return float(f"{facts:.3g}") if isinstance(facts, float) else facts


def _left_out(found: Measurement) -> str:
    left = found.detail.get("left_out", {})
    return f"; without {words.listing([escape(system) for system in left])}" if left else ""


@dataclass(frozen=True, eq=False)
class _Pair:
    """Arrays of student and teacher, system by system."""

    student: Observations
    teacher: Observations

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> "_Pair":
        return cls(Observations.of(arrays, "student/"), Observations.of(arrays, "teacher/"))

    def having(self, key: str) -> Iterator[tuple[str, Arrays, Arrays]]:
        """Yield name, student and teacher of the systems that have an array of both."""
        for system in self.teacher.names:
            student, teacher = self.student.get(system), self.teacher.get(system)
            if key in student and key in teacher:
                yield system, student, teacher


@dataclass(frozen=True, eq=False)
class _Panel:
    """Curves over x (n,): of the teacher (R, n), and of the student (R, n)."""

    title: str
    x: Floats
    teacher: Floats
    student: Floats


def _figures(name: str, pair: _Pair) -> Iterator[Figure | None]:
    shown = escape(name)
    densities = f"Densities over all systems. {_BAND}"
    yield _multiples(
        f"Bond lengths of {shown}.", densities, "Å", "Density", _distributions(pair, "bond_quantiles", "bond_kinds")
    )
    yield _multiples(
        f"Bond angles of {shown}.",
        densities,
        "Degrees",
        "Density",
        _distributions(pair, "angle_quantiles", "angle_kinds"),
    )
    yield _multiples(
        f"Dihedral angles of {shown}.", f"All dihedrals of a system. {_BAND}", "Degrees", "", _dihedrals(pair)
    )
    yield _multiples(
        f"Vibrational density of states of {shown}.",
        f"Power spectrum of the mass-weighted velocities, of area 1. {_BAND}",
        "Wavenumber (1/cm)",
        "",
        _spectra(pair),
    )
    yield _multiples(f"Radial distribution functions of {shown}.", _BAND, "Distance (Å)", "g(r)", _radial(pair))
    yield _frequencies(shown, pair)
    lines = "Gray: teacher. Blue: student. Energies from the teacher's minimum, or from the longest distance."
    yield _multiples(
        f"Torsion profiles of {shown}.", f"Rigid turns. {lines}", "Degrees", "Energy (meV)", _torsions(pair)
    )
    yield _multiples(f"Dimer curves of {shown}.", lines, "Distance (Å)", "Energy (eV)", _dimers(pair))
    yield _multiples(f"Equations of state of {shown}.", lines, "Volume (Å³)", "Energy (meV)", _states(pair))


def _distributions(pair: _Pair, key: str, kinds: str) -> list[_Panel]:
    """Return a panel for each kind of bond or angle: densities of all its coordinates in all systems."""
    pooled: dict[str, list[tuple[Floats, Floats]]] = {}
    for _, student, teacher in pair.having(key):
        for kind in dict.fromkeys(teacher[kinds].tolist()):
            own = teacher[kinds] == kind
            pooled.setdefault(kind, []).append((_good(student[key])[:, own], _good(teacher[key])[:, own]))
    return [_histogram(kind, parts) for kind, parts in sorted(pooled.items(), key=lambda item: -len(item[1]))]


def _histogram(title: str, parts: Sequence[tuple[Floats, Floats]]) -> _Panel:
    everything = np.concatenate([values.ravel() for part in parts for values in part])
    edges = np.linspace(everything.min(), everything.max(), 51)
    sides = [_densities([part[side] for part in parts], edges) for side in (0, 1)]
    return _Panel(title, np.asarray((edges[1:] + edges[:-1]) / 2, dtype=np.float64), sides[1], sides[0])


def _densities(parts: Sequence[Floats], edges: Floats) -> Floats:
    """Return the density of each run (R, bins) of values (R, K, Q) of several systems."""
    n_runs = min(len(part) for part in parts)
    pooled = [np.concatenate([part[run].ravel() for part in parts]) for run in range(n_runs)]
    return np.array([np.histogram(values, edges, density=True)[0] for values in pooled]).reshape(n_runs, len(edges) - 1)


def _good(runs: Floats) -> Floats:
    """Return the runs that did not fail."""
    return runs[np.isfinite(runs.reshape(len(runs), -1)).all(1)]


def _dihedrals(pair: _Pair) -> list[_Panel]:
    panels = []
    for system, student, teacher in pair.having("dihedral_histograms"):
        sides = [_good(arrays["dihedral_histograms"]).mean(1) for arrays in (teacher, student)]
        n_bins = sides[0].shape[1]
        panels.append(_Panel(system, (np.arange(n_bins) + 0.5) * 360 / n_bins - 180, *sides))
    return panels


def _spectra(pair: _Pair) -> list[_Panel]:
    grid = wavenumbers()
    panels = []
    for system, student, teacher in pair.having("vdos"):
        sides = [_good(arrays["vdos"]) for arrays in (teacher, student)]
        seen = np.flatnonzero(np.concatenate(sides).max(0) > 1e-3 * np.concatenate(sides).max())
        last = int(seen[-1]) + 20 if len(seen) else len(grid)
        panels.append(_Panel(system, grid[:last], sides[0][:, :last], sides[1][:, :last]))
    return panels


def _radial(pair: _Pair) -> list[_Panel]:
    panels = []
    for system, student, teacher in pair.having("rdf"):
        n_bins = teacher["rdf"].shape[2]
        x = bin_centers(0.05 * n_bins)
        for row, name in enumerate(teacher["rdf_pairs"].tolist()):
            panels.append(_Panel(f"{system}, {name}", x, _good(teacher["rdf"])[:, row], _good(student["rdf"])[:, row]))
    return panels


def _torsions(pair: _Pair) -> list[_Panel]:
    panels = []
    for system, student, teacher in pair.having("torsion_energies"):
        for row, (i, j) in enumerate(teacher["torsion_atoms"].tolist()):
            own, other = student["torsion_energies"][row], teacher["torsion_energies"][row]
            if np.isfinite(other).any():
                lowest = int(np.nanargmin(other))
                x = np.linspace(0.0, 360.0, len(other), endpoint=False)
                sides = [1000 * (energies - energies[lowest]) for energies in (other, own)]
                panels.append(_Panel(f"{system}, bond {i}-{j}", x, *(side[None] for side in sides)))
    return panels


def _dimers(pair: _Pair) -> list[_Panel]:
    """Return a panel for each pair of elements, up to 3 eV above the teacher's minimum or 1 eV above its end."""
    panels: dict[str, _Panel] = {}
    for _, student, teacher in pair.having("dimer_energies"):
        for row, name in enumerate(pair_names([tuple(own) for own in teacher["dimer_pairs"].tolist()])):
            own, other = student["dimer_energies"][row], teacher["dimer_energies"][row]
            known = np.flatnonzero(np.isfinite(other))
            if name in panels or not len(known):
                continue
            sides = [energies - energies[known[-1]] for energies in (other, own)]
            highest = max(float(np.nanmin(sides[0])) + 3.0, 1.0)
            sides = [np.where(side < highest, side, np.nan) for side in sides]
            panels[name] = _Panel(name, teacher["dimer_distances"][row], *(side[None] for side in sides))
    return list(panels.values())


def _states(pair: _Pair) -> list[_Panel]:
    panels = []
    for system, student, teacher in pair.having("eos_energies"):
        lowest = int(np.argmin(teacher["eos_energies"]))
        sides = [1000 * (x["eos_energies"] - x["eos_energies"][lowest]) for x in (teacher, student)]
        panels.append(_Panel(system, teacher["eos_volumes"], *(side[None] for side in sides)))
    return panels


def _multiples(title: str, caption: str, x: str, y: str, panels: Sequence[_Panel]) -> Figure | None:
    """Return small multiples, a panel for each; nothing for none."""
    shown = [panel for panel in panels if len(panel.teacher)][:_MOST_PANELS]
    if not shown:
        return None
    columns = min(len(shown), _COLUMNS)
    rows = ceil(len(shown) / columns)
    traces: Traces = []
    shape = layout(annotations=[])
    for index, panel in enumerate(shown):
        row, column = divmod(index, columns)
        last = index + columns >= len(shown)
        shape[key_of("x", index + 1)] = axis(
            x if last else "", domain=domain(column, columns, 0.07), anchor=f"y{index + 1}", nticks=5
        )
        shape[key_of("y", index + 1)] = axis(
            y if column == 0 else "",
            domain=domain(rows - 1 - row, rows, 0.3 / rows),
            anchor=f"x{index + 1}",
            nticks=4,
            exponentformat="power",
        )
        shape["annotations"].append(panel_title(f"<b>{escape(panel.title)}</b>", index + 1))
        traces += _curves(panel, index + 1)
    left = len(panels) - len(shown)
    more = f" The other {left} are left out." if left > 0 else ""
    return Figure(title, caption + more, traces, anchored(shape), 80 + 200 * rows)


def _curves(panel: _Panel, number: int) -> Traces:
    shared = {"type": "scatter", "mode": "lines", "x": rounded(panel.x), "showlegend": False, **axes_of(number)}
    low, high = panel.teacher.min(0), panel.teacher.max(0)
    band = {"line": {"color": FAINT, "width": 2.2 if len(panel.teacher) == 1 else 0.6}, "hoverinfo": "skip"}
    fill = {"fill": "tonexty", "fillcolor": translucent(FAINT, 0.45)} if len(panel.teacher) > 1 else {}
    traces = [{**shared, "y": rounded(low), **band}, {**shared, "y": rounded(high), **band, **fill}]
    if len(panel.student):
        line = {"color": _STUDENT, "width": 1.6}
        traces.append({**shared, "y": rounded(panel.student.mean(0)), "name": "student", "line": line})
    return traces


def _frequencies(name: str, pair: _Pair) -> Figure | None:
    """Return harmonic frequencies of the student over the teacher's, and their errors."""
    traces: Traces = []
    ends: list[float] = []
    for (system, student, teacher), color in zip(pair.having("frequencies"), COLORS, strict=False):
        n = min(len(student["frequencies"]), len(teacher["frequencies"]))
        if not n:
            continue
        own, other = student["frequencies"][-n:], teacher["frequencies"][-n:]
        ends += [float(v) for v in (own.min(), own.max(), other.min(), other.max())]
        shared: dict[str, Any] = {"type": "scatter", "mode": "markers", "x": rounded(other), "name": escape(system)}
        shared |= {"marker": {"color": color, "size": 6}, "legendgroup": escape(system)}
        traces.append({**shared, "y": rounded(own), "showlegend": True, **axes_of(1)})
        traces.append({**shared, "y": rounded(own - other), "showlegend": False, **axes_of(2)})
    if not traces:
        return None
    diagonal: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "hoverinfo": "skip",
        "line": {"color": FAINT, "width": 1},
    }
    low, high = min(ends), max(ends)
    traces.insert(0, {**diagonal, "x": [low, high], "y": [low, high], "showlegend": False, **axes_of(1)})
    traces.insert(1, {**diagonal, "x": [low, high], "y": [0.0, 0.0], "showlegend": False, **axes_of(2)})
    shape = layout(showlegend=True)
    label = "Teacher (1/cm)"
    shape["xaxis"], shape["yaxis"] = axis(label, domain=domain(0, 2, 0.12)), axis("Student (1/cm)")
    shape["xaxis2"] = axis(label, domain=domain(1, 2, 0.12), anchor="y2")
    shape["yaxis2"] = axis(f"Student {words.MINUS} teacher (1/cm)", anchor="x2")
    caption = "Each at its own minimum, matched by order; imaginary ones are negative. Gray: perfect agreement."
    return Figure(f"Harmonic frequencies of {name}.", caption, traces, shape, 340)
