"""A student that goes on from another: what was learned stays, what the labels differ in by element is taken over."""

import numpy as np
import pytest
import torch

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import TrainingError
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.distillation.distill import Task, distill
from mlff_distiller.distillation.initial import continued_student, new_student
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.potentials.analytic import morse
from mlff_distiller.potentials.derivatives import derive
from mlff_distiller.students import checkpoint
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.priors import repulsion_range

TEACHER = morse(depth=2.0, width=1.5, distance=1.2, cutoff=3.0)
PLAN = PaiNNPlan(preset="ultra-tiny", n_channels=16, cutoff=3.0, shortest_distance=0.5)
CORNERS = 1.3 * np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])[:5]


def frames(n: int, elements: tuple[int, ...], seed: int) -> list[Structure]:
    rng = np.random.default_rng(seed)
    moved = [CORNERS + rng.normal(0, 0.08, CORNERS.shape) for _ in range(n)]
    return [Structure(rng.choice(elements, 5), positions) for positions in moved]


def labeled(structures: list[Structure], shifts: dict[int, float]) -> MolecularDataset:
    """Label as another level of theory would that counts the energy of atoms from another zero."""
    found = TEACHER.predict(structures, ("energy", "forces"))
    moved = [
        Labels(energy=label.energy + sum(shifts[z] for z in structure.numbers.tolist()), forces=label.forces)
        for structure, label in zip(structures, found, strict=True)
    ]
    return MolecularDataset.from_structures(structures, moved)


@pytest.fixture(scope="module")
def start():
    student = new_student(PLAN, labeled(frames(30, (1, 6), 0), {1: -13.0, 6: -1000.0}), seed=1, dtype=torch.float64)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    return student


def evaluated(student, structures):
    return derive(student, Graph.from_structures(structures, PLAN.cutoff), {"forces"})


def test_another_level_of_theory_leaves_forces_and_moves_energies(start):
    new_data = labeled(frames(30, (1, 6), 1), {1: -14.5, 6: -1033.0})
    old_labels, new_labels = labeled(frames(30, (1, 6), 1), {1: -13.0, 6: -1000.0}), new_data
    student = continued_student(start, new_data, seed=2, dtype=torch.float64)
    same = continued_student(start, old_labels, seed=2, dtype=torch.float64)
    structures = frames(8, (1, 6), 9)
    before, after, unmoved = (evaluated(which, structures) for which in (start, student, same))
    torch.testing.assert_close(after.forces, before.forces, rtol=0, atol=1e-10)
    numbers = [s.numbers.tolist() for s in structures]
    shift = torch.tensor([sum({1: -1.5, 6: -33.0}[z] for z in row) for row in numbers], dtype=torch.float64)
    torch.testing.assert_close(after.energy - unmoved.energy, shift, rtol=0, atol=1e-6)
    errors = evaluated(student, new_labels.structures()).energy.detach().numpy() - [x.labels.energy for x in new_labels]
    assert abs(np.mean(errors)) < 1e-6  # least squares with atoms of every kind leaves no mean error


def test_a_new_element_leaves_the_forces_of_what_was_known(start):
    new_data = labeled(frames(30, (1, 6, 8), 1), {1: -13.0, 6: -1000.0, 8: -2000.0})
    student = continued_student(start, new_data, seed=2, dtype=torch.float64)
    assert student.elements == (1, 6, 8)
    known = frames(8, (1, 6), 9)
    torch.testing.assert_close(evaluated(student, known).forces, evaluated(start, known).forces, rtol=0, atol=1e-10)
    energies = evaluated(student, new_data.structures()).energy.detach().numpy()
    assert np.std(energies - [x.labels.energy for x in new_data]) < 10  # the 1000 eV between elements are taken over


def test_a_known_element_that_the_new_data_lack_is_kept(start):
    student = continued_student(start, labeled(frames(20, (1,), 1), {1: -13.0}), seed=2, dtype=torch.float64)
    assert student.elements == (1, 6)
    known = frames(8, (1, 6), 9)
    torch.testing.assert_close(evaluated(student, known).forces, evaluated(start, known).forces, rtol=0, atol=1e-10)


def test_training_goes_on_from_a_file_or_says_what_does_not_fit(start, tmp_path):
    data = labeled(frames(20, (1, 6), 1), {1: -13.0, 6: -1000.0})
    checkpoint.save(start, tmp_path / "start.safetensors")
    plan = TrainingPlan(n_steps=1, learning_rate=1e-9, ema_decay=0, start_from=str(tmp_path / "start.safetensors"))
    distill(Task(PLAN, plan, data, data), tmp_path / "out")
    went_on = checkpoint.load(tmp_path / "out" / "best.safetensors", dtype=torch.float64)
    structures = frames(4, (1, 6), 9)
    torch.testing.assert_close(
        evaluated(went_on, structures).forces, evaluated(start, structures).forces, rtol=0, atol=1e-3
    )
    with pytest.raises(TrainingError, match="is a student of other settings than the one to train"):
        distill(Task(PaiNNPlan(preset="tiny"), plan, data, data), tmp_path / "other")


def test_the_network_says_nothing_new_where_no_training_structure_has_been() -> None:
    """Below the shortest distance in training its energy is constant, so that the repulsion alone rules."""
    frames = [Structure([1, 6], [[0, 0, 0], [0, 0, r]]) for r in (0.9, 1.1, 1.3)]
    data = MolecularDataset.from_structures(frames, [Labels(energy=-float(k)) for k in range(3)])
    student = new_student(PaiNNPlan(preset="ultra-tiny", repulsion="none"), data, seed=3, dtype=torch.float64)
    assert student.plan.shortest_distance == 0.9
    pairs = [Structure([1, 6], [[0, 0, 0], [0, 0, r]]) for r in (0.1, 0.4, 0.7, 0.8, 0.9)]
    energies = [labels.energy for labels in StudentPotential(student, backend="eager").predict(pairs, ("energy",))]
    assert energies[0] == pytest.approx(energies[2], abs=1e-9)
    assert abs(energies[4] - energies[0]) > 1e-7


def test_a_wall_begins_where_the_repulsion_does_though_training_atoms_are_further_apart() -> None:
    argon = [Structure([18, 18], [[0, 0, 0], [0, 0, r]]) for r in (3.5, 4.0)]
    data = MolecularDataset.from_structures(argon, [Labels(energy=-1.0), Labels(energy=-2.0)])
    student = new_student(PaiNNPlan(preset="ultra-tiny"), data, seed=3)
    assert student.plan.shortest_distance == pytest.approx(repulsion_range([18]))


def test_going_on_with_closer_atoms_moves_the_wall_in() -> None:
    def data(distance: float) -> MolecularDataset:
        frames = [Structure([6, 8], [[0, 0, 0], [0, 0, r]]) for r in (distance, 1.4)]
        return MolecularDataset.from_structures(frames, [Labels(energy=-1.0), Labels(energy=-2.0)])

    start = new_student(PaiNNPlan(preset="ultra-tiny"), data(1.0), seed=1)
    for distance, expected in ((0.95, 0.95), (0.98, 0.98), (1.2, 1.0)):
        student = continued_student(start, data(distance), seed=1, dtype=torch.float32)
        assert student.plan.shortest_distance == pytest.approx(expected)
