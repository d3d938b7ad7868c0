"""From what a run has measured to its verdict and report."""

import json
from pathlib import Path
from typing import Any

import yaml

from mlff_distiller.core import provenance
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.recipes.held_out import LabeledData
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.students.checkpoint import read_header
from mlff_distiller.validation.audit.result import read_audit
from mlff_distiller.validation.checks.force_errors import Parity
from mlff_distiller.validation.checks.nve_drift import NVERecord
from mlff_distiller.validation.records import read_arrays, read_measurements
from mlff_distiller.validation.report import ReportData, StudentReport, summarize_dataset, write_report
from mlff_distiller.validation.verdict import StudentVerdict, judge, write_verdict

Verdicts = dict[str, tuple[int, StudentVerdict]]


def judge_students(recipe: Recipe, directory: RunDirectory) -> Verdicts:
    """Judge what was measured of every student and write ``verdict.json``."""
    verdicts: Verdicts = {}
    for name in recipe.students:
        measured = _measured(directory, name)
        n_parameters = int(read_header(directory.student_file(name))["n_parameters"])
        verdicts[name] = (n_parameters, judge(measured, recipe.criteria))
    write_verdict(directory.verdict_file, verdicts)
    return verdicts


def write_run_report(recipe: Recipe, directory: RunDirectory, verdicts: Verdicts) -> None:
    """Gather everything a reader wants to see and write ``report.html``."""
    data = LabeledData.of(directory, recipe)
    settings = recipe.model_dump(mode="json")
    labeled = directory.record("label") or {"facts": {}}
    report = ReportData(
        name=recipe.name,
        teacher=str(data.store.identity["version"] if data.store.identity else recipe.teacher.kind),
        recipe=settings,
        recipe_yaml=yaml.safe_dump(settings, sort_keys=False),
        dataset=_dataset(data),
        refusals=labeled["facts"].get("refusals", {}),
        students={name: _student(name, directory, *verdict) for name, verdict in verdicts.items()},
        provenance=_provenance(directory, data),
        audit=read_audit(directory.audit_file) if recipe.audit.enabled else None,
    )
    write_report(directory.report_file, report)


def _dataset(data: LabeledData) -> dict[str, Any]:
    store = data.store
    infos = store.infos()
    splits = [""] * len(store)
    for name, rows in vars(data.split).items():
        for row in rows:
            splits[row] = name
    return summarize_dataset(
        store.structures(),
        store.all_labels(),
        splits=splits,
        segments=[info["segment"] for info in infos],
        systems=[info["seed"] for info in infos],
        temperatures_K=[info["temperature_K"] for info in infos if "temperature_K" in info],
    )


def _student(name: str, directory: RunDirectory, n_parameters: int, verdict: StudentVerdict) -> StudentReport:
    folder, log = directory.measurements(name), directory.training(name) / "history.jsonl"
    return StudentReport(
        n_parameters=n_parameters,
        verdict=verdict,
        measurements=_measured(directory, name),
        history=_history(log),
        parity=read_arrays(folder / "parity.npz", Parity),
        nve=read_arrays(folder / "nve.npz", NVERecord),
    )


def _history(log: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{log} is missing or damaged ({error}); delete it and run again to train anew") from error


def _provenance(directory: RunDirectory, data: LabeledData) -> dict[str, Any]:
    return {
        **provenance.stamp(),
        "command": f"mlffd run RECIPE --out {directory.path.name}",
        "teacher": data.store.identity,
        "labels_digest": data.store.digest,
        "stage_seconds": {name: record["elapsed_s"] for name, record in directory.records().items()},
    }


def _measured(directory: RunDirectory, name: str) -> list[Measurement]:
    folder = directory.measurements(name)
    return read_measurements(folder / "measurements.json") + read_measurements(directory.timing(name))
