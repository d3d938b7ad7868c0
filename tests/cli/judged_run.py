"""A finished run in milliseconds: real labels and errors, and made-up numbers for everything that takes dynamics."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.files import write_json
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.data.splits.files import write_split
from mlff_distiller.data.splits.split import Split
from mlff_distiller.data.storage.writer import StoreWriter
from mlff_distiller.potentials.analytic import morse
from mlff_distiller.recipes.held_out import LabeledData
from mlff_distiller.recipes.pipeline import planned_digests
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.reporting import judge_students
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.records import write_evidence
from mlff_distiller.validation.settle import check_of
from mlff_distiller.validation.trial import Trial

STUDENT = Path(__file__).parents[1] / "golden" / "student-v1.safetensors"
CORNERS = 1.3 * np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])[:5]
WELL = {"width": 1.5, "distance": 1.2, "cutoff": 3.0}
RECIPE = {
    "name": "clusters",
    "teacher": {"kind": "ase", "factory": "ase.calculators.emt:EMT"},
    "seeds": [{"kind": "smiles", "smiles": "O"}],
    "audit": {"enabled": False},
}
UNITS = {"step_time": "ms", "nve_drift": "eV/atom/ps", "nve_drift_percent": "%", "nve_duration": "ps"}
DRIFT = {"half_width": 2e-6, "scaling": -1.5, "duration_ps": 10.0, "n_replicas": 3}


def finish(path: Path, depths: dict[str, float], *, criteria: dict | None = None, **more: Measurement) -> RunDirectory:
    """Make a run whose teacher is a Morse well 2 eV deep, and whose students are wells of other depths.

    Parameters
    ----------
    path : Path
        Where to.
    depths : dict
        Student to depth, eV.
    criteria : dict
        Of the recipe.
    more : Measurement
        In place of the good numbers that a student has otherwise, by name.
    """
    students = {name: {"kind": "painn", "preset": "ultra-tiny"} for name in depths}
    recipe = Recipe.parse({**RECIPE, "students": students, "criteria": criteria or {}}, where="test")
    directory = RunDirectory(path)
    path.mkdir(parents=True)
    write_json(path / "run.json", {"format": "mlffd-run", "version": 1, "name": recipe.name, "question": "none"})
    directory.recipe_file.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    _label(directory)
    for name, depth in depths.items():
        _validate(recipe, directory, name, depth, more)
    for stage, digest in planned_digests(recipe, directory).items():
        known = directory.record(stage) or {"facts": {}}
        directory.write_record(stage, {"digest": digest, "elapsed_s": 1.0, "facts": known["facts"]})
    judge_students(recipe, directory)
    return directory


def _label(directory: RunDirectory) -> None:
    rng, teacher = np.random.default_rng(0), morse(depth=2.0, **WELL)
    frames = [
        Structure([1, 6, 1, 6, 1], CORNERS + rng.normal(0, 0.08, CORNERS.shape), info=_origin(k)) for k in range(48)
    ]
    with StoreWriter(directory.labels, identity=teacher.identity.to_json()) as writer:
        writer.append(range(len(frames)), frames, teacher.predict(frames, ("energy", "forces")))
        store = writer.seal()
    split = Split(np.arange(20), np.arange(20, 24), np.arange(24, 48))
    write_split(directory.split_file, split, data_digest=store.digest)


def _origin(k: int) -> dict:
    return {"seed": "clusters", "segment": f"clusters/{k // 4:02d}", "temperature_K": 300.0}


def _validate(recipe: Recipe, directory: RunDirectory, name: str, depth: float, more: dict[str, Measurement]) -> None:
    directory.student_file(name).parent.mkdir(exist_ok=True)
    shutil.copy(STUDENT, directory.student_file(name))
    directory.training(name).mkdir(parents=True)
    (directory.training(name) / "history.jsonl").write_text(
        json.dumps({"step": 1, "epoch": 1, "train_loss": 1.0}) + "\n"
    )
    trial = Trial(morse(depth=depth, **WELL), held_out=LabeledData.of(directory, recipe).held_out())
    errors = recipe.validation.errors.measure(trial)
    found = {check: Evidence(good(check, more)) for check in [*recipe.validation.checks, "timing"]}
    own = [more.get(m.name, m) for m in errors.measurements]
    found["errors"] = replace(errors, measurements=own)
    for check, evidence in found.items():
        write_evidence(directory.timing(name) if check == "timing" else directory.evidence(name, check), evidence)


def good(check: str, more: dict[str, Measurement]) -> list[Measurement]:
    """Return numbers far on the right side of their limits."""
    criteria = CriteriaPlan()
    found = []
    for name in criteria.names():
        criterion = criteria.criterion(name)
        if check_of(name) == check and criterion.limit is not None:
            value = criterion.limit * (0.1 if criterion.sign < 0 else 1.0)
            ci95 = (0.99 * value, 1.01 * value) if criterion.sign < 0 else None
            found.append(more.get(name, Measurement(name, value, UNITS.get(name, ""), ci95, 9)))
    return found
