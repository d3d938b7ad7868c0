"""Committees and sums against what their parts say."""

import numpy as np
import pytest

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PlanError, PropertyError, UnsupportedStructureError
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.analytic import lennard_jones, morse
from mlff_distiller.potentials.combination import Committee, WeightedSum
from mlff_distiller.students.teacher import StudentTeacherPlan
from mlff_distiller.teachers.combined import CommitteePlan, CorrectionPlan
from mlff_distiller.teachers.xtb import XTBPlan

EVERYTHING = ("energy", "forces", "stress", "atomic_energies")
PARTS = [morse(depth=d, width=1.4, distance=1.1, cutoff=c) for d, c in ((1.0, 4.0), (1.5, 5.0), (0.7, 4.5))]


@pytest.fixture
def structures() -> list[Structure]:
    rng = generator(1, "combination")
    cluster = Structure([6, 1, 1, 8], rng.normal(scale=1.2, size=(4, 3)))
    cell = Structure([6, 1], [[0, 0, 0], [0.6, 0.7, 0.9]], cell=np.diag([3.0, 3.2, 2.9]), pbc=True)
    return [cluster, cell]


def test_a_sum_is_the_sum_of_every_property(structures) -> None:
    weights = [1.0, -0.5, 2.0]
    parts = [part.predict(structures, EVERYTHING) for part in PARTS]
    for k, labels in enumerate(WeightedSum(PARTS, weights).predict(structures, EVERYTHING)):
        assert labels.present == parts[0][k].present
        for name in labels.present:
            expected = sum(w * np.asarray(getattr(own[k], name)) for w, own in zip(weights, parts, strict=True))
            np.testing.assert_allclose(getattr(labels, name), expected, atol=1e-12)


def test_a_committee_is_the_mean_with_the_sample_deviation(structures) -> None:
    asked = (*EVERYTHING, "energy_std", "force_std")
    parts = [part.predict(structures, EVERYTHING) for part in PARTS]
    for k, labels in enumerate(Committee(PARTS).predict(structures, asked)):
        energies, forces = [own[k].energy for own in parts], np.array([own[k].forces for own in parts])
        assert labels.energy == pytest.approx(np.mean(energies))
        assert labels.energy_std == pytest.approx(np.std(energies, ddof=1))
        np.testing.assert_allclose(labels.forces, forces.mean(0), atol=1e-12)
        apart = np.linalg.norm(forces - forces.mean(0), axis=2)
        np.testing.assert_allclose(labels.force_std, np.sqrt((apart**2).sum(0) / 2), atol=1e-12)


def test_only_what_was_asked_for(structures) -> None:
    committee = Committee(PARTS)
    assert committee.predict(structures, ["force_std"])[0].present == ("force_std",)
    assert committee.predict(structures, ["energy"])[0].present == ("energy",)
    assert committee.predict([]) == []
    with pytest.raises(PropertyError, match="cannot give energy_std"):
        WeightedSum(PARTS, [1, 1, 1]).predict(structures, ["energy_std"])


def test_the_spread_does_not_turn_with_the_structure(structures) -> None:
    turn = np.linalg.qr(generator(2, "turn").normal(size=(3, 3)))[0]
    turned = structures[0].moved(structures[0].positions @ turn.T)
    one, other = Committee(PARTS).predict([structures[0], turned], ["force_std", "energy_std"])
    np.testing.assert_allclose(one.force_std, other.force_std, atol=1e-12)


def test_what_is_covered_is_what_all_cover() -> None:
    metal = lennard_jones(epsilon=0.4, sigma=2.2, cutoff=6.0, elements=[6, 29])
    both = WeightedSum([PARTS[0], metal], [1, 1])
    assert (both.elements, both.cutoff, both.charges) == ({6, 29}, 6.0, None)
    with pytest.raises(UnsupportedStructureError, match="holds O"):
        both.predict([Structure([8], [[0, 0, 0]])])
    with pytest.raises(PlanError, match="no element in common"):
        WeightedSum([metal, lennard_jones(epsilon=1, sigma=2, cutoff=5, elements=[8])], [1, 1])
    with pytest.raises(PlanError, match="two members or more, got 1"):
        Committee(PARTS[:1])
    xtb = WeightedSum([XTBPlan().build(), PARTS[0]], [1, 1])
    assert xtb.cutoff is None
    with pytest.raises(UnsupportedStructureError, match="lowest possible: 2"):
        xtb.check([Structure([1], [[0, 0, 0]])], ["energy"])


def test_the_identity_follows_parts_and_weights() -> None:
    one, two = WeightedSum(PARTS[:2], [1, 1]).identity, WeightedSum(PARTS[:2], [1, -1]).identity
    assert one.weights != two.weights
    assert one != WeightedSum(PARTS[1:], [1, 1]).identity
    assert str(two).count("morse") == 2


def test_a_correction_of_the_difference_is_the_better_teacher() -> None:
    water = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    base, better = {"kind": "xtb", "method": "GFN1-xTB"}, {"kind": "xtb"}
    difference = {"kind": "difference", "better": better, "base": base}
    plan = CorrectionPlan.parse({"base": base, "correction": difference}, where="recipe.yaml")
    found, expected = plan.build().predict([water])[0], XTBPlan().build().predict([water])[0]
    assert found.energy == pytest.approx(expected.energy, abs=1e-9)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-9)


def test_plans_of_plans(tmp_path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"weights")
    settings = {"members": [{"kind": "xtb"}, {"kind": "student", "model": "a.safetensors"}]}
    plan = CommitteePlan.parse(settings, where="recipe.yaml")
    located = plan.located(tmp_path)
    assert located.members[1].model == str(tmp_path / "a.safetensors")
    assert plan.fingerprint() != located.fingerprint()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "a.safetensors").write_bytes(b"weights")
    assert plan.located(moved).fingerprint() == located.fingerprint()
    assert CommitteePlan.parse(located.model_dump(mode="json"), where="again") == located


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([{"kind": "xtb"}], "members"),
        ([{"kind": "xtb"}, {"kind": "xtbb"}], "unknown teacher 'xtbb'.*did you mean 'xtb'"),
        ([{"kind": "xtb"}, {"kind": "xtb", "methd": "GFN2-xTB"}], "unknown key 'methd'.*did you mean 'method'"),
        ([{"kind": "xtb"}, "xtb"], "given by its settings"),
    ],
)
def test_wrong_members(members, said) -> None:
    with pytest.raises(PlanError, match=said):
        CommitteePlan.parse({"members": members}, where="recipe.yaml")


def test_a_folder_that_happens_to_be_called_like_a_model_is_not_the_model(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mace_mp").mkdir()
    before = StudentTeacherPlan(model="mace_mp").fingerprint()
    (tmp_path / "mace_mp" / "file").write_text("1")
    assert StudentTeacherPlan(model="mace_mp").fingerprint() == before
    assert StudentTeacherPlan(model="mace_mp").located(tmp_path).model == "mace_mp"
    assert StudentTeacherPlan(model="").fingerprint()
    assert StudentTeacherPlan(model="./mace_mp").fingerprint() != StudentTeacherPlan(model="./none").fingerprint()
