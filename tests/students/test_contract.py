"""The contract of students: every preset and radial basis keeps it, and broken architectures do not."""

from functools import cache
from typing import Literal

import pytest
import torch
from torch import nn

from mlff_distiller.students import STUDENTS
from mlff_distiller.students.contract import StudentContract
from mlff_distiller.students.painn.plan import PRESETS, PaiNNPlan
from mlff_distiller.students.plan import StudentPlan


@pytest.mark.slow
class TestOriginal(StudentContract):
    plan = PaiNNPlan(preset="original")


@pytest.mark.slow
class TestTiny(StudentContract):
    plan = PaiNNPlan(preset="tiny")


class TestUltraTiny(StudentContract):
    plan = PaiNNPlan(preset="ultra-tiny")


@pytest.mark.slow
class TestGaussianWithoutRepulsion(StudentContract):
    plan = PaiNNPlan(preset="ultra-tiny", radial="gaussian", repulsion="none")


class TestSharpEnvelopeAndShortCutoff(StudentContract):
    plan = PaiNNPlan(preset="ultra-tiny", envelope_power=3, cutoff=3.5, n_layers=1)


def test_every_architecture_and_preset_is_held_to_it():
    plans = [contract.plan for contract in (TestOriginal, TestTiny, TestUltraTiny)]
    assert STUDENTS.names() == ["painn"]
    assert {plan.preset for plan in plans} == set(PRESETS)


class Broken(StudentPlan):
    """PaiNN with one fault."""

    kind: Literal["broken"] = "broken"
    repulsion: Literal["zbl", "none"] = "none"
    fault: str

    def build(self, n_elements: int, *, neighbor_norm: float = 1.0) -> nn.Module:
        return Faulty(PaiNNPlan(preset="ultra-tiny").build(n_elements, neighbor_norm=neighbor_norm), self.fault)


class Faulty(nn.Module):
    def __init__(self, network: nn.Module, fault: str) -> None:
        super().__init__()
        self.network, self.fault = network, getattr(self, fault)
        self.spare = nn.Parameter(torch.ones(3)) if fault == "idle" else None

    @property
    def readout(self):
        """Where embeddings are taken; registered once, since two names for one parameter cannot be traced."""
        return self.network.readout

    def forward(self, species, graph):
        return self.fault(self.network(species, graph), graph)

    def sound(self, energies, graph):
        """Change nothing."""
        return energies

    def sharp(self, energies, graph):
        """Count neighbors within the cutoff: the energy jumps."""
        return energies + 0.01 * torch.zeros_like(energies).index_add(
            0, graph.centers, torch.ones_like(graph.vectors[:, 0])
        )

    def kinked(self, energies, graph):
        """Go to zero with a finite slope: the force jumps."""
        return energies + self._pairs(graph, energies, 1)

    def bent(self, energies, graph):
        """Go to zero with a finite curvature: the second derivative jumps."""
        return energies + self._pairs(graph, energies, 2)

    def average(self, energies, graph):
        """Divide by the number of atoms in the batch: neither extensive nor alone."""
        return energies / graph.n_atoms

    def axis(self, energies, graph):
        """Look at one Cartesian component."""
        return energies + 1e-3 * torch.zeros_like(energies).index_add(0, graph.centers, torch.cos(graph.vectors[:, 0]))

    def ordered(self, energies, graph):
        """Weight atoms by their place in the list."""
        return energies * (1 + 1e-3 * torch.arange(len(energies)))

    def handed(self, energies, graph):
        """Tell a molecule from its mirror image, and a bond from its reverse."""
        length = torch.linalg.vector_norm(graph.vectors, dim=1, keepdim=True).clamp(min=0.5)
        fields = [
            graph.vectors.new_zeros(len(energies), 3).index_add(
                0, graph.centers, graph.vectors / length * weight * (5 - length).clamp(min=0) ** 3
            )
            for weight in (1 / length, 1 / length**2, 1 / length**4)
        ]
        return energies + 1e-2 * torch.linalg.det(torch.stack(fields, dim=1))

    def rough(self, energies, graph):
        """Take a norm that has no derivative where it vanishes."""
        fields = graph.vectors.new_zeros(len(energies), 3).index_add(0, graph.centers, graph.vectors)
        return energies + 1e-3 * torch.linalg.vector_norm(fields, dim=1)

    def detached(self, energies, graph):
        """Forget a part of the gradient."""
        return energies * (1 + energies.detach())

    def choosy(self, energies, graph):
        """Shapes that depend on the data."""
        near = torch.linalg.vector_norm(graph.vectors, dim=1) < 2
        return energies.index_add(0, graph.centers[near], graph.vectors[near].square().sum(1))

    def idle(self, energies, graph):
        """Carry a parameter that does nothing."""
        return energies + 0 * self.spare.sum()

    def single(self, energies, graph):
        """Lose digits on the way."""
        return energies + (1e4 + energies) - 1e4

    def loud(self, energies, graph):
        """Begin with forces far beyond the data's."""
        return 300 * energies

    def _pairs(self, graph, energies, power):
        switch = (5.0 - torch.linalg.vector_norm(graph.vectors, dim=1)).clamp(min=0) ** power
        return 1e-2 * torch.zeros_like(energies).index_add(0, graph.centers, switch)


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        ("sharp", "test_smooth_at_the_cutoff"),
        ("sharp", "test_edges_beyond_the_cutoff_count_for_nothing"),
        ("kinked", "test_smooth_at_the_cutoff"),
        ("bent", "test_smooth_at_the_cutoff"),
        ("average", "test_supercell"),
        ("average", "test_far_copies_add_up"),
        ("average", "test_batch_equals_single"),
        ("average", "test_a_thousand_structures_at_once"),
        ("average", "test_many_atoms"),
        ("average", "test_isolated_atoms"),
        ("axis", "test_rotation_and_inversion"),
        ("handed", "test_rotation_and_inversion"),
        ("ordered", "test_translation_and_permutation"),
        ("ordered", "test_mixed_boundaries"),
        ("rough", "test_symmetric_molecules_have_second_derivatives"),
        ("detached", "test_forces_are_minus_the_gradient"),
        ("detached", "test_stress_is_the_derivative_by_strain"),
        ("detached", "test_second_derivatives"),
        ("detached", "test_gradients_of_a_loss_of_forces"),
        pytest.param("choosy", "test_it_can_be_traced", marks=pytest.mark.slow),
        ("idle", "test_every_parameter_matters"),
        ("single", "test_float32_agrees_with_float64"),
        ("loud", "test_it_starts_small"),
    ],
)
def test_a_broken_architecture_is_found(fault, test):
    run("sound", test)
    with pytest.raises(AssertionError):
        run(fault, test)


@cache
def run(fault, test):
    contract = type("Held", (StudentContract,), {"plan": Broken(fault=fault)})()
    getattr(contract, test)()
