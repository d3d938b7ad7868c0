"""PaiNN's presets and settings; what every student must keep is in test_contract.py."""

import math

import numpy as np
import pytest
import torch

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PlanError, UnsupportedStructureError
from mlff_distiller.students.blocks.radial import RADIAL_BASES
from mlff_distiller.students.painn.plan import PRESETS, PaiNNPlan
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.student import Student

BUDGETS = {"original": 427_292, "tiny": 77_203, "ultra-tiny": 21_459}
TEN = dict.fromkeys((1, 5, 6, 7, 8, 9, 15, 16, 17, 35), 0.0)
WATER = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


@pytest.mark.parametrize(("preset", "budget"), BUDGETS.items())
@pytest.mark.parametrize("radial", sorted(RADIAL_BASES))
def test_presets_keep_within_the_budget_for_ten_elements(preset, budget, radial):
    assert 0.85 * budget < Student(PaiNNPlan(preset=preset, radial=radial), TEN).n_parameters <= budget


def test_a_preset_that_is_no_word_is_one_sentence():
    with pytest.raises(PlanError, match="preset"):
        PaiNNPlan.parse({"preset": ["tiny"]}, where="test")


@pytest.mark.parametrize("kind", sorted(RADIAL_BASES))
@pytest.mark.parametrize("power", [2, 6, 12])
def test_radial_bases_end_smoothly_at_the_cutoff(kind, power):
    basis = RADIAL_BASES[kind](8, 5.0, power=power)
    for distance, bound in ((5.0 - 1e-5, 1e-2), (5.0 + 1e-5, 1e-30)):
        r = torch.tensor([distance], dtype=torch.float64, requires_grad=True)
        for value in basis(r)[0]:
            (first,) = torch.autograd.grad(value, r, create_graph=True)
            (second,) = torch.autograd.grad(first, r, retain_graph=True)
            assert all(abs(float(d.detach())) < bound for d in (value, first, second))
    inside = basis(torch.linspace(0.5, 4.0, 50, dtype=torch.float64))
    assert torch.linalg.matrix_rank(inside) == 8
    assert inside.isfinite().all()


@pytest.mark.parametrize("kind", sorted(RADIAL_BASES))
def test_radial_bases_do_not_depend_on_the_default_precision(kind):
    r = torch.linspace(0.5, 4.9, 20, dtype=torch.float64)
    try:
        torch.set_default_dtype(torch.float64)
        other = RADIAL_BASES[kind](8, 5.3)(r)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(RADIAL_BASES[kind](8, 5.3)(r), other)


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("n_neighbors", [10, 50])
def test_features_of_an_untrained_network_stay_of_order_one(preset, n_neighbors):
    rng = np.random.default_rng(0)
    edge = (200 * 4 / 3 * math.pi * 5**3 / n_neighbors) ** (1 / 3)
    places = (np.stack(np.meshgrid(*[np.arange(6)] * 3), -1).reshape(-1, 3)[:200] + 0.5) / 6
    positions = (places + rng.normal(scale=0.02, size=places.shape)) * edge
    gas = Structure(rng.choice([1, 6, 8], 200), positions, cell=edge * np.eye(3), pbc=True)
    student = Student(PaiNNPlan(preset=preset), dict.fromkeys((1, 6, 8), 0.0), neighbor_norm=math.sqrt(n_neighbors))
    spreads = []
    for update in student.network.updates:
        update.register_forward_hook(lambda _module, _inputs, output: spreads.append(output[0].std().item()))
    student(Graph.from_structures([gas], student.cutoff))
    assert len(spreads) == student.plan.n_layers
    assert 0.5 < min(spreads) < max(spreads) < 2


def test_a_composition_is_refused_in_a_state_that_it_was_not_trained_in():
    student = Student(
        PaiNNPlan(preset="ultra-tiny"), {1: 0.0, 8: 0.0}, states={"H2O": (0, 1), "H3O": (1, 1), "HO": (0, 2)}
    )
    potential = StudentPotential(student)
    assert (student.charges, potential.spins) == ((0, 1), {1, 2})
    cation, twin = (
        Structure(WATER.numbers, WATER.positions, charge=1),
        Structure([8, 8], [[0, 0, 0], [0, 0, 1.3]], spin=2),
    )
    for known in (WATER, twin):  # as trained; never seen, in a charge and a multiplicity that were
        assert potential.predict([known])[0].is_finite
    for refused, sentence in (
        (cation, r"H2O has charge \+1 and spin multiplicity 1.*learned this composition with charge \+0 and spin"),
        (Structure(WATER.numbers, WATER.positions, spin=3), "H2O has spin multiplicity 3.*it covers 1, 2"),
        (Structure([8, 1], [[0, 0, 0], [0, 0, 1]]), "HO has charge .0 and spin multiplicity 1.*multiplicity 2"),
    ):
        with pytest.raises(UnsupportedStructureError, match=sentence):
            potential.predict([refused])


def test_the_identity_depends_on_everything_that_decides_energies():
    def identity(**settings):
        plan = PaiNNPlan(preset="ultra-tiny", repulsion=settings.pop("repulsion", "zbl"))
        return StudentPotential(Student(plan, {1: settings.pop("energy", 0.0)}, **settings)).identity.weights

    changes = [{}, {"seed": 1}, {"scale": 2.0}, {"neighbor_norm": 2.0}, {"energy": 1.0}, {"repulsion": "none"}]
    assert len({identity(**change) for change in changes}) == len(changes)
    assert identity() == identity()
