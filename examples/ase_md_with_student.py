"""Molecular dynamics in ASE with a student in place of its teacher; one line of the script decides which.

Run it with: python examples/ase_md_with_student.py runs/ethanol/students/tiny.safetensors
"""

import argparse

import ase.build
import ase.io
import numpy as np
from ase import units
from ase.md.verlet import VelocityVerlet
from tblite.ase import TBLite

from mlff_distiller import StudentCalculator
from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.dynamics.velocities import maxwell_boltzmann

TIMESTEP_FS = 0.5


def main() -> None:
    """Run constant-energy dynamics and print how well the total energy is kept."""
    parser = argparse.ArgumentParser(description="Constant-energy dynamics with a student force field.")
    parser.add_argument("student", help="student file, students/NAME.safetensors of a run")
    parser.add_argument("--molecule", default="CH3CH2OH", help="ASE's name of a molecule, or a structure file")
    parser.add_argument("--n-steps", type=int, default=1000, help=f"steps of {TIMESTEP_FS} fs")
    parser.add_argument("--teacher", action="store_true", help="run GFN2-xTB instead, for comparison")
    options = parser.parse_args()

    atoms = ase.io.read(options.molecule) if "." in options.molecule else ase.build.molecule(options.molecule)
    if options.teacher:
        atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    else:
        atoms.calc = StudentCalculator(options.student)  # the one line that swaps the teacher for the student

    # Exactly 300 K, without translation or rotation, in ASE's units.
    atoms.set_velocities(maxwell_boltzmann(from_ase(atoms), 300, np.random.default_rng(1)))
    energies = []
    dynamics = VelocityVerlet(atoms, timestep=TIMESTEP_FS * units.fs)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()), interval=5)
    dynamics.run(options.n_steps)

    times_ps = 5 * TIMESTEP_FS / 1000 * np.arange(len(energies))
    slope, start = np.polyfit(times_ps, energies, 1)
    noise = np.std(np.array(energies) - (start + slope * times_ps))
    print(f"{atoms.get_chemical_formula()}: {options.n_steps} steps, {times_ps[-1]:.2f} ps")
    print(f"drift of the total energy: {1000 * slope / len(atoms):.4f} meV/atom/ps")
    print(f"fluctuation about the line: {1000 * noise / len(atoms):.4f} meV/atom")


if __name__ == "__main__":
    main()
