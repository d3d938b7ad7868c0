"""Assistants and reference data: what is labeled, what is left out, and that no test structure is trained on."""

import numpy as np
import pytest

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.columns import pack
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.splits.make import make_split
from mlff_distiller.data.splits.plan import SplitPlan
from mlff_distiller.distillation.assistant import assist, joined
from mlff_distiller.distillation.plan import AssistantPlan
from mlff_distiller.distillation.reference import ReferenceData, unshifted
from mlff_distiller.potentials.analytic import morse

TEACHER = morse(depth=2.0, width=1.5, distance=1.2, cutoff=3.0)
BETTER = morse(depth=2.2, width=1.5, distance=1.2, cutoff=3.0)


def frames(n: int, seed: int = 0) -> list[Structure]:
    rng = np.random.default_rng(seed)
    return [Structure([1, 6], [[0, 0, 0], [0, 0, 1.2 + rng.normal(0, 0.1)]]) for _ in range(n)]


def dataset(structures, by=TEACHER) -> MolecularDataset:
    return MolecularDataset.from_structures(structures, by.predict(structures, ("energy", "forces")))


def test_an_assistant_labels_displaced_copies_with_atomic_energies():
    train = dataset(frames(10))
    found = assist(TEACHER, train, AssistantPlan(student="large", n_copies=3, largest_force=50), seed=1)
    assert len(found.structures) + found.n_left_out == 30
    moved = found.structures[0].positions - train[0].structure.positions
    assert 0 < np.abs(moved).max() < 0.3
    (exact,) = TEACHER.predict([found.structures[0]], ("energy", "forces"))
    assert found.labels[0].energy == exact.energy
    assert found.labels[0].atomic_energies.sum() == pytest.approx(exact.energy)
    both = joined(train, MolecularDataset.from_structures(found.structures, found.labels))
    assert len(both) == 10 + len(found.structures)
    assert both[0].labels.atomic_energies is None


def test_copies_with_forces_beyond_the_training_set_are_left_out():
    train = dataset(frames(10))
    plan = AssistantPlan(student="large", n_copies=20, amplitude=0.5, largest_force=1.0)
    found = assist(TEACHER, train, plan, seed=1)
    largest = max(np.abs(labels.forces).max() for _, labels in train)
    assert found.n_left_out > 0
    assert max(np.abs(labels.forces).max() for labels in found.labels) <= largest


def test_a_structure_that_both_have_labeled_is_on_one_side():
    structures = frames(60)
    teacher, reference = dataset(structures), dataset(structures[:40], BETTER)
    plan = SplitPlan(kind="random", validation_fraction=0.2, test_fraction=0.2, near_duplicate_tolerance=0)
    split = make_split(unshifted(teacher, reference), plan, seed=0)
    side = split.assignment
    assert (side[:40] == side[60:]).all()
    data = ReferenceData.of(teacher, reference, split)
    part = data.reference_part("test")
    assert len(part) == (side[60:] == 2).sum()
    for structure, labels in part:
        (exact,) = BETTER.predict([structure], ("forces",))
        np.testing.assert_array_equal(labels.forces, exact.forces)
    marks = data.part("train").take(np.arange(len(data.part("train"))))
    assert len(marks) == len(split.train)


def test_too_few_reference_structures_are_said():
    teacher, reference = pack(range(30), frames(30)), pack([0], frames(1, seed=5))
    split = make_split(unshifted(teacher, reference), SplitPlan(kind="random", near_duplicate_tolerance=0), seed=0)
    with pytest.raises(DataError, match="has none of the 1 reference structures"):
        ReferenceData.of(teacher, reference, split)
