"""A small finished run, so that the examples of the manual find the files they name."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mlff_distiller.core.console import Silent
from mlff_distiller.core.evidence import Evidence
from mlff_distiller.data.splits.files import write_split
from mlff_distiller.data.splits.make import make_split
from mlff_distiller.deployment.ase_export import ASEExportPlan
from mlff_distiller.distillation.distill import Task, distill
from mlff_distiller.labeling.label import label
from mlff_distiller.recipes.held_out import LabeledData
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.reporting import judge_students
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.sampling.draw import draw
from mlff_distiller.sampling.seeds import build_seeds
from mlff_distiller.students.checkpoint import load
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.validation.records import write_evidence
from mlff_distiller.validation.trial import Trial

ROOT = Path(__file__).parents[2]

RECIPE = {
    "name": "ethanol",
    "teacher": {"kind": "xtb"},
    "seeds": [{"kind": "smiles", "smiles": "CCO", "name": "ethanol"}],
    "sampling": {
        "samplers": [
            {"kind": "rattle", "n_per_seed": 10},
            {
                "kind": "md",
                "temperatures_K": [300, 600],
                "duration_ps": 0.18,
                "equilibration_ps": 0.02,
                "timestep_fs": 1,
                "frame_interval_fs": 2,
                "segment_ps": 0.02,
                "gap_ps": 0.01,
            },
        ]
    },
    "split": {"validation_fraction": 0.2, "test_fraction": 0.2},
    "students": {"tiny": {"kind": "painn", "preset": "ultra-tiny", "n_channels": 16}},
    "training": {"n_steps": 150, "batch_size": 4, "validation_interval": 50, "learning_rate": 1e-2},
}


class InProcess:
    """A pool that runs its tasks here, one after the other."""

    def run(self, function, tasks, *, reporter) -> Iterator[tuple[int, object]]:
        for index, task in enumerate(tasks):
            yield index, function(task, reporter)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``runs/ethanol`` in it: labels, a student, measurements and a verdict."""
    folder = tmp_path_factory.mktemp("manual")
    recipe, directory = Recipe.parse(RECIPE, where="manual"), RunDirectory(folder / "runs" / "ethanol")
    _label(recipe, directory)
    _train(recipe, directory)
    data = LabeledData.open(directory)
    student = StudentPotential(load(directory.student_file("tiny")))
    trial = Trial(student, held_out=data.held_out())
    for name, check in recipe.validation.checks.items():
        write_evidence(directory.evidence("tiny", name), check.measure(trial) if name == "errors" else Evidence())
    write_evidence(directory.timing("tiny"), Evidence())
    judge_students(recipe, directory)
    return folder


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The Sphinx extension that writes pages from the code; it needs no Sphinx to write them."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_extensions"))
    return __import__("generated_pages")


def _label(recipe: Recipe, directory: RunDirectory) -> None:
    settings = {"pool": InProcess(), "reporter": Silent()}
    seeds = build_seeds(recipe.seeds, recipe.seed)
    drawn = draw(seeds, recipe.sampling, recipe.teacher, seed=recipe.seed, path=directory.samples, **settings)
    labeled = label(drawn, recipe.labeling, recipe.teacher, path=directory.labels, **settings)
    split = make_split(labeled.store, recipe.split, seed=recipe.seed)
    write_split(directory.split_file, split, data_digest=labeled.store.digest)


def _train(recipe: Recipe, directory: RunDirectory) -> None:
    data, folder = LabeledData.open(directory), directory.training("tiny")
    task = Task(recipe.students["tiny"], recipe.training, train=data.part("train"), validation=data.part("validation"))
    distill(task, folder)
    best = load(folder / "best.safetensors")
    ASEExportPlan().write(best, directory.student_file("tiny"), data.part("test").structures())
