"""Distill any ASE calculator: here ASE's EMT for copper, a periodic crystal, from a recipe written in Python.

Run it with: python examples/own_teacher.py [OUTPUT_DIRECTORY]
The numbers are kept so small that it ends in half a minute: the student learns, but runs this short decide nothing
about its stability, and the verdict says so. A real run takes the defaults.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import ase.build
from ase.calculators.emt import EMT

from mlff_distiller.core.console import Silent
from mlff_distiller.recipes.pipeline import run_pipeline
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.validation.verdict import read_verdict


def calculator(*, asap_cutoff: bool) -> EMT:
    """Return the teacher; a recipe names this function as ``own_teacher:calculator``."""
    return EMT(asap_cutoff=asap_cutoff)


def recipe(crystal: Path) -> dict[str, Any]:
    """Return the settings, as they would stand in a YAML file."""
    rattle = {"kind": "rattle", "n_per_seed": 20, "strain": 0.02}
    dynamics = {"kind": "md", "temperatures_K": [600], "duration_ps": 0.6, "equilibration_ps": 0.1, "timestep_fs": 2}
    return {
        "name": "copper",
        "teacher": {"kind": "ase", "factory": "own_teacher:calculator", "arguments": {"asap_cutoff": False}},
        "seeds": [{"kind": "file", "path": str(crystal)}],
        "sampling": {"samplers": [rattle, dynamics | {"segment_ps": 0.05, "gap_ps": 0.01}]},
        "split": {"test_fraction": 0.4},
        "students": {"micro": {"kind": "painn", "preset": "ultra-tiny", "n_channels": 16, "cutoff": 4.0}},
        "training": {"n_steps": 150, "batch_size": 4, "learning_rate": 1e-2, "validation_interval": 50},
        "validation": {
            "nve": {"duration_ps": 0.2, "timestep_fs": 2},
            "timestep": {"duration_ps": 0.05, "timestep_fs": 2},
            "physicality": {"n_per_system": 1},
            "visited": {"n_per_system": 5},
            "observables": {"duration_ps": 0.1, "equilibration_ps": 0.02, "timestep_fs": 2, "n_replicas": 3},
        },
        "timing": {"duration_s": 0.1, "n_blocks": 6, "memory": {"n_steps": 200, "n_warmup_steps": 20}},
    }


def main(folder: Path) -> None:
    """Run the whole pipeline and print the verdict."""
    folder.mkdir(parents=True, exist_ok=True)
    crystal = folder / "copper.xyz"
    ase.build.bulk("Cu", "fcc", a=3.6, cubic=True).write(crystal)
    directory, settings = RunDirectory(folder / "run"), Recipe.parse(recipe(crystal), where="own_teacher.py")
    with directory.opened(settings):
        run_pipeline(settings, directory, n_workers=1, reporter=Silent())
    for name, student in read_verdict(directory.verdict_file)["students"].items():
        print(f"{name}, {student['n_parameters']:,} parameters: {student['verdict']}")
        for check in student["checks"]:
            if check["limit"] is not None and check["value"] is not None:
                print(f"  {check['name']:<20} {check['value']:9.3g} {check['unit']:<10} {check['outcome']}")
    print(f"Report: {directory.report_file}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="own-teacher-")))
