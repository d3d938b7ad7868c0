"""Time of energy and forces for untrained students of all presets, against GFN2-xTB in the same run.

    python benchmarks/inference.py [--device cuda] [--threads 1] [--seconds 1.0]

Structures: ethanol (9 atoms), aspirin (21) from SMILES, and a periodic box of 64 waters (192), for which the
teacher takes a quarter of a minute a call and is left out. Prints medians in ms and ratios teacher / student.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import ase.build
import numpy as np
import torch

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.provenance import machine
from mlff_distiller.sampling.smiles import SmilesSeed
from mlff_distiller.students.painn.plan import PRESETS, PaiNNPlan
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.student import Student
from mlff_distiller.teachers.xtb import XTBPlan


def structures() -> dict[str, Structure]:
    small = {name: SmilesSeed(smiles=smiles).build(1)[0] for name, smiles in SMILES.items()}
    water = ase.build.molecule("H2O", cell=[3.1] * 3, pbc=True)
    box = water.repeat((4, 4, 4))
    box.rattle(0.05, seed=1)
    return small | {"64 waters": from_ase(box)}


SMILES = {"ethanol": "CCO", "aspirin": "CC(=O)Oc1ccccc1C(=O)O"}


def milliseconds(call: Callable[[], object], seconds: float) -> float:
    for _ in range(3):
        call()
    samples, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples) < 5:
        start = time.perf_counter()
        call()
        samples.append(1e3 * (time.perf_counter() - start))
    return statistics.median(samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each number")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    teacher = XTBPlan().build()
    print(f"{machine()}, {options.threads} thread(s), students on {options.device}, torch {torch.__version__}")
    print(f"{'structure':<12}{'atoms':>6}{'GFN2-xTB':>10}" + "".join(f"{name:>12}{'ratio':>8}" for name in PRESETS))
    for name, structure in structures().items():
        base = (
            milliseconds(lambda s=structure: teacher.predict([s]), options.seconds) if len(structure) < 100 else np.nan
        )
        row = f"{name:<12}{len(structure):>6}{base:>10.2f}"
        for preset in PRESETS:
            elements = {int(z): 0.0 for z in np.unique(structure.numbers)}
            student = Student(PaiNNPlan(preset=preset), elements, neighbor_norm=3.0).to(options.device)
            potential = StudentPotential(student)
            own = milliseconds(lambda p=potential, s=structure: p.predict([s]), options.seconds)
            row += f"{own:>12.2f}{base / own:>8.2f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
