"""Units: eV, Angstrom, amu and e inside; every other unit is converted at the border by a factor from here.

Values are ASE's (CODATA 2014), so that energies and times agree with ASE to the last digit.

>>> round(1.0 / FEMTOSECOND, 4)  # one ASE time unit, in femtoseconds
10.1805
"""

from typing import Final

from ase import units

BOLTZMANN: Final = float(units.kB)
"""Boltzmann constant, eV/K."""

FEMTOSECOND: Final = float(units.fs)
"""One femtosecond in Angstrom * sqrt(amu / eV), the time unit in which m a = F needs no factor."""

HARTREE: Final = float(units.Hartree)
"""One Hartree in eV."""

BOHR: Final = float(units.Bohr)
"""One Bohr in Angstrom."""
