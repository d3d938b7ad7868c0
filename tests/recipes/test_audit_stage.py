"""The audit as a stage of a run and as a command: first, in a process of its own, and able to stop the run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlff_distiller.cli.info import describe
from mlff_distiller.core.console import Silent
from mlff_distiller.core.errors import DistillerError
from mlff_distiller.recipes.pipeline import plan_stages, run_pipeline
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.validation.audit.result import read_audit

AUDIT = {"n_per_system": 2, "n_directions": 2, "n_loops": 1, "n_rotations": 2, "duration_ps": 0.02}
SETTINGS = {
    "name": "water",
    "teacher": {"kind": "xtb"},
    "seeds": [{"kind": "molecule", "molecule": "H2O"}],
    "sampling": {"samplers": [{"kind": "rattle", "n_per_seed": 3}]},
    "audit": AUDIT,
    "students": {"tiny": {"kind": "painn", "preset": "ultra-tiny"}},
}
REVERSED = """
from ase.calculators.emt import EMT

class Reversed(EMT):
    def calculate(self, *arguments, **more):
        super().calculate(*arguments, **more)
        self.results["forces"] = -self.results["forces"]

def make():
    return Reversed()
"""


@pytest.fixture
def reversed_teacher(tmp_path, monkeypatch) -> dict:
    (tmp_path / "reversed_teacher.py").write_text(REVERSED)
    monkeypatch.syspath_prepend(tmp_path)
    return {"teacher": {"kind": "ase", "factory": "reversed_teacher:make"}}


def recipe(**changes) -> Recipe:
    return Recipe.parse(SETTINGS | changes, where="test")


def test_the_audit_comes_first_and_is_kept(tmp_path):
    directory = RunDirectory(tmp_path / "out")
    with directory.opened(recipe()):
        assert run_pipeline(recipe(), directory, until="label", n_workers=1, reporter=Silent()) == 3
    assert list(directory.records()) == ["audit", "sample", "label"]
    result = read_audit(directory.audit_file)
    assert result.teacher["kind"] == "xtb"
    assert result.floor.value < 1e-4
    assert directory.record("audit")["facts"]["conservation"] == "PASS"
    assert result.measurements["labeling_hours"].detail == {"n_structures": 4, "n_steps": 0, "n_workers": 1}
    told = [str(line) for line in describe(directory.path)]
    assert any(line.startswith("audit          Nothing keeps a student") for line in told)
    other = recipe(audit=AUDIT | {"n_directions": 3})
    with directory.opened(other):  # other settings of the audit: the labels stay
        assert run_pipeline(other, directory, until="label", n_workers=1, reporter=Silent()) == 1


def test_a_hopeless_teacher_labels_nothing_unless_told_to(tmp_path, reversed_teacher):
    directory, hopeless = RunDirectory(tmp_path / "out"), recipe(**reversed_teacher)
    with (
        directory.opened(hopeless),
        pytest.raises(DistillerError, match=r"sign is reversed; see .*audit.json.*audit.stop_on"),
    ):
        run_pipeline(hopeless, directory, until="label", n_workers=1, reporter=Silent())
    assert not directory.labels.exists()
    assert "sign is reversed" in read_audit(directory.audit_file).hopeless[0]
    assert list(directory.records()) == []
    told = recipe(**reversed_teacher, audit=AUDIT | {"stop_on": "never"})
    with directory.opened(told):
        run_pipeline(told, directory, until="label", n_workers=1, reporter=Silent())
    assert directory.labels.exists()


def test_without_an_audit_there_is_no_such_stage():
    stages = plan_stages(recipe(audit={"enabled": False}), RunDirectory(Path("out")))
    assert "audit" not in [stage.kind for stage in stages]


def command(*arguments) -> subprocess.CompletedProcess:
    env = os.environ | {"COLUMNS": "150", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-m", "mlff_distiller.cli.main", "teacher", "audit", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=env, timeout=300, check=False)


def test_the_command_prints_every_theme_and_the_floor(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(SETTINGS | {"audit": {"enabled": False}}))
    done = command(path, "-j", 1, "--set", "audit.duration_ps=0.02", "--set", "audit.n_per_system=2")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    for title in ("Elements, charges and hydrogens", "Forces against energies", "Smoothness", "Time and cost"):
        assert title in said
    assert "Nothing keeps a student from following this teacher's forces: the error floor is below" in said
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]


def test_the_command_shows_what_is_wrong_with_a_hopeless_teacher(tmp_path, reversed_teacher):
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(SETTINGS | reversed_teacher))
    done = command(path, "--out", tmp_path / "out", "-j", 1)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "FAIL" in done.stdout
    assert [line for line in done.stderr.splitlines() if line.startswith("mlffd: the audit stops before labeling")]
    assert (tmp_path / "out" / "audit.json").exists()
