"""Units by name: from a unit of a foreign file to eV, Angstrom, eV/Angstrom and eV/Angstrom^3.

Values are ASE's (CODATA 2014), as everywhere in the package.
"""

from typing import Final

from ase import units

from mlff_distiller.core.errors import UnknownNameError
from mlff_distiller.core.registry import nearest
from mlff_distiller.core.units import BOHR, HARTREE

_Names = dict[str, tuple[float, tuple[str, ...]]]

_ENERGIES: Final[_Names] = {
    "eV": (1.0, ("electronvolt", "electron_volt", "electronvolts")),
    "meV": (1e-3, ("millielectronvolt",)),
    "Hartree": (HARTREE, ("Ha", "Eh", "E_h", "a.u.", "au", "hartrees", "atomic")),
    "mHartree": (1e-3 * HARTREE, ("mHa", "mEh")),
    "Ry": (HARTREE / 2, ("Rydberg", "rydbergs")),
    "kcal/mol": (units.kcal / units.mol, ("kcal", "kilocalorie/mole", "kilocalorie/mol", "kcal/mole", "kcalmol")),
    "kJ/mol": (units.kJ / units.mol, ("kilojoule/mole", "kilojoule/mol", "kJ/mole", "kjmol")),
    "J": (units.J, ("joule",)),
}
_LENGTHS: Final[_Names] = {
    "Angstrom": (1.0, ("A", "Å", "Ang", "angstroms", "angstroem")),
    "Bohr": (BOHR, ("a0", "a_0", "a.u.", "au", "bohrs", "atomic")),
    "nm": (10.0, ("nanometer", "nanometers")),
    "pm": (0.01, ("picometer",)),
    "m": (1e10, ("meter",)),
}
_PRESSURES: Final[_Names] = {
    "GPa": (units.GPa, ("gigapascal",)),
    "MPa": (1e-3 * units.GPa, ("megapascal",)),
    "Pa": (units.Pascal, ("pascal",)),
    "bar": (units.bar, ("bars",)),
    "kbar": (1e3 * units.bar, ("kilobar", "kb")),
    "Mbar": (1e6 * units.bar, ("megabar",)),
    "atm": (101325 * units.Pascal, ()),
}
_NAMES: Final = {"length": _LENGTHS, "energy": _ENERGIES, "virial": _ENERGIES, "stress": _PRESSURES}
_POWERS: Final = {"forces": "", "stress": "^3"}

ENERGY_UNITS: Final = ("eV", "meV", "Hartree", "Ry", "kcal/mol", "kJ/mol")
"""The units of energy that files are found in."""


def factor(quantity: str, unit: str) -> float:
    """Return what a number in a unit is multiplied by to become eV, Angstrom, eV/Angstrom or eV/Angstrom^3.

    Parameters
    ----------
    quantity : str
        "length", "energy", "forces", "stress" or "virial".
    unit : str
        Name of the unit; upper and lower case, spaces and common spellings do not matter.

    Raises
    ------
    UnknownNameError
        If the quantity has no such unit; the message names the nearest.

    Examples
    --------
    >>> round(factor("energy", "Hartree"), 4), round(factor("forces", "Ha/bohr"), 4)
    (27.2114, 51.4221)
    >>> factor("energy", "electron")
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.UnknownNameError: unknown unit of energy 'electron' (did you mean 'electronvolt'?);
    known: eV, meV, Hartree, mHartree, Ry, kcal/mol, kJ/mol, J
    """
    return _parsed(quantity, unit)[1]


def canonical(quantity: str, unit: str) -> str:
    """Return the usual spelling of a unit.

    Examples
    --------
    >>> canonical("forces", "ev/Ang"), canonical("stress", "EV / A**3")
    ('eV/Angstrom', 'eV/Angstrom^3')
    """
    return _parsed(quantity, unit)[0]


def _parsed(quantity: str, unit: str) -> tuple[str, float]:
    text = _plain(unit)
    known = _NAMES.get(quantity, {})
    found = _named(text, known)
    if found is None and quantity in _POWERS:
        found = _ratio(text, _POWERS[quantity])
    if found is None:
        raise UnknownNameError(_sentence(quantity, unit, known))
    return found


def _plain(unit: str) -> str:
    text = "".join(unit.split()).replace("**", "^").replace("_per_", "/").replace("Å", "Angstrom")
    text = text.replace("mol^-1", "/mol").replace("*", "").replace("(", "").replace(")", "")
    for length in ("Angstrom", "Ang", "A", "Bohr", "bohr", "nm"):
        text = text.replace(f"{length}^-1", f"/{length}").replace(f"{length}^-3", f"/{length}^3")
    return text.replace("//", "/")


def _named(text: str, known: _Names) -> tuple[str, float] | None:
    for name, (value, aliases) in known.items():
        for spelling in (name, *aliases):
            # The prefixes m and M differ by 10^9: their case decides.
            same_prefix = text[:1] == spelling[:1] or spelling[:1] not in ("m", "M") or len(spelling) == 1
            if text.casefold() == spelling.casefold() and same_prefix:
                return name, value
    return None


def _ratio(text: str, power: str) -> tuple[str, float] | None:
    """Return an energy over a length, or over its cube."""
    if text.casefold() in ("a.u.", "au", "atomic"):
        text = f"Hartree/Bohr{power}"
    over, slash, under = text.rpartition("/")
    if not slash or not under.endswith(power):
        return None
    energy = _named(over, _ENERGIES)
    length = _named(under.removesuffix(power), _LENGTHS)
    if energy is None or length is None:
        return None
    return f"{energy[0]}/{length[0]}{power}", energy[1] / length[1] ** (3 if power else 1)


def _sentence(quantity: str, unit: str, known: _Names) -> str:
    names = [*known] + ([f"eV/Angstrom{_POWERS[quantity]}"] if quantity in _POWERS else [])
    if quantity in _POWERS:
        names += [f"{energy}/{length}{_POWERS[quantity]}" for energy in ("Hartree", "kcal/mol") for length in _LENGTHS]
    spellings = [*names, *(alias for _, aliases in known.values() for alias in aliases)]
    shown = ", ".join(names[:9]) + (" and other energies over lengths" if quantity in _POWERS else "")
    return f"unknown unit of {quantity} '{unit}'{nearest(unit, spellings)}; known: {shown}"
