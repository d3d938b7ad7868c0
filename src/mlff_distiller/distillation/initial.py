"""The student that a training starts with: new, or another one that goes on with other data."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from mlff_distiller.core.errors import TrainingError
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.data.statistics import Statistics, System, mean_neighbors, shortest_distance
from mlff_distiller.distillation.flat import tables
from mlff_distiller.potentials.derivatives import derive
from mlff_distiller.students.blocks.radial import FLOOR
from mlff_distiller.students.plan import StudentPlan
from mlff_distiller.students.priors import repulsion_range
from mlff_distiller.students.student import Student


def new_student(
    plan: StudentPlan, train: MolecularDataset, *, seed: int, dtype: torch.dtype = torch.float32
) -> Student:
    """Return an untrained student whose reference energies, scale and normalization come from the training set.

    Parameters
    ----------
    plan : StudentPlan
        Architecture.
    train : MolecularDataset
        Training set.
    seed : int
        Seed of the initial weights.
    dtype : torch.dtype
        Precision.

    Raises
    ------
    TrainingError
        If no label holds an energy, or one composition occurs with two charges or spins.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> from mlff_distiller.atoms.labels import Labels
    >>> from mlff_distiller.atoms.structure import Structure
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])
    >>> data = MolecularDataset.from_structures([h2], [Labels(energy=-31.0)])
    >>> new_student(PaiNNPlan(preset="tiny"), data, seed=1).elements
    (1,)
    """
    found = Statistics.of(train)
    if not found.properties["energy"]:
        raise TrainingError("no training structure has an energy, which reference energies need; label energies too")
    reference = found.reference_energies()
    student = Student(
        bounded(plan, train, list(reference)),
        reference,
        states=_states(found.systems),
        scale=found.force_rms or 1.0,
        neighbor_norm=math.sqrt(max(1.0, mean_neighbors(train, plan.cutoff))),
        seed=seed,
    )
    return student.to(dtype=dtype)


def bounded(plan: StudentPlan, train: MolecularDataset, elements: Sequence[int]) -> StudentPlan:
    """Return a plan whose messages level off at distances shorter than any in the training set.

    They go on to the range of the repulsion at least, so that there is a wall everywhere.

    Parameters
    ----------
    plan : StudentPlan
        Architecture; a distance that it names already stays.
    train : MolecularDataset
        Training set.
    elements : sequence of int
        Atomic numbers in it.
    """
    if plan.shortest_distance is not None:
        return plan
    reach = repulsion_range(elements)
    return plan.model_copy(update={"shortest_distance": shortest_distance(train, reach) or reach})


def continued_student(start: Student, train: MolecularDataset, *, seed: int, dtype: torch.dtype) -> Student:
    """Return a student that goes on from another one: for a new system, or for a new level of theory.

    It keeps what was learned: weights, scale and normalization. Elements that are new get untrained rows in the tables
    of elements. What the new labels differ in by one energy for each atom of an element, as those of another method
    do, goes into the reference energies at once, so that the network has not to unlearn its forces for it.

    Parameters
    ----------
    start : Student
        What was trained before.
    train : MolecularDataset
        Training set.
    seed : int
        Seed of what is new.
    dtype : torch.dtype
        Precision.

    Raises
    ------
    TrainingError
        As for :func:`new_student`.
    """
    new = new_student(start.plan.model_copy(update={"shortest_distance": None}), train, seed=seed, dtype=torch.float64)
    elements = tuple(sorted({*start.elements, *new.elements}))
    shortest = min(plan.shortest_distance or FLOOR for plan in (start.plan, new.plan))
    student = Student(
        start.plan.model_copy(update={"shortest_distance": shortest}),
        dict.fromkeys(elements, 0.0),
        states={**start.states, **new.states},
        charges=start.charges,
        scale=start.scale,
        neighbor_norm=start.neighbor_norm,
        seed=seed,
    ).to(torch.float64)
    _copy_weights(start, student)
    known = dict(zip(start.elements, start.reference.energies.tolist(), strict=True))
    fresh = dict(zip(new.elements, new.reference.energies.tolist(), strict=True))
    student.reference.energies.copy_(torch.tensor([{**fresh, **known}[z] for z in elements]))
    student.reference.energies += _shifts(student, train)
    return student.to(dtype=dtype)


def _copy_weights(start: Student, student: Student) -> None:
    """Copy all parameters; in tables of elements, the rows of those elements that both have."""
    rows = [student.elements.index(z) for z in start.elements]
    learned, of_elements = dict(start.named_parameters()), tables(student)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if name in of_elements:
                parameter[rows] = learned[name].to(parameter.dtype)
            else:
                parameter.copy_(learned[name])


def _shifts(student: Student, train: MolecularDataset) -> Tensor:
    """Return by how much the labels differ from the student for each element (least squares, shortest solution)."""
    loader = GraphLoader(train, cutoff=student.cutoff, batch_size=64, seed=0, dtype=torch.float64, shuffle=False)
    elements, counts, errors = torch.tensor(student.elements), [], []
    for batch in loader.all_in_order():
        graph = batch.graph
        species = torch.searchsorted(elements, graph.numbers)
        flat = graph.system * len(elements) + species
        count = torch.bincount(flat, minlength=graph.n_systems * len(elements))
        missing = batch.energy - derive(student, graph, ("energy",)).energy
        counts.append(count.view(graph.n_systems, -1)[batch.has_energy])
        errors.append(missing[batch.has_energy])
    solution = np.linalg.lstsq(torch.cat(counts).double().numpy(), torch.cat(errors).numpy(), rcond=None)[0]
    return torch.from_numpy(solution)


def _states(systems: Iterable[System]) -> dict[str, tuple[int, int]]:
    """Return charge and spin of each composition.

    A student sees only elements: from one composition in two charges or spins it would learn their average.
    """
    for first, second in pairwise(sorted(systems)):
        if first.counts == second.counts:
            raise TrainingError(
                f"{first.formula} occurs with charge {first.charge:+d}, spin {first.spin} and with charge "
                f"{second.charge:+d}, spin {second.spin}, which a student cannot tell apart; train a student for each"
            )
    return {system.formula: (system.charge, system.spin) for system in systems}
