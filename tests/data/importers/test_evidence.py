"""What the numbers say on their own - and that they say nothing where they cannot know."""

from pathlib import Path

import ase.units
import numpy as np
import pytest

from mlff_distiller.data.importers import evidence
from mlff_distiller.data.importers.frame import Frame

KCAL = ase.units.kcal / ase.units.mol


def one(numbers: list[int], energy: float) -> Frame:
    return Frame("f", np.array(numbers), np.zeros((len(numbers), 3)), values={"energy": np.array(energy)})


# Published totals, Hartree: water CCSD(T)/CBS, benzene B3LYP, methane QM9's U0, sulfur hexafluoride, copper dimer
MOLECULES = {"H2O": ([8, 1, 1], -76.37), "C6H6": ([6] * 6 + [1] * 6, -232.25), "CH4": ([6, 1, 1, 1, 1], -40.479)}


@pytest.mark.parametrize(
    ("molecule", "unit"),
    [
        (molecule, unit)
        for molecule in MOLECULES
        for unit in ("eV", "Hartree", "kcal/mol", "kJ/mol", "Ry", "meV")
        if (molecule, unit) != ("H2O", "Ry")  # the numbers of GFN1-xTB in eV
    ],
)
def test_all_electron_totals_have_one_unit(molecule: str, unit: str) -> None:
    scale = {"eV": 1, "meV": 1e-3, "Hartree": ase.units.Hartree, "Ry": ase.units.Ry, "kcal/mol": KCAL}
    per_unit = {**scale, "kJ/mol": KCAL / 4.184}[unit]
    numbers, energy = MOLECULES[molecule]
    assert evidence.total_energy_unit([one(numbers, energy * ase.units.Hartree / per_unit)]) == unit


def test_other_energies_say_nothing() -> None:
    water = [8, 1, 1]
    assert evidence.total_energy_unit([one(water, -14.2)]) is None, "pseudopotential"
    assert evidence.total_energy_unit([one(water, -5.07 * ase.units.Hartree)]) is None, "GFN2-xTB"
    assert evidence.total_energy_unit([one(water, -9.5), one(water, -76.4)]) is None, "two kinds in one file"
    assert evidence.total_energy_unit([one([92], -28000.0)]) is None, "beyond the table"
    assert evidence.total_energy_unit([]) is None


@pytest.mark.parametrize(("method", "energy"), [("GFN2-xTB", -11.394), ("GFN1-xTB", -12.1)])
def test_energies_of_xtb_are_not_taken_for_totals_in_another_unit(method: str, energy: float) -> None:
    ethanol, rydbergs = [6, 6, 8] + [1] * 6, -154.0 * 2
    assert abs(energy * ase.units.Hartree / rydbergs - 1) < 0.08, "in eV, a number like that of all electrons in Ry"
    assert evidence.total_energy_unit([one(ethanol, energy * ase.units.Hartree)]) is None, method
    assert evidence.total_energy_unit([one(ethanol, -154.0)]) == "Hartree"
    both = [one(ethanol, rydbergs), one(*MOLECULES["CH4"])]
    both[1].values["energy"] *= 2
    assert evidence.total_energy_unit(both) == "Ry", "no other method gives both"


def test_the_table_grows_with_the_nucleus() -> None:
    totals = np.array(evidence.ATOMIC_TOTALS[1:])
    assert len(totals) == 36
    assert np.all(np.diff(totals) < 0)
    # Semiclassical expansion for neutral atoms (Schwinger 1981, doi:10.1103/PhysRevA.24.2353), better than 2 % here
    z = np.arange(10, 37)
    estimate = -0.768745 * z ** (7 / 3) + 0.5 * z**2 - 0.269900 * z ** (5 / 3)
    np.testing.assert_allclose(totals[9:], estimate, rtol=0.02)


@pytest.mark.parametrize("molecule", ["ethanol", "benzene", "aspirin"])
def test_rmd17_settles_itself(molecule: str, shared: Path) -> None:
    """Three independent lines of evidence agree with the documented kcal/mol and kcal/mol/Angstrom."""
    data = np.load(shared / f"data/rmd17/rmd17_{molecule}_train_01.npz")
    frames = [
        Frame("f", data["nuclear_charges"], x, values={"energy": np.array(e), "forces": f})
        for x, e, f in zip(data["coords"], data["energies"], data["forces"], strict=True)
    ]
    assert evidence.total_energy_unit(frames) == "kcal/mol"
    assert evidence.length_unit(frames) == "Angstrom"
    work = evidence.work(frames)
    assert work is not None
    assert work.slope == pytest.approx(1, abs=0.05)
    assert work.n_atoms == len(data["nuclear_charges"])


def spring(r: float, shift: float = 0.0, cell: float | None = None) -> Frame:
    pull = 3.0 * (r - 1)
    positions = np.array([[0, 0, shift], [0, 0, shift + r]])
    if cell is not None:
        positions %= cell
    return Frame(
        "f",
        np.array([1, 1]),
        positions,
        cell=None if cell is None else np.eye(3) * cell,
        pbc=np.full(3, cell is not None),
        values={"energy": np.array(1.5 * (r - 1) ** 2), "forces": np.array([[0, 0, pull], [0, 0, -pull]])},
    )


def test_work_is_that_of_the_forces_across_boundaries_too() -> None:
    """Frames drift and are wrapped into the cell; the energies know nothing of it."""
    rng = np.random.default_rng(1)
    distances = rng.uniform(0.8, 1.3, 20)
    for cell in (None, 4.0):
        work = evidence.work(
            [spring(r, shift, cell) for r, shift in zip(distances, rng.uniform(0, 4, 20), strict=True)]
        )
        assert work is not None
        assert work.slope == pytest.approx(1, abs=1e-6)


def test_too_few_or_unlike_frames_say_nothing() -> None:
    near = [spring(r) for r in np.linspace(0.9, 1.1, 7)]
    assert evidence.work(near) is None
    assert evidence.work([spring(1.0)] * 50) is None, "no frame moved"
    assert evidence.work([spring(r) for r in np.arange(1, 40, 1.0)]) is None, "too far apart"
    noise = np.random.default_rng(0)
    frames = [
        Frame("f", f.numbers, f.positions, values={**f.values, "energy": noise.normal(size=())}) for f in near * 4
    ]
    assert evidence.work(frames) is None, "energies that are not those of the forces"


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (1.02, ""),
        (1 / 27.3, "energies look like Hartree"),
        (0.0434, "forces look like kcal/mol/Angstrom"),
        (7.3, ""),
        (0.7, ""),
    ],
)
def test_ratios_are_explained_or_left_alone(ratio: float, words: str) -> None:
    """The energies' unit is that of the file: a slope of E in Hartree against forces in eV/Angstrom is 1/27."""
    said = evidence.explain(ratio, energy="eV", forces="eV/Angstrom", n_atoms=30)
    assert (words in said) if words else said == ""


@pytest.mark.parametrize("unit", ["Angstrom", "Bohr", "nm", "pm"])
def test_bonds_tell_the_unit_of_length(unit: str) -> None:
    from mlff_distiller.data.importers.units import factor

    methane = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 1.09 / np.sqrt(3)
    frame = Frame("f", np.array([6, 1, 1, 1, 1]), methane / factor("length", unit))
    assert evidence.length_unit([frame]) == unit


def test_bonds_across_a_boundary_are_bonds() -> None:
    cell = 3.567 / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2
    fractional = np.array(
        [[i / 2 + b, j / 2 + b, k / 2 + b] for i in (0, 1) for j in (0, 1) for k in (0, 1) for b in (0, 0.125)]
    )
    diamond = Frame("f", np.full(16, 6), (fractional + 0.9) % 1 @ cell, cell=cell, pbc=np.ones(3, dtype=bool))
    assert evidence.length_unit([diamond]) == "Angstrom"


def test_metals_and_atoms_say_nothing_of_length() -> None:
    assert evidence.length_unit([Frame("f", np.array([29] * 4), np.eye(4, 3) * 2.5)]) is None
    assert evidence.length_unit([one([1], -0.5)]) is None
