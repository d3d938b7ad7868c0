"""The contracts in twenty lines: a Structure, a Potential, its Labels, and the same potential in ASE.

Run it with: python examples/analytic_potential.py
"""

import ase.build
import numpy as np

from mlff_distiller import PotentialCalculator, Structure
from mlff_distiller.potentials.analytic import lennard_jones

argon = lennard_jones(epsilon=0.0104, sigma=3.4, cutoff=8.5)  # eV, Angstrom, Angstrom

dimers = [Structure([18, 18], [[0, 0, 0], [0, 0, distance]]) for distance in (3.4, 3.8, 5.0)]
for dimer, labels in zip(dimers, argon.predict(dimers, ("energy", "forces")), strict=True):
    distance = dimer.positions[1, 2]
    print(f"{distance:.1f} Angstrom: {1000 * labels.energy:7.3f} meV, force {labels.forces[1, 2]:8.5f} eV/Angstrom")

# Stress exists only for cells periodic in three directions; elsewhere it is absent, never zero.
cube = Structure([18], [[0, 0, 0]], cell=5.2 * np.eye(3), pbc=True)
molecule, crystal = argon.predict([dimers[0], cube], ("energy", "stress"))
print(f"labels of the dimer: {', '.join(molecule.present)}; of the crystal: {', '.join(crystal.present)}")

# Every Potential (teacher, student or analytic) is an ASE calculator behind the same class.
atoms = ase.build.bulk("Ar", "fcc", a=5.26, cubic=True)
atoms.calc = PotentialCalculator(argon)
print(f"fcc argon: {atoms.get_potential_energy() / len(atoms):.4f} eV/atom")
