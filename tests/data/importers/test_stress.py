"""Order, sign and unit of stress: against finite differences and against a second source."""

import json
from collections.abc import Callable
from pathlib import Path

import ase.io
import ase.units
import numpy as np
import pytest
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers.border import NOT_PERIODIC, ZERO_STRESS, convert
from mlff_distiller.data.importers.frame import Declared, Frame, Quantity
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.importers.settle import settle
from mlff_distiller.data.importers.stress import symmetric, tensor
from mlff_distiller.potentials.analytic import morse

ASE: dict[Quantity, Declared] = {
    "length": Declared("Angstrom", "test"),
    "energy": Declared("eV", "test"),
    "forces": Declared("eV/Angstrom", "test"),
}
VASP = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2))
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
POTENTIAL = morse(depth=0.6, width=1.4, distance=2.6, cutoff=5.0)


def crystal() -> Structure:
    rng = np.random.default_rng(3)
    cell = np.array([[3.9, 0.1, 0.0], [0.4, 4.1, 0.2], [-0.3, 0.5, 4.4]])
    positions = (np.array([[0, 0, 0], [0.5, 0.5, 0.05], [0.5, 0, 0.5], [0, 0.5, 0.5]]) @ cell) + rng.normal(
        0, 0.1, (4, 3)
    )
    return Structure([29] * 4, positions, cell=cell, pbc=True)


def strained_energy(structure: Structure, strain: NDArray[np.float64]) -> float:
    deform = np.eye(3) + strain
    moved = structure.moved(structure.positions @ deform.T, cell=structure.cell @ deform.T)
    energy = POTENTIAL.predict([moved], ["energy"])[0].energy
    assert energy is not None
    return energy


@pytest.fixture(scope="module")
def stress() -> NDArray[np.float64]:
    """(dE / d strain) / volume by central differences: nothing of the code under test."""
    structure, h = crystal(), 1e-5
    found = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            strain = np.zeros((3, 3))
            strain[i, j] += h / 2
            strain[j, i] += h / 2
            found[i, j] = (strained_energy(structure, strain) - strained_energy(structure, -strain)) / (2 * h)
    found /= structure.volume
    assert np.abs(found - np.diag(found.diagonal())).max() > 1e-3, "the shear must tell the orders apart"
    return found


def imported(values: dict[str, NDArray[np.float64]], plan: ImportPlan) -> NDArray[np.float64] | None:
    structure = crystal()
    labels = POTENTIAL.predict([structure])[0]
    frame = Frame(
        "f",
        structure.numbers,
        structure.positions,
        cell=structure.cell,
        pbc=structure.pbc,
        values={"energy": np.array(labels.energy), "forces": labels.forces, **values},
    )
    units = settle([frame], ASE, plan, format_name="npz", where="f.npz")
    return convert(frame, units, plan).labeled.labels.stress


def six(matrix: NDArray[np.float64], order: tuple[tuple[int, int], ...]) -> NDArray[np.float64]:
    return np.array([matrix[place] for place in order])


Write = Callable[[NDArray[np.float64], float], dict[str, NDArray[np.float64]]]
WRITTEN: dict[str, tuple[Write, ImportPlan]] = {
    "ase": (
        lambda s, _: {"stress": six(s, VOIGT)},
        ImportPlan(stress_unit="eV/A^3", stress_sign="tension-positive", stress_order="xx,yy,zz,yz,xz,xy"),
    ),
    "vasp": (
        lambda s, _: {"stress": -six(s, VASP) / (0.1 * ase.units.GPa)},
        ImportPlan(stress_unit="kbar", stress_sign="compression-positive", stress_order="xx,yy,zz,xy,yz,zx"),
    ),
    "gpa": (
        lambda s, _: {"stress": s.ravel() / ase.units.GPa},
        ImportPlan(stress_unit="GPa", stress_sign="tension-positive"),
    ),
    "quip virial": (lambda s, v: {"virial": -s * v}, ImportPlan()),
    "virial in six": (lambda s, v: {"virial": -six(s, VASP) * v}, ImportPlan(stress_order="xx,yy,zz,xy,yz,xz")),
    "both": (
        lambda s, v: {"virial": (-s * v).ravel(), "stress": s},
        ImportPlan(stress_unit="eV/Angstrom^3", stress_sign="tension-positive"),
    ),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_every_form_gives_the_derivative_of_the_energy(form: str, stress: NDArray[np.float64]) -> None:
    write, plan = WRITTEN[form]
    found = imported(write(stress, crystal().volume), plan)
    assert found is not None
    np.testing.assert_allclose(found, stress, atol=1e-10)


def test_a_wrong_sign_beside_a_virial_is_seen(stress: NDArray[np.float64]) -> None:
    values = {"virial": -stress * crystal().volume, "stress": -stress}
    with pytest.raises(DataError, match="--stress-sign"):
        imported(values, ImportPlan(stress_unit="eV/Angstrom^3", stress_sign="tension-positive"))


@pytest.mark.parametrize(
    ("plan", "option"),
    [
        (ImportPlan(stress_sign="tension-positive", stress_order="xx,yy,zz,xy,yz,xz"), "--stress-unit"),
        (ImportPlan(stress_unit="kbar", stress_order="xx,yy,zz,xy,yz,xz"), "--stress-sign"),
        (ImportPlan(stress_unit="kbar", stress_sign="compression-positive"), "--stress-order"),
    ],
)
def test_what_is_not_said_of_a_stress_stops(plan: ImportPlan, option: str, stress: NDArray[np.float64]) -> None:
    with pytest.raises(DataError, match=option):
        imported({"stress": six(stress, VASP)}, plan)


def test_options_that_a_virial_has_no_use_for_are_refused(stress: NDArray[np.float64]) -> None:
    with pytest.raises(DataError, match="leave out --stress-sign"):
        imported({"virial": stress}, ImportPlan(stress_sign="tension-positive"))


def test_an_asymmetric_stress_is_refused_and_rounding_is_not(stress: NDArray[np.float64]) -> None:
    rounded = stress + np.triu(np.full((3, 3), 4e-6))
    assert np.array_equal(symmetric(rounded), symmetric(rounded).T)
    with pytest.raises(DataError, match="not symmetric"):
        symmetric(stress + np.triu(np.full((3, 3), 1e-3)))


def test_shapes_that_are_no_stress_are_refused() -> None:
    with pytest.raises(DataError, match="six or nine"):
        tensor(np.zeros(5), order=None)


def test_a_stress_without_a_volume_is_absent_with_a_reason() -> None:
    frame = Frame("f", np.array([18]), np.zeros((1, 3)), cell=np.eye(3) * 9, values={"stress": np.eye(3)})
    plan = ImportPlan(stress_unit="eV/A^3", stress_sign="tension-positive")
    found = convert(frame, settle([frame], ASE, plan, format_name="npz", where="f"), plan)
    assert found.labeled.labels.stress is None
    assert found.left_out == (NOT_PERIODIC,)


def test_a_stress_of_exact_zeros_is_absent_unless_nothing_pulls() -> None:
    plan = ImportPlan(stress_unit="eV/A^3", stress_sign="tension-positive")
    pulled, still = np.array([[0, 0, 0.1], [0, 0, -0.1]]), np.zeros((2, 3))
    for forces, kept in ((pulled, False), (still, True)):
        frame = Frame(
            "f",
            np.array([18, 18]),
            np.array([[0, 0, 0], [0, 0, 4.0]]),
            cell=np.eye(3) * 9,
            pbc=np.ones(3, dtype=bool),
            values={"stress": np.zeros(6), "forces": forces},
        )
        plan = plan.model_copy(update={"stress_order": "xx,yy,zz,yz,xz,xy"})
        found = convert(frame, settle([frame], ASE, plan, format_name="npz", where="f"), plan)
        assert (found.labeled.labels.stress is not None) == kept
        assert found.left_out == (() if kept else (ZERO_STRESS,))


@pytest.mark.parametrize(("element", "order"), [("Ge", "xx,yy,zz,xy,yz,xz"), ("Mo", "xx,yy,zz,xy,xz,yz")])
def test_published_kbar_agree_with_the_converted_set(element: str, order: str, shared: Path) -> None:
    """mlearn as published (VASP's sign, kbar, shear order differing by element) against its ASE form."""
    raw = json.loads((shared / "data/periodic/raw" / element / "test.json").read_text())
    second = ase.io.read(shared / f"data/periodic/{element}_test.extxyz", index=":")
    assert len(raw) == len(second) > 20
    plan = ImportPlan(stress_unit="kbar", stress_sign="compression-positive", stress_order=order)
    for entry, atoms in zip(raw, second, strict=True):
        outputs, structure = entry["outputs"], entry["structure"]
        frame = Frame(
            "f",
            atoms.numbers,
            np.array([site["xyz"] for site in structure["sites"]]),
            cell=np.array(structure["lattice"]["matrix"]),
            pbc=np.ones(3, dtype=bool),
            values={
                "energy": np.array(outputs["energy"]),
                "forces": np.array(outputs["forces"]),
                "stress": np.array(outputs["virial_stress"]),
            },
        )
        labels = convert(frame, settle([frame], ASE, plan, format_name="npz", where="f"), plan).labeled.labels
        assert labels.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(labels.forces, atoms.get_forces(), atol=1e-6)
        np.testing.assert_allclose(labels.stress, atoms.get_stress(voigt=False), atol=1e-8)


def test_the_order_of_one_element_is_wrong_for_the_other(shared: Path) -> None:
    raw = json.loads((shared / "data/periodic/raw/Mo/test.json").read_text())[0]
    atoms = ase.io.read(shared / "data/periodic/Mo_test.extxyz", index=0)
    wrong = tensor(np.array(raw["outputs"]["virial_stress"]), order="xx,yy,zz,xy,yz,xz") * -0.1 * ase.units.GPa
    assert np.abs(wrong - atoms.get_stress(voigt=False)).max() > 1e-3
