"""The whole pipeline on a real molecule with the real teacher, small; killed at every stage, it ends the same."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.build
import numpy as np
import pytest
from safetensors.torch import load_file

from mlff_distiller import StudentCalculator
from mlff_distiller.data.storage.store import Store

RECIPE = {
    "name": "water",
    "seed": 7,
    "teacher": {"kind": "xtb"},
    "seeds": [{"kind": "smiles", "smiles": "O", "name": "water"}],
    "sampling": {
        "samplers": [
            {"kind": "rattle", "n_per_seed": 4},
            {
                "kind": "md",
                "temperatures_K": [300, 600],
                "duration_ps": 0.6,
                "equilibration_ps": 0.05,
                "frame_interval_fs": 5,
                "segment_ps": 0.05,
                "gap_ps": 0.02,
            },
        ]
    },
    "labeling": {"chunk_size": 16},
    "students": {"small": {"kind": "painn", "preset": "ultra-tiny"}},
    "training": {"n_steps": 300, "batch_size": 8, "validation_interval": 50, "learning_rate": 1e-2},
    "validation": {
        "nve": {"duration_ps": 0.5},
        "timestep": {"duration_ps": 0.1},
        "observables": {"duration_ps": 0.1, "equilibration_ps": 0.02, "n_replicas": 3},
    },
    "timing": {"duration_s": 0.2, "n_blocks": 6, "memory": {"n_steps": 500, "n_warmup_steps": 100}},
}
TIMED = ("step_time", "teacher_step_time", "speedup", "memory_growth")
STAGES = [
    "audit",
    "sample",
    "label",
    "split",
    "train-small",
    "export-small",
    "errors",
    "observe",
    "validate-small-nve",
    "validate-small-timestep",
    "validate-small-physicality",
    "validate-small-visited",
    "validate-small-observables",
    "time-small",
    "report",
]


def command(recipe: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "mlff_distiller.cli.main", "run", str(recipe), "--out", str(out), "-j", "2", *more]


def start(recipe: Path, out: Path, *more: str) -> subprocess.Popen:
    return subprocess.Popen(command(recipe, out, *more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(recipe: Path, out: Path, *more: str) -> str:
    with start(recipe, out, *more) as process:
        said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "water.yaml"
    path.write_text(json.dumps(RECIPE))
    return path


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "out"
    said = finish(recipe, out)
    assert "report.html" in said
    return out


def checks(out: Path) -> dict[str, dict]:
    verdict = json.loads((out / "verdict.json").read_text())
    assert (verdict["format"], verdict["version"]) == ("mlffd-verdict", 2)
    return {check["name"]: check for check in verdict["students"]["small"]["checks"]}


def untimed(out: Path) -> dict:
    """Return the verdict file without what depends on how fast the machine is."""
    verdict = json.loads((out / "verdict.json").read_text())
    for student in verdict["students"].values():
        student["checks"] = [check for check in student["checks"] if check["name"] not in TIMED]
        student["evidence"].pop("timing")
    verdict.pop("seal")
    return verdict


def test_a_student_comes_out_with_a_verdict(finished):
    verdict = json.loads((finished / "verdict.json").read_text())["students"]["small"]
    assert verdict["verdict"] in ("APPROVED", "SCREENING_ONLY", "REJECTED", "INCONCLUSIVE")
    assert 19_000 < verdict["n_parameters"] <= 21_459
    found = checks(finished)
    needed = {"force_rmse", "force_mae", "force_r2", "energy_rmse_per_atom", "nve_drift", "nve_drift_percent"}
    assert needed | {"step_time", "teacher_step_time"} <= found.keys()
    assert found["force_r2"]["value"] > 0.95
    assert found["step_time"]["value"] > 0
    assert "<html" in (finished / "report.html").read_text()[:2000]


def test_the_student_replaces_the_teacher_in_one_line(finished):
    from tblite.ase import TBLite

    water = ase.build.molecule("H2O")
    water.calc = TBLite(method="GFN2-xTB", verbosity=0)
    reference = water.get_potential_energy(), water.get_forces()
    water.calc = StudentCalculator(finished / "students" / "small.safetensors")
    assert abs(water.get_potential_energy() - reference[0]) < 0.15
    assert np.abs(water.get_forces() - reference[1]).max() < 1.0


def test_run_again_it_does_nothing_and_says_so(recipe, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    assert "nothing to do" in finish(recipe, finished)
    after = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    changed = {path.name for path in after if before.get(path) != after[path]}
    assert changed <= {"recipe.yaml", ".lock"}


def test_a_changed_limit_is_judged_again_without_new_dynamics(recipe, finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    measured = (out / "validation" / "small" / "errors" / "measurements.json").stat().st_mtime_ns
    finish(
        recipe, out, "--set", "criteria.force_r2.limit=0.9999999", "--set", "criteria.force_r2.screening_limit=0.999999"
    )
    assert checks(out)["force_r2"]["outcome"] == "FAIL"
    assert json.loads((out / "verdict.json").read_text())["students"]["small"]["verdict"] == "REJECTED"
    assert (out / "validation" / "small" / "errors" / "measurements.json").stat().st_mtime_ns == measured


def orphans(out: Path) -> list[int]:
    """Processes that still work for a run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(out) in (entry / "cmdline").read_text() or str(out) in (entry / "environ").read_text():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def kill_during(stage: str, recipe: Path, out: Path, rng: random.Random) -> bool:
    """Start a run, wait until a stage has begun, wait a little longer, and kill it; False if it was too late."""
    begun, done = (out / "stages" / f"{stage}{end}" for end in (".begun", ".json"))
    process = start(recipe, out)
    deadline = time.monotonic() + 120
    while not begun.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.6))
    too_late = done.exists()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return not too_late


@pytest.mark.slow
def test_killed_in_every_stage_it_ends_with_the_same_students(recipe, finished, tmp_path):
    rng = random.Random(0)
    out = tmp_path / "out"
    for stage in STAGES:
        kill_during(stage, recipe, out, rng)
    finish(recipe, out)
    for name in ("sampling", "labels"):
        assert Store.open(out / name).digest == Store.open(finished / name).digest
    ours, theirs = (load_file(folder / "students" / "small.safetensors") for folder in (out, finished))
    assert all(bool((ours[key] == theirs[key]).all()) for key in theirs)
    assert untimed(out) == untimed(finished)


def test_killed_while_labeling_it_goes_on(recipe, finished, tmp_path):
    out = tmp_path / "out"
    kill_during("label", recipe, out, random.Random(1))
    deadline = time.monotonic() + 20
    while orphans(out) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not orphans(out)
    finish(recipe, out, "--set", "training.n_steps=50")
    assert Store.open(out / "labels").digest == Store.open(finished / "labels").digest


def test_ctrl_c_is_one_line_and_exit_130(recipe, tmp_path):
    process = start(recipe, tmp_path / "out")
    while not (tmp_path / "out" / "stages" / "sample.begun").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1] == "mlffd: interrupted; run the same command again to continue"
