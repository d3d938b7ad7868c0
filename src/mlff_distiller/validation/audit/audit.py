"""The audit: all themes, one after the other, within a budget of time."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Advance
from mlff_distiller.core.errors import DataError, DistillerError, PredictionError, UnsupportedStructureError
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.audit import (
    composition,
    conservation,
    cost,
    determinism,
    dynamics,
    periodicity,
    smoothness,
    symmetry,
)
from mlff_distiller.validation.audit.conservation import unrelated
from mlff_distiller.validation.audit.floor import error_floor
from mlff_distiller.validation.audit.plan import AuditPlan
from mlff_distiller.validation.audit.result import AuditResult
from mlff_distiller.validation.audit.theme import Subject, Theme, ThemeResult, Workload, conclude
from mlff_distiller.validation.surface.probe import OutOfTime, Probe
from mlff_distiller.validation.surface.subject import name_of

THEMES: Final[tuple[Theme, ...]] = (
    composition.THEME,
    determinism.THEME,
    cost.THEME,
    conservation.THEME,
    symmetry.THEME,
    periodicity.THEME,
    smoothness.THEME,
    dynamics.THEME,
)
"""All themes in the order they are measured: what matters most comes first, should time run out."""

_FOR_ASKING: Final = 0.2
"""Share of the budget for asking for every structure once."""

_FOR_STRUCTURES: Final = 0.6
"""Share of the budget for what is done with every structure."""

_FEWEST: Final = {"n_directions": 3, "n_loops": 1, "n_rotations": 2, "n_repeats": 2}
"""Done with the one structure that is looked at of a teacher so slow that there is no time for more."""

_STRAIN: Final = 0.01
"""Standard deviation of the strain of disturbed cells."""

_UNRELATED: Final = 0.4
"""Residual over force beyond which energies and forces are not those of one potential."""


def audit(
    potential: Potential,
    structures: Sequence[Structure],
    plan: AuditPlan | None = None,
    *,
    seed: int = 0,
    systems: Sequence[Structure] = (),
    workload: Workload | None = None,
    advance: Advance | None = None,
) -> AuditResult:
    """Measure what the numbers of a teacher are worth.

    Nothing that the teacher does ends an audit: a structure that it cannot evaluate is a finding.

    Parameters
    ----------
    potential : Potential
        The teacher.
    structures : sequence of Structure
        What is looked at closely, such as it is to label.
    plan : AuditPlan, optional
        Settings.
    seed : int
        Of random directions.
    systems : sequence of Structure, optional
        One of each system that is to be labeled; the different ones among the structures unless given.
    workload : Workload, optional
        What the teacher is to do, for the forecast of the cost.
    advance : Advance, optional
        Told how many themes are done, of ``len(THEMES)``.

    Raises
    ------
    DataError
        If there are no structures.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import morse
    >>> bond = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0)
    >>> result = audit(bond, [Structure([1, 1], [[0, 0, 0], [0, 0, 0.8]])], AuditPlan(duration_ps=0.02))
    >>> result.theme("conservation").outcome, result.floor.value < 1e-6
    ('PASS', True)
    """
    if not structures:
        raise DataError("there are no structures to audit the teacher with; name at least one molecule or file")
    plan, began = plan or AuditPlan(), time.monotonic()
    probe = Probe(potential, budget_s=plan.budget_s)
    answered, failures = _asked(probe, structures, plan)
    plan = _thrifty(probe, answered, plan)
    looked_at = _even(answered, max(1, _affordable(probe, answered, plan))) if answered else []
    systems = list(systems) or list({name_of(structure): structure for structure in structures}.values())
    subject = Subject(probe, looked_at, plan, seed, systems, failures, workload)
    results = []
    for theme in THEMES:
        results.append(conclude(theme, _measured(theme, subject), plan.limits))
        if advance is not None:
            advance(1, note=theme.title)
    found = {check.measurement.name: check.measurement for result in results for check in result.checks}
    facts = {
        "n_structures": len(looked_at),
        "n_systems": len(systems),
        "elapsed_s": round(time.monotonic() - began, 2),
        "properties": sorted(potential.properties),
        "cutoff_A": potential.cutoff,
        "settings": plan.model_dump(mode="json"),
        "seed": seed,
    }
    hopeless = _hopeless(results, found, n_asked=len(answered) + len(failures), n_answered=len(answered))
    identity = potential.identity.to_json()
    return AuditResult(identity, potential.is_conservative, error_floor(found), tuple(results), hopeless, facts)


def disturbed(seeds: Sequence[Structure], plan: AuditPlan, *, seed: int) -> list[Structure]:
    """Return seeds with random displacements and, for cells, a small strain: near a minimum too many faults are small.

    Parameters
    ----------
    seeds : sequence of Structure
        Starting geometries.
    plan : AuditPlan
        How many of each, and how far from it.
    seed : int
        Of the displacements.

    Examples
    --------
    >>> len(disturbed([Structure([1, 1], [[0, 0, 0], [0, 0, 0.8]])], AuditPlan(n_per_system=3), seed=1))
    3
    """
    found = []
    for k, start in enumerate(seeds):
        rng = generator(seed, "audit", "displacements", str(k))
        for _ in range(plan.n_per_system):
            moves = rng.normal(scale=plan.amplitude, size=(len(start), 3))
            strain = rng.normal(scale=_STRAIN, size=(3, 3)) if start.is_periodic else np.zeros((3, 3))
            stretch = np.eye(3) + (strain + strain.T) / 2
            found.append(start.moved(start.positions @ stretch + moves, cell=start.cell @ stretch))
    return found


def chosen(systems: Sequence[str], plan: AuditPlan) -> list[int]:
    """Return the rows of structures to look at closely: of each system a few, spread evenly over all there are.

    Parameters
    ----------
    systems : sequence of str
        System of each structure.

    Examples
    --------
    >>> chosen(["a"] * 9 + ["b"], AuditPlan(n_per_system=3))
    [0, 4, 8, 9]
    """
    rows: dict[str, list[int]] = {}
    for row, system in enumerate(systems):
        rows.setdefault(system, []).append(row)
    return [row for own in _even(list(rows.values()), plan.n_systems) for row in _even(own, plan.n_per_system)]


def _even(items: list[Any], n: int) -> list[Any]:
    """Return at most n items, evenly spaced, the first and the last among them."""
    if len(items) <= n:
        return items
    return [items[0]] if n == 1 else [items[round(k * (len(items) - 1) / (n - 1))] for k in range(n)]


def _asked(
    probe: Probe, structures: Sequence[Structure], plan: AuditPlan
) -> tuple[list[Structure], list[dict[str, str]]]:
    """Return the structures that the teacher answers for, and why it does not for others.

    A slow teacher is not asked for all: first for one structure of each system, as long as a part of the time lasts.
    """
    answered: list[Structure] = []
    failures: list[dict[str, str]] = []
    for structure in _one_of_each_first(structures):
        if answered and probe.remaining_s < (1 - _FOR_ASKING) * plan.budget_s:
            break
        try:
            probe.labels([structure])
            answered.append(structure)
        except UnsupportedStructureError:
            pass  # said by the theme of the composition, for all systems
        except OutOfTime:
            break
        except DistillerError as error:
            reason = error.reason if isinstance(error, PredictionError) else str(error)
            failures.append({"system": name_of(structure), "reason": reason})
    return answered, failures


def _one_of_each_first(structures: Sequence[Structure]) -> list[Structure]:
    """Return structures in turns over systems."""
    turns: dict[str, int] = {}
    ranked = []
    for structure in structures:
        turns[name_of(structure)] = turn = turns.get(name_of(structure), -1) + 1
        ranked.append(turn)
    return [structures[k] for k in np.argsort(ranked, kind="stable")]


def _thrifty(probe: Probe, structures: Sequence[Structure], plan: AuditPlan) -> AuditPlan:
    """Return the settings, with less for each structure where there is no time for a single one."""
    if not structures or _affordable(probe, structures, plan) >= 1:
        return plan
    return plan.model_copy(update={name: min(getattr(plan, name), few) for name, few in _FEWEST.items()})


def _affordable(probe: Probe, structures: Sequence[Structure], plan: AuditPlan) -> int:
    """Return how many structures can be looked at in the time there is."""
    calls = 6 * plan.n_directions + 16 * plan.n_loops + 4 * plan.n_rotations + 2 * plan.n_repeats + 25
    seconds = max(calls * probe.expected_s(structures) / len(structures), 1e-9)
    return min(len(structures), int(_FOR_STRUCTURES * probe.remaining_s / seconds))


def _measured(theme: Theme, subject: Subject) -> Evidence:
    """Return the evidence of a theme, or why there is none."""
    if not subject.structures and theme is not composition.THEME:
        late = subject.probe.remaining_s <= 0
        why = _out_of_time(subject.plan) if late else "the teacher answered for no structure"
        return Evidence(skipped=[Skipped(theme.name, why)])
    try:
        return theme.measure(subject)
    except OutOfTime:
        return Evidence(skipped=[Skipped(theme.name, _out_of_time(subject.plan))])
    except DistillerError as error:
        reason = error.reason if isinstance(error, PredictionError) else str(error)
        return Evidence(skipped=[Skipped(theme.name, f"the teacher failed on a structure of this check: {reason}")])


def _out_of_time(plan: AuditPlan) -> str:
    return f"the time budget of the audit, {plan.budget_s:g} s, is used up; raise audit.budget_s"


def _hopeless(
    results: Sequence[ThemeResult], found: Mapping[str, Measurement], *, n_asked: int, n_answered: int
) -> tuple[str, ...]:
    """Return why the teacher cannot be distilled at all."""
    reasons = []
    if found["uncovered_structures"].value:
        reasons.append(results[0].sentence)
    elif n_asked and n_answered <= n_asked / 2:
        reasons.append(
            f"It gave usable energies and forces for {n_answered} of {n_asked} structures only: {results[0].sentence}"
        )
    relative = found.get("force_residual_relative")
    if relative is not None and relative.ci95 is not None and relative.ci95[0] > _UNRELATED:
        reasons.append(f"Energies and forces are not those of one potential: {unrelated(found['force_residual'])}.")
    return tuple(reasons)
