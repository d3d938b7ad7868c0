"""The example scripts and recipes, run as a user runs them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import ase.build
import ase.io
import pytest

from mlff_distiller.recipes.recipe import load
from mlff_distiller.validation.verdict import read_verdict

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(script: str, *arguments: object, cwd: Path) -> str:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    return result.stdout


def test_analytic_potential(tmp_path):
    said = run("analytic_potential.py", cwd=tmp_path)
    assert "3.4 Angstrom:   0.000 meV" in said
    assert "of the dimer: energy; of the crystal: energy, stress" in said


@pytest.mark.parametrize("which", [[], ["--teacher"]], ids=["student", "teacher"])
def test_md_keeps_its_energy_with_student_and_teacher(tmp_path, workplace, which):
    student = workplace / "runs" / "ethanol" / "students" / "tiny.safetensors"
    said = run("ase_md_with_student.py", student, "--n-steps", 200, *which, cwd=tmp_path)
    assert "C2H6O: 200 steps, 0.10 ps" in said
    numbers = [float(number) for number in re.findall(r": (-?\d+\.\d+) meV", said)]
    assert len(numbers) == 2
    assert abs(numbers[0]) < 2
    assert 0 < numbers[1] < 1


def test_label_files_says_what_it_refused_and_continues(tmp_path):
    frames = [ase.build.molecule("H2O") for _ in range(4)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.05, seed=seed)
    frames[3].positions[1] = frames[3].positions[2] + 0.1
    ase.io.write(tmp_path / "water.xyz", frames)
    said = run("label_files.py", "water.xyz", "out", cwd=tmp_path)
    assert "3 of 4 structures labeled, by GFN2-xTB" in said
    assert "refused: 1 because of min_distance" in said
    assert run("label_files.py", "water.xyz", "out", cwd=tmp_path) == said


def test_own_teacher_runs_a_whole_recipe(tmp_path):
    said = run("own_teacher.py", "copper", cwd=tmp_path)
    student = read_verdict(tmp_path / "copper" / "run" / "verdict.json")["students"]["micro"]
    checks = {check["name"]: check for check in student["checks"]}
    assert student["verdict"] == "INCONCLUSIVE"  # the dynamics is too short to decide, and that is what it says
    assert checks["nve_duration"]["outcome"] == "INCONCLUSIVE"
    assert checks["force_r2"]["value"] > 0.9
    assert checks["stress_rmse"]["value"] < 0.05
    assert "micro, 5,665 parameters: INCONCLUSIVE" in said


@pytest.mark.parametrize("name", ["ethanol", "organics"])
def test_recipes_are_accepted_and_give_enough_structures(name):
    recipe = load(EXAMPLES / f"{name}.yaml")
    dynamics = recipe.sampling.samplers[1]
    n_frames = len(recipe.seeds) * len(dynamics.temperatures_K) * dynamics.n_walkers * dynamics.n_frames
    assert n_frames > {"ethanol": 1500, "organics": 6500}[name]
    assert {student.preset for student in recipe.students.values()} >= {"tiny", "ultra-tiny"}
