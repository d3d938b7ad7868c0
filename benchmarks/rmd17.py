"""Students trained on reference data that others have published errors for: rMD17, split 01, 950 + 50 structures.

Run it with: python benchmarks/rmd17.py MOLECULE --data FOLDER --out FOLDER [--set KEY=VALUE ...] [--report-test]

FOLDER of --data holds rmd17_MOLECULE_{train,test}_01.npz (Christensen & von Lilienfeld 2020, arXiv:2007.09593; labels
PBE/def2-SVP). Settings are tuned on the 50 validation structures; --report-test measures the 1,000 test structures,
once. Published force MAE, meV/A (MACE paper, arXiv:2206.07697): aspirin NequIP 8.2, PaiNN 16.1; ethanol 2.8, 10.0.
"""

import argparse
from pathlib import Path

import numpy as np
from ase import units
from trainings import one_thread, print_row, trained
from variants import override

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.distillation.distill import Task
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.students import STUDENTS

PUBLISHED = {"aspirin": {"PaiNN": 16.1, "NequIP": 8.2}, "ethanol": {"PaiNN": 10.0, "NequIP": 2.8}}
N_TRAIN = 950


def main() -> None:
    """Train and print the errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("molecule", choices=sorted(PUBLISHED))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--report-test", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    one_thread()
    settings = {"student": {"kind": "painn", "preset": "original"}, "training": {}}
    for change in options.set:
        override(settings, change)
    train = read(options.data / f"rmd17_{options.molecule}_train_01.npz")
    order = np.random.default_rng(0).permutation(len(train))
    validation = train.subset(order[N_TRAIN:])
    task = Task(
        STUDENTS.get(settings["student"]["kind"]).parse(settings["student"], where="--set"),
        TrainingPlan.parse(settings["training"], where="--set"),
        train.subset(order[:N_TRAIN]),
        validation,
        seed=options.seed,
    )
    test = read(options.data / f"rmd17_{options.molecule}_test_01.npz") if options.report_test else validation
    name = f"{options.molecule}-{'test' if options.report_test else 'validation'}"
    row = trained(options.molecule, task, test, options.out / name)
    print_row({**row, "name": name})
    for peer, mae in PUBLISHED[options.molecule].items():
        print(f"  {peer}: {mae} meV/A, ours is {row['force_mae_meV_per_A'] / mae:.2f} times that")


def read(path: Path) -> MolecularDataset:
    """Return the structures of one file, in eV."""
    data, unit = np.load(path), units.kcal / units.mol
    structures = [Structure(data["nuclear_charges"], positions) for positions in data["coords"]]
    labels = [
        Labels(energy=float(energy) * unit, forces=forces * unit)
        for energy, forces in zip(data["energies"], data["forces"], strict=True)
    ]
    return MolecularDataset.from_structures(structures, labels)


if __name__ == "__main__":
    main()
