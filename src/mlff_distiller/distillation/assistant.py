"""A teacher's assistant: a large student labels more structures for a small one, at no cost of the teacher."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.randomness import generator
from mlff_distiller.data.columns import concatenate
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.distillation.plan import AssistantPlan
from mlff_distiller.potentials.base import Potential


@dataclass(frozen=True, eq=False)
class Assisted:
    """Structures that an assistant has labeled.

    Attributes
    ----------
    structures : list of Structure
        Displaced copies.
    labels : list of Labels
        The assistant's.
    n_left_out : int
        Copies that were left out because of their forces.
    """

    structures: list[Structure]
    labels: list[Labels]
    n_left_out: int


def assist(assistant: Potential, train: MolecularDataset, plan: AssistantPlan, *, seed: int) -> Assisted:
    """Let an assistant label displaced copies of training structures.

    The labels are of the kinds that the training set has. Energies of atoms are given unless the teacher gives its
    own: for a teacher without them, the assistant's way to share the energy out is a signal that the small student
    would not have otherwise.

    Parameters
    ----------
    assistant : Potential
        The larger student.
    train : MolecularDataset
        Training set of the smaller one.
    plan : AssistantPlan
        Settings.
    seed : int
        Seed of the displacements.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import morse
    >>> bond = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0)
    >>> frames = [Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])]
    >>> train = MolecularDataset.from_structures(frames, bond.predict(frames))
    >>> len(assist(bond, train, AssistantPlan(student="large", n_copies=3, largest_force=100), seed=1).structures)
    3
    """
    rng, kinds = generator(seed, "assistant"), _properties(train.properties)
    copies: list[Structure] = []
    largest = 0.0
    for structure, labels in train:
        copies += [_displaced(structure, plan.amplitude, rng) for _ in range(plan.n_copies)]
        if labels.forces is not None:
            largest = max(largest, float(np.abs(labels.forces).max(initial=0.0)))
    given = assistant.predict(copies, kinds)
    kept = [k for k, labels in enumerate(given) if _is_known(labels, plan.largest_force * largest)]
    return Assisted([copies[k] for k in kept], [given[k] for k in kept], len(copies) - len(kept))


def joined(train: MolecularDataset, assisted: MolecularDataset) -> MolecularDataset:
    """Return a training set with an assistant's structures behind the teacher's, in memory.

    Examples
    --------
    >>> one = MolecularDataset.from_structures([Structure([1], [[0, 0, 0]])])
    >>> len(joined(one, one))
    2
    """
    return MolecularDataset(concatenate([part.take(np.arange(len(part))) for part in (train, assisted)]))


def _properties(known: Collection[str]) -> list[str]:
    own = [] if "atomic_energies" in known else ["atomic_energies"]
    return [*(name for name in ("energy", "forces", "stress") if name in known), *own]


def _displaced(structure: Structure, amplitude: float, rng: np.random.Generator) -> Structure:
    moves = rng.normal(scale=amplitude, size=structure.positions.shape)
    return structure.moved(structure.positions + moves)


def _is_known(labels: Labels, largest: float) -> bool:
    """Whether forces are within what was trained on; without any, nothing is known against them."""
    return labels.is_finite and (labels.forces is None or largest == 0 or float(np.abs(labels.forces).max()) <= largest)
