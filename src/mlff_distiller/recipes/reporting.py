"""From the verdict of a run to its report."""

import json
from pathlib import Path
from typing import Any

import yaml

from mlff_distiller.core import provenance
from mlff_distiller.core.errors import DataError
from mlff_distiller.recipes.held_out import LabeledData, segments_of, system_of
from mlff_distiller.recipes.judging import Verdicts, evidence, judgement
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.trial_recipe import TrialRecipe
from mlff_distiller.validation.audit.result import AuditResult, read_audit
from mlff_distiller.validation.report import ReportData, StudentReport, summarize_dataset, write_report
from mlff_distiller.validation.verdict import StudentVerdict


def judge_students(recipe: Recipe | TrialRecipe, directory: RunDirectory) -> Verdicts:
    """Judge what was measured of every student and write ``verdict.json``."""
    judged = judgement(recipe, directory)
    judged.write(directory.verdict_file)
    return judged.verdicts


def write_run_report(recipe: Recipe | TrialRecipe, directory: RunDirectory, verdicts: Verdicts) -> None:
    """Gather everything a reader wants to see and write ``report.html``."""
    data = LabeledData.tested(directory, recipe)
    settings = recipe.model_dump(mode="json")
    labeled = directory.record("label") or {"facts": {}}
    report = ReportData(
        name=recipe.name,
        teacher=_teacher(recipe, data),
        recipe=settings,
        recipe_yaml=yaml.safe_dump(settings, sort_keys=False),
        dataset=_dataset(data),
        refusals=labeled["facts"].get("refusals", {}),
        students={name: _student(recipe, directory, name, *verdict) for name, verdict in verdicts.items()},
        provenance=_provenance(recipe, directory, data),
        audit=_audit(recipe, directory),
    )
    write_report(directory.report_file, report)


def _teacher(recipe: Recipe | TrialRecipe, data: LabeledData) -> str:
    """Return the teacher as a reader would name it: as the labels do that it made here."""
    if recipe.teacher is None:
        return ""
    identity = None if isinstance(recipe, TrialRecipe) and recipe.data else data.store.identity
    return str(identity["version"] if identity else recipe.teacher.kind)


def _audit(recipe: Recipe | TrialRecipe, directory: RunDirectory) -> AuditResult | None:
    there = recipe.audit.enabled and directory.audit_file.exists()
    return read_audit(directory.audit_file) if there else None


def _dataset(data: LabeledData) -> dict[str, Any]:
    store = data.store
    infos, structures = store.infos(), list(store.structures())
    splits = [""] * len(store)
    for name, rows in vars(data.split).items():
        for row in rows:
            splits[row] = name
    return summarize_dataset(
        structures,
        store.all_labels(),
        splits=splits,
        segments=segments_of(structures),
        systems=[system_of(structure) for structure in structures],
        temperatures_K=[info["temperature_K"] for info in infos if "temperature_K" in info],
    )


def _student(
    recipe: Recipe | TrialRecipe, directory: RunDirectory, name: str, n_parameters: int | None, verdict: StudentVerdict
) -> StudentReport:
    return StudentReport(
        n_parameters=n_parameters,
        verdict=verdict,
        history=_history(directory.training(name) / "history.jsonl") if isinstance(recipe, Recipe) else [],
        evidence=evidence(recipe, directory, name),
    )


def _history(log: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{log} is missing or damaged ({error}); delete it and run again to train anew") from error


def _provenance(recipe: Recipe | TrialRecipe, directory: RunDirectory, data: LabeledData) -> dict[str, Any]:
    command = "run RECIPE" if isinstance(recipe, Recipe) else "validate TARGET"
    return {
        **provenance.stamp(),
        "command": f"mlffd {command} --out {directory.path.name}",
        "teacher": data.store.identity,
        "labels_digest": data.store.digest,
        "stage_seconds": {name: record["elapsed_s"] for name, record in directory.records().items()},
    }
