"""Trainings that differ in a few settings, side by side on the data of a run: optimizers, ablations of the student.

Run it with: python benchmarks/variants.py RUN --out FOLDER [--set KEY=VALUE ...] --variant NAME [KEY=VALUE ...] ...

RUN is a run directory whose data are labeled and split. KEY is `student.` or `training.` and a setting of either;
--set holds for all variants. Each is trained on the run's training part and measured on its test part; seeds are the
same. What is done is kept in FOLDER, and the same command goes on where it was interrupted. Errors of one seed: the
spread between seeds is a few percent of the error, so smaller differences say nothing.
"""

import argparse
from pathlib import Path

from trainings import one_thread, print_row, trained

from mlff_distiller.core import yaml
from mlff_distiller.distillation.distill import Task
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.recipes.held_out import LabeledData
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.students import STUDENTS


def main() -> None:
    """Train the variants and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--variant", nargs="+", action="append", metavar="NAME [KEY=VALUE ...]")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    one_thread()
    data = LabeledData.open(RunDirectory(options.run))
    for name, *changes in options.variant or [["default"]]:
        settings = {"student": {"kind": "painn"}, "training": {}}
        for change in (*options.set, *changes):
            override(settings, change)
        student = STUDENTS.get(settings["student"]["kind"]).parse(settings["student"], where=name)
        plan = TrainingPlan.parse(settings["training"], where=name)
        task = Task(student, plan, data.part("train"), data.part("validation"), seed=options.seed)
        print_row(trained(name, task, data.part("test"), options.out))


def override(settings: dict, change: str) -> None:
    """Change one setting of plain data."""
    path, _, text = change.partition("=")
    *keys, last = path.split(".")
    for key in keys:
        settings = settings.setdefault(key, {})
    settings[last] = yaml.parse(text)


if __name__ == "__main__":
    main()
