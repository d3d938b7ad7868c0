"""Loss terms against plain formulas, with labels missing here and there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.data.loading.batch import Batch
from mlff_distiller.distillation.losses.atomic_energies import AtomicEnergiesTerm
from mlff_distiller.distillation.losses.energy import EnergyTerm
from mlff_distiller.distillation.losses.force_angle import ForceAngleTerm
from mlff_distiller.distillation.losses.forces import ForcesTerm
from mlff_distiller.distillation.losses.hessian import HessianTerm
from mlff_distiller.distillation.losses.loss import Loss
from mlff_distiller.distillation.losses.stress import StressTerm
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.potentials.derivatives import Derived

SIZES = np.array([2, 3, 1, 4])
SYSTEM = np.repeat(np.arange(4), SIZES)
KNOWN = np.array([True, False, True, True])
SCALE = 1.7
RNG = np.random.default_rng(0)
OURS, THEIRS = (
    {
        "energy": RNG.normal(size=4),
        "atomic_energies": RNG.normal(size=10),
        "forces": RNG.normal(size=(10, 3)),
        "virial": RNG.normal(size=(4, 3, 3)),
        "hessian_products": RNG.normal(size=(10, 2, 3)),
    }
    for _ in range(2)
)
VOLUMES = np.array([20.0, 30.0, 10.0, 40.0])
ATOMS = KNOWN[SYSTEM]


def tensor(values) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values))


DERIVED = Derived(**{name: tensor(values) for name, values in OURS.items()})
BATCH = Batch(
    graph=Graph(tensor(np.ones(10, np.int64)), tensor(SYSTEM), *torch.zeros(2, 0).long(), torch.zeros(0, 3), 4),
    n_atoms=tensor(SIZES.astype(float)),
    energy=tensor(THEIRS["energy"]),
    forces=tensor(THEIRS["forces"]),
    stress=tensor(THEIRS["virial"] / VOLUMES[:, None, None]),
    volumes=tensor(VOLUMES),
    atomic_energies=tensor(THEIRS["atomic_energies"]),
    hessian_directions=tensor(RNG.normal(size=(10, 2, 3))),
    hessian_products=tensor(THEIRS["hessian_products"]),
    is_reference=tensor([True, False, False, False]),
    **{f"has_{name}": tensor(KNOWN) for name in ("energy", "forces", "stress", "atomic_energies", "hessian")},
)
ERRORS = OURS["forces"] - THEIRS["forces"]
LENGTHS = np.linalg.norm(ERRORS, axis=1) / SCALE


def relative() -> float:
    total = 0.0
    for k in np.flatnonzero(KNOWN):
        mine = k == SYSTEM
        total += (LENGTHS[mine] ** 2).sum() / max(0.01, ((THEIRS["forces"][mine] / SCALE) ** 2).mean())
    return total


def cosines(softening: float) -> np.ndarray:
    ours, theirs = (np.sqrt((x["forces"] ** 2).sum(1) + softening**2) for x in (OURS, THEIRS))
    return ((OURS["forces"] * THEIRS["forces"]).sum(1) / ours / theirs)[ATOMS]


PER_ATOM = (OURS["energy"] - THEIRS["energy"]) / SIZES
VIRIALS = (OURS["virial"] - THEIRS["virial"]) / SIZES[:, None, None]
TERMS = {
    "energy": (EnergyTerm(), 3, ((PER_ATOM / SCALE) ** 2)[KNOWN].sum(), PER_ATOM[KNOWN]),
    "mse": (ForcesTerm(), 21, (LENGTHS**2)[ATOMS].sum(), ERRORS[ATOMS]),
    "mae": (ForcesTerm(form="mae"), 21, np.sqrt(LENGTHS**2 + 1e-8)[ATOMS].sum(), ERRORS[ATOMS]),
    "huber": (
        ForcesTerm(form="huber", huber_delta=0.3),
        21,
        (2 * 0.09 * (np.sqrt(1 + LENGTHS**2 / 0.09) - 1))[ATOMS].sum(),
        ERRORS[ATOMS],
    ),
    "relative": (ForcesTerm(form="relative"), 21, relative(), ERRORS[ATOMS]),
    "stress": (StressTerm(), 27, ((VIRIALS / SCALE) ** 2)[KNOWN].sum(), VIRIALS[KNOWN]),
    "force_angle": (
        ForceAngleTerm(),
        7,
        (1 - cosines(1e-2 * SCALE)).sum(),
        np.degrees(np.arccos(np.clip(cosines(1e-6), -1, 1))),
    ),
    "atomic_energies": (
        AtomicEnergiesTerm(),
        7,
        (((OURS["atomic_energies"] - THEIRS["atomic_energies"]) / SCALE) ** 2)[ATOMS].sum(),
        (OURS["atomic_energies"] - THEIRS["atomic_energies"])[ATOMS],
    ),
    "hessian": (
        HessianTerm(),
        42,
        (((OURS["hessian_products"] - THEIRS["hessian_products"]) / SCALE) ** 2)[ATOMS].sum(),
        (OURS["hessian_products"] - THEIRS["hessian_products"])[ATOMS],
    ),
}


@pytest.mark.parametrize(("term", "count", "total", "residuals"), TERMS.values(), ids=TERMS)
def test_terms_are_their_formulas(term, count, total, residuals):
    assert float(term.count(BATCH)) == count
    assert float(term.total(DERIVED, BATCH, scale=SCALE)) == pytest.approx(total, rel=1e-12)
    np.testing.assert_allclose(term.residuals(DERIVED, BATCH).numpy(), residuals, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("labels", "rows"), [("all", [0, 2, 3]), ("teacher", [2, 3]), ("reference", [0])])
@pytest.mark.parametrize("name", TERMS)
def test_terms_match_the_labels_they_are_told_to(name, labels, rows):
    term = TERMS[name][0].model_copy(update={"labels": labels})
    chosen = torch.zeros(4, dtype=torch.bool)
    chosen[rows] = True
    assert term.known(BATCH).tolist() == chosen.tolist()
    masks = {f"has_{x}": chosen for x in ("energy", "forces", "stress", "atomic_energies", "hessian")}
    alone, everything = replace(BATCH, **masks), TERMS[name][0]
    assert float(term.count(BATCH)) == float(everything.count(alone))
    ours, theirs = (t.total(DERIVED, b, scale=SCALE) for t, b in ((term, BATCH), (everything, alone)))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-14)


@pytest.mark.parametrize("name", TERMS)
def test_terms_do_not_see_what_is_not_known(name):
    """Changing a value that means nothing changes nothing."""
    term, _, total, _ = TERMS[name]
    other = {n: getattr(BATCH, n).clone() for n in ("energy", "forces", "stress", "atomic_energies")}
    other["energy"][1], other["stress"][1] = 1e6, 1e6
    other["forces"][SYSTEM == 1], other["atomic_energies"][SYSTEM == 1] = 1e6, 1e6
    assert float(term.total(DERIVED, replace(BATCH, **other), scale=SCALE)) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "relative", "force_angle"])
def test_force_terms_do_not_depend_on_orientation(name):
    term, _, total, _ = TERMS[name]
    turn = tensor(Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix())
    turned = replace(DERIVED, forces=DERIVED.forces @ turn.T), replace(BATCH, forces=BATCH.forces @ turn.T)
    assert float(term.total(*turned, scale=SCALE)) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("name", TERMS)
def test_gradients_are_finite_where_everything_is_right_or_zero(name):
    """Roots and cosines have a corner there."""
    term = TERMS[name][0]
    zero = {n: torch.zeros_like(getattr(DERIVED, n)).requires_grad_() for n in OURS}
    labels = {n: torch.zeros_like(getattr(BATCH, n)) for n in ("energy", "forces", "stress", "atomic_energies")}
    total = term.total(Derived(**zero), replace(BATCH, **labels), scale=SCALE)
    used = [t for t in torch.autograd.grad(total, list(zero.values()), allow_unused=True) if t is not None]
    assert used
    assert all(gradient.isfinite().all() for gradient in used)


def test_weights_move_evenly_in_their_logarithm():
    term = EnergyTerm(weight=1.0, final_weight=100.0, changes_after=0.6)
    assert [term.weight_at(p) for p in (0.0, 0.6, 0.8, 1.0)] == pytest.approx([1.0, 1.0, 10.0, 100.0])
    assert EnergyTerm(weight=3.0, final_weight=None).weight_at(0.9) == 3.0


def test_the_loss_is_the_weighted_sum_of_means_however_the_batch_is_cut():
    terms = (
        EnergyTerm(weight=2.0, final_weight=None),
        ForcesTerm(weight=50.0, final_weight=None),
        StressTerm(weight=0.0),
    )
    loss = Loss(terms, {"energy", "forces", "stress"}, scale=SCALE)
    assert [term.kind for term in loss.terms] == ["energy", "forces"]
    counts = loss.counts([BATCH, BATCH])
    assert counts.tolist() == [6, 42]
    expected = [2.0 / 6, 50.0 / 42]
    assert loss.factors(counts, progress=0.5).tolist() == pytest.approx(expected)
    assert loss.factors(torch.zeros(2), progress=0.0).tolist() == [2.0, 50.0]  # nothing labeled: nothing is divided


def test_beside_reference_data_the_terms_of_the_teacher_fade_unless_told():
    plan = TrainingPlan.parse({"reference_data": "dft"}, where="training")
    found = {(term.kind, term.labels): (term.weight_at(0.0), round(term.weight_at(1.0), 6)) for term in plan.loss}
    assert found == {
        ("energy", "teacher"): (1.0, 0.001),
        ("forces", "teacher"): (100.0, 0.1),
        ("stress", "teacher"): (10.0, 0.01),
        ("energy", "reference"): (1.0, 30.0),
        ("forces", "reference"): (100.0, 100.0),
        ("stress", "reference"): (10.0, 10.0),
    }
    again = TrainingPlan.parse(plan.model_dump(mode="json"), where="a file")
    assert again == plan
    told = TrainingPlan.parse({"reference_data": "dft", "loss": [{"kind": "forces"}]}, where="training")
    assert [(term.kind, term.labels) for term in told.loss] == [("forces", "all")]
    assert {term.labels for term in TrainingPlan().loss} == {"all"}
