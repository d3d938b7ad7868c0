"""Units by name."""

import ase.units
import numpy as np
import pytest

from mlff_distiller.core.errors import PlanError, UnknownNameError
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.importers.units import canonical, factor

KCAL = ase.units.kcal / ase.units.mol

EXPECTED = [
    ("energy", "eV", 1.0),
    ("energy", "ELECTRON_VOLT", 1.0),
    ("energy", "Ha", ase.units.Hartree),
    ("energy", "a.u.", ase.units.Hartree),
    ("energy", "Rydberg", ase.units.Ry),
    ("energy", "kcal / mol", KCAL),
    ("energy", "kilojoule_per_mole", ase.units.kJ / ase.units.mol),
    ("energy", "kJ mol^-1", ase.units.kJ / ase.units.mol),
    ("length", "Å", 1.0),
    ("length", "nm", 10.0),
    ("length", "a0", ase.units.Bohr),
    ("forces", "eV/Å", 1.0),
    ("forces", "eV Angstrom^-1", 1.0),
    ("forces", "kcal/mol/A", KCAL),
    ("forces", "kcal mol^-1 A^-1", KCAL),
    ("forces", "hartree/bohr", ase.units.Hartree / ase.units.Bohr),
    ("forces", "kilojoule_per_mole / nanometer", ase.units.kJ / ase.units.mol / 10),
    ("forces", "au", ase.units.Hartree / ase.units.Bohr),
    ("stress", "eV/Ang^3", 1.0),
    ("stress", "eV/A**3", 1.0),
    ("stress", "kbar", 0.1 * ase.units.GPa),
    ("stress", "bar", 1e-4 * ase.units.GPa),
    ("stress", "Pa", 1e-9 * ase.units.GPa),
    ("stress", "MPa", 1e-3 * ase.units.GPa),
    ("stress", "Ha/Bohr^3", ase.units.Hartree / ase.units.Bohr**3),
    ("virial", "kcal/mol", KCAL),
]


@pytest.mark.parametrize(("quantity", "unit", "expected"), EXPECTED)
def test_factors_are_ases(quantity: str, unit: str, expected: float) -> None:
    assert factor(quantity, unit) == pytest.approx(expected, rel=1e-12)
    assert factor(quantity, canonical(quantity, unit)) == factor(quantity, unit)


def test_the_same_force_in_every_unit_is_the_same_number_of_ours() -> None:
    """Round trip: 1.25 eV/Angstrom written by hand in other units comes back."""
    force = 1.25
    written = {
        "Hartree/Bohr": force / ase.units.Hartree * ase.units.Bohr,
        "kcal/mol/Angstrom": force / KCAL,
        "kJ/mol/nm": force / (ase.units.kJ / ase.units.mol) * 10,
        "meV/Angstrom": 1250.0,
    }
    for unit, number in written.items():
        assert number * factor("forces", unit) == pytest.approx(force, rel=1e-12)


def test_one_hartree_per_cubic_bohr_is_29421_gpa() -> None:
    """CODATA: the atomic unit of pressure is 2.9421015697e13 Pa."""
    assert factor("stress", "Hartree/Bohr^3") / factor("stress", "GPa") == pytest.approx(29421.0157, rel=1e-6)


@pytest.mark.parametrize(
    ("quantity", "unit", "hint"),
    [
        ("energy", "hartre", "did you mean 'hartrees'|did you mean 'Hartree'"),
        ("energy", "MeV", "unknown unit"),
        ("energy", "eV/Angstrom", "unknown unit of energy"),
        ("forces", "eV", "unknown unit of forces"),
        ("forces", "eV/Angstrom^3", "unknown unit of forces"),
        ("stress", "eV/Angstrom", "unknown unit of stress"),
        ("stress", "kbarr", "did you mean 'kbar'"),
        ("length", "", "unknown unit of length"),
    ],
)
def test_unknown_units_are_refused_with_the_nearest(quantity: str, unit: str, hint: str) -> None:
    with pytest.raises(UnknownNameError, match=hint):
        factor(quantity, unit)


def test_a_plan_refuses_an_unknown_unit_before_any_file_is_opened() -> None:
    with pytest.raises(PlanError, match=r"energy_unit.*did you mean 'kcal/mol'"):
        ImportPlan.parse({"energy_unit": "kcal/mo"}, where="import")


@pytest.mark.parametrize("order", ["xx,yy,zz", "xx,yy,zz,xy,yz,yz", "a,b,c,d,e,f"])
def test_a_plan_refuses_an_impossible_order(order: str) -> None:
    with pytest.raises(PlanError, match=r"stress_order.*xx,yy,zz,xy,yz,xz"):
        ImportPlan.parse({"stress_order": order}, where="import")


def test_a_plan_reads_any_spelling_of_an_order() -> None:
    assert ImportPlan(stress_order="XX, YY, ZZ, XY, YZ, ZX").stress_order == "xx,yy,zz,xy,yz,xz"
    assert np.isclose(factor("stress", "kB"), factor("stress", "kbar"))
