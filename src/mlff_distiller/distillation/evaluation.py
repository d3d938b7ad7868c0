"""Validation errors during training; the verdict's errors, with intervals, are measured in ``validation``."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import torch

from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.distillation.losses.energy import EnergyTerm
from mlff_distiller.distillation.losses.forces import ForcesTerm
from mlff_distiller.distillation.losses.stress import StressTerm
from mlff_distiller.distillation.losses.term import TermPlan
from mlff_distiller.distillation.world import World
from mlff_distiller.potentials.derivatives import Evaluation, derive

Errors = Mapping[str, float | None]
"""Root mean square errors by the metric's name; None where the data hold no such labels."""

ALWAYS: Final[tuple[TermPlan, ...]] = (ForcesTerm(), EnergyTerm(), StressTerm())
"""What every validation looks at, whatever the loss is; the first that has labels chooses the best student."""


def selection(errors: Errors) -> float:
    """Return the number by which the best student is chosen: the force error, without forces the energy error.

    Examples
    --------
    >>> selection({"force_rmse": None, "energy_rmse_per_atom": 0.01})
    0.01
    """
    found = (errors.get(term.metric) for term in ALWAYS)
    return next((error for error in found if error is not None), math.inf)


def evaluate(
    atomic_energies: Evaluation,
    loader: GraphLoader,
    *,
    terms: Sequence[TermPlan] = (),
    world: World | None = None,
) -> Errors:
    """Return the errors of a student over all batches of a loader, in order.

    Parameters
    ----------
    atomic_energies : callable
        The student, or anything else that gives atomic energies of a graph, alone or with features of atoms.
    loader : GraphLoader
        What to evaluate on.
    terms : sequence of TermPlan
        Terms of the loss, whose metrics are given beside those of energies, forces and stress.
    world : World, optional
        Processes that share the loader's batches.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.loading.dataset import MolecularDataset
    >>> from mlff_distiller.potentials.analytic import morse
    >>> bond = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0)
    >>> frames = [Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])]
    >>> data = MolecularDataset.from_structures(frames, bond.predict(frames))
    >>> loader = GraphLoader(data, cutoff=6.0, batch_size=1, seed=0, dtype=torch.float64)
    >>> evaluate(bond.atomic_energies, loader)["force_rmse"]
    0.0
    """
    measured = {term.metric: term for term in (*terms, *ALWAYS)}
    known = [term for term in measured.values() if term.matches in loader.properties]
    wanted = {term.matches for term in known}
    sums = torch.zeros(len(known), 2, dtype=torch.float64)
    for batch in loader.all_in_order():
        if not batch.graph.n_systems:
            continue
        directions = batch.hessian_directions if "hessian_products" in wanted else None
        derived = derive(atomic_energies, batch.graph, wanted & {"forces", "stress"}, directions=directions)
        for row, term in enumerate(known):
            residuals = term.residuals(derived, batch).double()
            sums[row] += torch.tensor([float(residuals.square().sum()), residuals.numel()], dtype=torch.float64)
    totals = (world or World()).sum(sums).tolist()
    found = {term.metric: math.sqrt(t / n) if n else None for term, (t, n) in zip(known, totals, strict=True)}
    return {metric: found.get(metric) for metric in measured}
