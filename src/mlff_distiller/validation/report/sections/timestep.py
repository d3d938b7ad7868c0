"""The section on time steps: is the energy error the integrator's, or do forces not belong to the energy."""

from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import Numbered, note, table
from mlff_distiller.core.html.plotting import COLORS, INK, Figure, axes_of, axis, layout, log_axis, rounded
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.report.content import StudentReport

Arrays = dict[str, NDArray[Any]]
_SOUND = 1.7


def section(numbered: Numbered, name: str, student: StudentReport) -> str:
    """Return what is to be said of the time steps of a student; empty where they were not compared.

    Parameters
    ----------
    numbered : Numbered
        Numbers figures and tables.
    name : str
        Name of the student.
    student : StudentReport
        Its evidence of ``timestep``.
    """
    found = student.evidence.get("timestep")
    order = None if found is None else found.measurement("timestep_order")
    if found is None or order is None:
        return "" if found is None else _skipped(found)
    figure = fluctuations(name, student.arrays("timestep"), order)
    return f"<p>{_sentence(order)}</p>{numbered.figure(figure)}{_table(numbered, name, order)}{_failed(order)}"


def _skipped(found: Evidence) -> str:
    return "".join(note(f"Not measured: {escape(one.reason)}.") for one in found.skipped if one.applies)


def _sentence(order: Measurement) -> str:
    """Return in one sentence what the order says."""
    worst = escape(str(order.detail["worst_system"]))
    if not np.isfinite(order.value):
        return f"The order of the energy error is not known: a run of {worst} failed."
    value = words.number(order.value) + (f" ({words.interval(order.ci95)})" if order.ci95 else "")
    start = f"The total energy of {worst}, the worst system, fluctuates with the time step to the power {value}; "
    share = order.detail["systems"][order.detail["worst_system"]]["floor_percent"]
    timestep = words.number(order.detail["settings"]["timestep_fs"])
    if share < 1 and order.value > _SOUND:
        return f"{start}2 is what the integrator alone makes. Nothing in it hints at forces that are no gradient."
    return (
        f"{start}the integrator alone would make 2. At {timestep} fs {words.number(share, 2)}&nbsp;% of the (squared) "
        "fluctuation do not vanish with the time step: forces that are not the gradient of the energy, that jump, or "
        "that are rounded."
    )


def fluctuations(name: str, arrays: Arrays, order: Measurement) -> Figure | None:
    """Return the fluctuation of the total energy against the time step, a line per system; None without arrays."""
    if "fluctuations" not in arrays:
        return None
    traces = []
    for system, color in zip(dict.fromkeys(arrays["systems"].tolist()), COLORS, strict=False):
        own = arrays["fluctuations"][:, arrays["systems"] == system]
        traces.append(_line(arrays["timesteps_fs"], np.sqrt((own**2).mean(1)), color, escape(system)))
    traces.append(_guide(arrays))
    shape = layout(showlegend=True, margin={"l": 64, "r": 16, "t": 60, "b": 52})
    labels = {"tickvals": rounded(arrays["timesteps_fs"]), "ticktext": [f"{x:g}" for x in arrays["timesteps_fs"]]}
    shape["xaxis"] = axis("Time step (fs)", type="log", anchor="y", **labels)
    shape["yaxis"] = log_axis("Fluctuation (meV/atom)", [y for trace in traces for y in trace["y"]], anchor="x")
    caption = (
        f"Root mean square of the total energy about its mean in runs of "
        f"{words.number(order.detail['settings']['duration_ps'])} ps with <em>{escape(name)}</em>, "
        f"{order.n_samples} per system, from the same starting points and velocities at every time step. Dashed: the "
        "slope of 2 that velocity Verlet has with forces that are the gradient of a smooth energy. Lines that flatten "
        "to the left show energy errors that no shorter time step removes."
    )
    return Figure(f"Energy error against time step, {escape(name)}.", caption, traces, shape, 380)


def _line(timesteps: NDArray[np.float64], values: NDArray[np.float64], color: str, label: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": rounded(timesteps),
        "y": rounded(values),
        "name": label,
        "line": {"color": color, "width": 1.6},
        "marker": {"color": color, "size": 6},
        **axes_of(1),
    }


def _guide(arrays: Arrays) -> dict[str, Any]:
    """Return a line of slope 2 through the largest time step's middle value."""
    ends = arrays["timesteps_fs"][[0, -1]]
    last = arrays["fluctuations"][-1]
    known = last[np.isfinite(last) & (last > 0)]
    level = float(np.exp(np.log(known).mean())) if len(known) else float("nan")
    line = _line(ends, level * (ends / ends[-1]) ** 2, INK, "slope 2")
    return {**line, "mode": "lines", "line": {"color": INK, "width": 1.2, "dash": "dash"}, "hoverinfo": "skip"}


def _table(numbered: Numbered, name: str, order: Measurement) -> str:
    timesteps = [f"{step:g} fs" for step in order.detail["timesteps_fs"]]
    head = ["System", "Order", "95 % interval", *timesteps, "At 0 fs", "Not the integrator (%)"]
    rows = [
        [
            escape(system),
            words.number(own["mean"]),
            words.interval(None if own["ci95"] is None else (own["ci95"][0], own["ci95"][1])),
            *(words.number(value) for value in own["fluctuations_meV_per_atom"]),
            words.number(own["floor_meV_per_atom"]),
            words.number(own["floor_percent"], 2),
        ]
        for system, own in order.detail["systems"].items()
    ]
    caption = (
        "Fluctuation of the total energy in meV/atom at each time step, and extrapolated to none. Order: the power of "
        "the time step with which it grows, over the replicas. The last column is the share of the squared fluctuation "
        f"at {words.number(order.detail['settings']['timestep_fs'])} fs that does not vanish with the time step."
    )
    html = table(head, rows, numeric=range(1, len(head)))
    return numbered.table(f"Energy error by time step, {escape(name)}.", caption, html)


def _failed(order: Measurement) -> str:
    return "".join(
        note(
            f"{escape(one['system'])}, replica {one['replica']}, failed at {one['timestep_fs']:g} fs after "
            f"{one['time_ps']:g} ps: {escape(one['reason'])}."
        )
        for one in order.detail["failures"]
    )
