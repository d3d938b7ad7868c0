"""The command line as a user meets it: one sentence and exit code 2 for bad input, no traceback, no torch for help."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = {
    "name": "water",
    "teacher": {"kind": "xtb"},
    "seeds": [{"kind": "smiles", "smiles": "O", "name": "water"}],
    "sampling": {"samplers": [{"kind": "rattle", "n_per_seed": 2}]},
    "students": {"tiny": {"kind": "painn", "preset": "tiny"}},
}


def mlffd(*arguments, cwd=None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mlff_distiller.cli.main", *map(str, arguments)]
    env = os.environ | {"COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=120, check=False)


def refused(result: subprocess.CompletedProcess) -> str:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    said = [line for line in result.stderr.splitlines() if line.startswith("mlffd: ")]
    assert len(said) == 1, result.stderr
    return said[0]


def write(path: Path, **changes) -> Path:
    path.write_text(json.dumps(RECIPE | changes))
    return path


def test_help_and_version_never_load_torch():
    code = (
        "import sys; sys.argv = ['mlffd', '--help']\n"
        "from mlff_distiller.cli.main import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'ase', 'h5py', 'rdkit', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert mlffd("--version").stdout.startswith("mlffd 0.")


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "sample",
        "label",
        "train",
        "forecast",
        "search",
        "compile",
        "bench",
        "profile",
        "validate",
        "verdict",
        "compare",
        "info",
        "init",
    ],
)
def test_every_command_explains_itself(command):
    result = mlffd(command, "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout
    assert len(result.stdout) > 200


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trainin": {"n_steps": 3}}, "unknown key 'trainin' (did you mean 'training'?)"),
        ({"teacher": {"kind": "xtbb"}}, "unknown kind 'xtbb' (did you mean 'xtb'?)"),
        ({"teacher": {"kind": "ase", "factory": "no_such_package:make"}}, "no_such_package"),
        ({"seeds": [{"kind": "smiles", "smiles": "C1CC"}]}, "C1CC"),
        ({"seeds": [{"kind": "molecule", "molecule": "H2OO"}]}, "H2OO"),
        ({"seeds": [{"kind": "file", "path": "none.xyz"}]}, "none.xyz"),
        ({"seeds": [{"kind": "smiles", "smiles": "[U]"}]}, "U"),
        ({"seeds": []}, "seeds"),
    ],
)
def test_bad_recipes_are_refused_before_anything_is_lost(tmp_path, changes, sentence):
    result = mlffd("run", write(tmp_path / "recipe.yaml", **changes), "--out", tmp_path / "out")
    assert sentence in refused(result)


def test_missing_recipe_and_wrong_override(tmp_path):
    assert "does not exist" in refused(mlffd("run", tmp_path / "none.yaml", "--out", tmp_path / "out"))
    path = write(tmp_path / "recipe.yaml")
    said = refused(mlffd("run", path, "--out", tmp_path / "out", "--set", "training.n_step=3"))
    assert "did you mean 'n_steps'" in said
    assert not (tmp_path / "out").exists()


def test_too_little_data_is_said(tmp_path):
    result = mlffd("train", write(tmp_path / "recipe.yaml"), "--out", tmp_path / "out")
    assert "segments" in refused(result)


@pytest.mark.parametrize("place", ["/proc/mlffd-out", "file/out"])
def test_a_directory_that_cannot_be_written_is_refused(tmp_path, place):
    (tmp_path / "file").write_text("")
    result = mlffd("run", write(tmp_path / "recipe.yaml"), "--out", tmp_path / place)
    assert "cannot write to" in refused(result)


def test_another_recipes_directory_is_refused(tmp_path):
    out = tmp_path / "out"
    assert mlffd("sample", write(tmp_path / "a.yaml"), "--out", out).returncode == 0
    assert "holds the run of recipe 'water'" in refused(
        mlffd("run", write(tmp_path / "b.yaml", name="b"), "--out", out)
    )


def test_sampling_twice_does_nothing_and_says_so(tmp_path):
    path, out = write(tmp_path / "recipe.yaml"), tmp_path / "out"
    assert mlffd("sample", path, "--out", out).returncode == 0
    again = mlffd("sample", path, "--out", out)
    assert "nothing to do" in again.stderr
    told = mlffd("info", out / "sampling").stdout
    assert "3 (9 atoms)" in told
    assert "not labeled yet" in told
    assert "done           sample" in mlffd("info", out).stdout


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_a_corrupt_student_is_refused(tmp_path, content):
    path = tmp_path / "student.safetensors"
    path.write_bytes(content)
    assert "student.safetensors" in refused(mlffd("info", path))


def test_info_on_nothing_is_refused(tmp_path):
    assert "does not exist" in refused(mlffd("info", tmp_path / "none"))
    assert refused(mlffd("info", tmp_path))


def test_init_writes_a_recipe_that_runs(tmp_path):
    result = mlffd("init", "my.yaml", "--smiles", "O", "--name", "water", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "mlffd run my.yaml" in result.stdout
    sampled = mlffd("sample", "my.yaml", "--out", "out", "--set", "sampling.samplers.1.duration_ps=0.05", cwd=tmp_path)
    assert sampled.returncode == 0, sampled.stderr
    assert "exists already" in refused(mlffd("init", "my.yaml", cwd=tmp_path))
    assert "C1CC" in refused(mlffd("init", "other.yaml", "--smiles", "C1CC", cwd=tmp_path))
    assert not (tmp_path / "other.yaml").exists()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds neither a run nor a data set"),
        ({"run.json": "["}, "run.json is damaged"),
        ({"run.json": '{"name": "a", "question": "", "version": 1}', "verdict.json": "["}, "delete it and run again"),
        ({"run.json": '{"name": "a", "question": "", "version": 1}', "errors.json": "{}"}, "errors.json is damaged"),
    ],
)
def test_info_on_what_is_damaged_is_one_sentence(tmp_path, files, said):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert said in refused(mlffd("info", tmp_path))
