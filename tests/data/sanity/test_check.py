"""Every check finds what was planted, leaves the rest alone and says to how many it applied."""

import json

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.data.columns import pack
from mlff_distiller.data.sanity.check import check
from mlff_distiller.data.sanity.outliers import energy_deviations, force_deviations
from mlff_distiller.data.sanity.plan import SanityPlan
from mlff_distiller.potentials.analytic import harmonic

WATER = from_ase(ase.build.molecule("H2O"))
COPPER = from_ase(ase.build.bulk("Cu", cubic=True))


def sound(n=30):
    """Return molecules and crystals with exact forces and stress of a pair potential."""
    rng = np.random.default_rng(0)
    starts = [from_ase(ase.build.molecule("CH4")), COPPER]
    molecules, crystals = (
        [s.moved(s.positions + rng.normal(0, 0.05, s.positions.shape)) for _ in range(n)] for s in starts
    )
    springs = harmonic(stiffness=2.0, distance=1.5, cutoff=4.0)
    labels = springs.predict(molecules, ("energy", "forces"))
    labels += springs.predict(crystals, ("energy", "forces", "stress"))
    return molecules + crystals, labels


def findings(structures, labels=None, plan=None):
    report = check(pack(range(len(structures)), structures, labels), plan)
    return {kind: result.rows.tolist() for kind, result in report.results.items() if len(result.rows)}, report


def test_sound_data_have_no_findings():
    found, report = findings(*sound())
    assert found == {}
    assert len(report.rows) == 0
    assert report.results["net_torque"].n_checked == 30  # the molecules
    assert report.results["zero_stress"].n_checked == 30  # the crystals


def test_every_planted_fault_is_found_where_it_is():
    structures, labels = sound()
    hit = np.array([[0, 0, 0.3], [0, 0, -0.3], [0, 0, 0]])
    turn = np.array([[0, 0, 0], [0.5, 0, 0], [-0.5, 0, 0]])
    planted = [
        ("atoms_too_close", WATER.moved(WATER.positions * 0.3), Labels()),
        ("isolated_atom", Structure([8, 1, 1, 2], [*WATER.positions, [0, 0, 40]]), Labels()),
        ("tiny_volume", Structure([3], [[0, 0, 0]], cell=0.9 * np.eye(3), pbc=True), Labels()),
        ("missing_hydrogens", Structure([6, 6, 8], [[0, 0, 0], [1.51, 0, 0], [1.98, 1.35, 0]]), Labels()),
        ("not_finite", WATER, Labels(forces=np.where(hit > 0, np.nan, hit))),
        ("net_force", WATER, Labels(forces=hit + 0.1)),
        ("net_torque", WATER, Labels(forces=turn)),
        (
            "zero_stress",
            COPPER,
            Labels(forces=np.array([[0.1, 0, 0], [-0.1, 0, 0], [0, 0, 0], [0, 0, 0]]), stress=np.zeros((3, 3))),
        ),
        ("energy_outlier", structures[0], Labels(energy=labels[0].energy + 50.0)),
    ]
    first = len(structures)
    found, report = findings([*structures, *(s for _, s, _ in planted)], [*labels, *(label for *_, label in planted)])
    for place, (kind, _, _) in enumerate(planted):
        assert first + place in found[kind], kind
        mine = [f for f in report.results[kind].findings(100) if f.row == first + place]
        assert mine[0].sentence.startswith(f"structure {first + place}: ")
    assert not set(range(first)) & set(report.rows.tolist())
    assert found["missing_hydrogens"] == [first + 3]


def test_a_force_far_above_all_others_is_found():
    structures, labels = sound()
    labels[7] = Labels(energy=labels[7].energy, forces=1e4 * labels[7].forces)
    found, _ = findings(structures, labels)
    assert found["force_outlier"] == [7]


def test_labels_that_are_not_there_are_not_judged():
    _, report = findings([WATER, COPPER, Structure([1], [[0, 0, 0]])])
    checked = {kind: result.n_checked for kind, result in report.results.items()}
    for kind in ("net_force", "net_torque", "zero_stress", "not_finite", "energy_outlier", "force_outlier"):
        assert checked[kind] == 0
    assert checked["isolated_atom"] == 2  # a single atom is a reference atom
    assert checked["tiny_volume"] == 1


def test_an_image_is_a_neighbor():
    chain = Structure([2, 2], [[0, 0, 0], [0, 0, 9.8]], cell=10 * np.eye(3), pbc=[0, 0, 1])
    found, _ = findings([chain])
    assert list(found) == ["atoms_too_close"]


def test_bounds_are_settings_and_the_report_is_plain_data():
    labels = [Labels(forces=np.full((3, 3), 0.02))]
    assert findings([WATER], labels)[0] == {"net_force": [0]}
    found, report = findings([WATER], labels, SanityPlan(max_net_force=0.1))
    assert found == {}
    plain = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert plain["checks"]["net_force"] == {"n_checked": 1, "n_found": 0, "bound": 0.1, "worst": []}


def test_the_worst_come_first():
    labels = [Labels(forces=np.full((3, 3), force)) for force in (0.1, 0.0, 0.3, 0.2)]
    found, report = findings([WATER] * 4, labels)
    assert found["net_force"] == [2, 3, 0]
    assert [f.row for f in report.results["net_force"].findings(2)] == [2, 3]


def test_outliers_among_rare_compositions_by_energies_of_elements():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, (60, 3)).astype(float)
    fractions = counts / counts.sum(1, keepdims=True)
    energies = fractions @ np.array([-13.6, -1030.0, -2040.0]) + rng.normal(0, 0.05, 60)
    energies[17] += 3.0
    found = energy_deviations(energies, np.arange(60), fractions)
    assert found.argmax() == 17
    assert found[17] > 10 > np.delete(found, 17).max()
    few = energy_deviations(energies[:12], np.arange(12), fractions[:12])
    assert np.isnan(few).all()  # nobody can say


def test_several_temperatures_are_no_outliers_of_each_other():
    rng = np.random.default_rng(0)
    energies = np.concatenate([rng.normal(0.01 * t, 0.002 * t, 100) for t in (1, 2, 4)])
    assert energy_deviations(energies, np.zeros(300, int), np.ones((1, 1))).max() < 10


def test_small_forces_and_few_structures_are_no_outliers():
    forces = 10 ** np.random.default_rng(0).normal(0, 0.1, 200)
    forces[3] = 1e-6
    assert force_deviations(forces).max() < 10
    assert np.isnan(force_deviations(forces[:5])).all()


@pytest.mark.parametrize("name", ["ethanol", "aspirin", "benzene"])
def test_real_labels_have_no_findings(shared, name):
    file = np.load(shared / "data" / "rmd17" / f"rmd17_{name}_test_01.npz")
    unit = 0.0433641
    structures = [Structure(file["nuclear_charges"], x) for x in file["coords"]]
    pairs = zip(file["energies"], file["forces"], strict=True)
    found, report = findings(structures, [Labels(energy=float(e) * unit, forces=f * unit) for e, f in pairs])
    assert found == {}
    assert report.results["energy_outlier"].n_checked == 1000


def test_no_structures_have_no_findings():
    found, report = findings([])
    assert found == {}
    assert report.to_json()["n_structures"] == 0
