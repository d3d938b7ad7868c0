"""Energy conservation against precision and spline error: constant-energy runs that differ in nothing else.

Run it with: python benchmarks/precision.py STUDENT.safetensors [--molecule CCO] [--replicas 8] [--duration-ps 10]

The same starting velocities for all. Prints, for each way to evaluate the student, the mean drift over replicas with
its 95 % interval, the fluctuation around the straight line, and the largest difference of forces from float64 at the
start. Splines of few points are there to see when their error begins to matter.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from mlff_distiller.core.randomness import generator
from mlff_distiller.dynamics.nve import run_nve
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.sampling.smiles import SmilesSeed
from mlff_distiller.students.checkpoint import load
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.validation.checks.nve.drift import slopes
from mlff_distiller.validation.checks.nve.record import NVERecord
from mlff_distiller.validation.statistics import mean_interval

WAYS = {
    "float64, network": (torch.float64, {"backend": "eager"}),
    "float64, exact filters": (torch.float64, {"backend": "kernel"}),
    "float64, splines of 512": (torch.float64, {"backend": "kernel", "filters": "spline", "n_points": 512}),
    "float32, network": (torch.float32, {"backend": "eager"}),
    "float32, exact filters": (torch.float32, {"backend": "kernel", "filters": "exact"}),
    "float32, splines (default)": (torch.float32, {"backend": "kernel"}),
    **{
        f"float32, splines of {n}": (torch.float32, {"backend": "kernel", "n_points": n})
        for n in (32, 64, 128, 256, 512, 1024)
    },
}


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("--molecule", default="CCO", help="SMILES")
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--duration-ps", type=float, default=10.0)
    parser.add_argument("--timestep-fs", type=float, default=0.5)
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = SmilesSeed(smiles=options.molecule).build(1)[0]
    velocities = [maxwell_boltzmann(start, 300.0, generator(1, "precision", k)) for k in range(options.replicas)]
    exact = StudentPotential(load(options.student, dtype=torch.float64)).predict([start])[0].forces
    print(
        f"{'evaluated in':<28}{'drift, meV/atom/ns':>22}{'95 %':>22}{'fluctuation, meV/atom':>24}{'forces, eV/A':>14}"
    )
    for name in options.ways:
        dtype, settings = WAYS[name]
        potential = StudentPotential(load(options.student, dtype=dtype), **settings)
        error = np.abs(potential.predict([start])[0].forces - exact).max()
        trace = run_nve(
            potential,
            [start] * options.replicas,
            velocities,
            timestep_fs=options.timestep_fs,
            n_steps=round(1000 * options.duration_ps / options.timestep_fs),
            record_every=10,
        )
        record = NVERecord.from_trace(trace, [options.molecule] * options.replicas, options.duration_ps)
        mean, interval = mean_interval(1e6 * slopes(record))
        low, high = interval or (np.nan, np.nan)
        energies = record.energy_per_atom
        line = slopes(record) * (record.times_ps[:, None] - record.times_ps.mean())
        rest = 1e3 * (energies - energies.mean(0) - line).std(0).mean()
        print(f"{name:<28}{mean:>20.2f}{low:>10.2f}{high:>10.2f}{rest:>23.4f}{error:>14.1e}", flush=True)


if __name__ == "__main__":
    main()
