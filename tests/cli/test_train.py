"""``mlffd train`` as a user meets it: from data alone, continued, changed, from a student, with reference labels."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import yaml
from safetensors.numpy import load_file

from mlff_distiller.cli.info import describe
from mlff_distiller.recipes.data_recipe import DataRecipe
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.students.checkpoint import read_header

QUICK = [
    *("--set", "training.n_steps=20", "--set", "training.validation_interval=10"),
    *("--set", "training.device=cpu", "-j", "2"),
]


@pytest.fixture(scope="module")
def trained(command, clusters, tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    data = clusters(folder / "clusters", segments=True)
    result = command("train", data, "--out", folder / "out", "--student", "ultra-tiny", *QUICK)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_it_leaves_students_errors_and_all_settings(trained):
    folder, result = trained
    out = folder / "out"
    assert read_header(out / "students" / "ultra-tiny.safetensors")["training"]["data"] == "clusters"
    errors = json.loads((out / "errors.json").read_text())
    assert errors["split"] == "segment"
    assert errors["students"]["ultra-tiny"]["test"]["force_rmse"] > 0
    assert "whole trajectory segments" in result.stdout
    assert "ultra-tiny" in result.stdout
    settings = yaml.safe_load((out / "recipe.yaml").read_text())
    assert settings["training"]["n_steps"] == 20
    kept = {path.name for path in (out / "training" / "ultra-tiny").iterdir()}
    assert kept >= {"best.safetensors", "last.safetensors", "state.safetensors", "history.jsonl"}


def weights(out):
    tensors = load_file(out / "students" / "ultra-tiny.safetensors")
    return {name: tensor.tobytes() for name, tensor in tensors.items()}


def test_killed_and_resumed_it_ends_with_the_same_weights(trained, command):
    folder, _ = trained
    out = folder / "killed"
    arguments = ["train", folder / "clusters", "--out", out, "--student", "ultra-tiny", *QUICK]
    slow = ["--set", "training.state_interval_s=0"]  # the state is saved after every step
    parts = [sys.executable, "-m", "mlff_distiller.cli.main", *map(str, [*arguments, *slow])]
    process = subprocess.Popen(parts, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not (out / "training" / "ultra-tiny" / "state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (out / "stages" / "train-ultra-tiny.json").exists()
    resumed = command("train", "--resume", out)
    assert resumed.returncode == 0, resumed.stderr
    assert not (out / "superseded").exists()
    assert weights(out) == weights(folder / "out")


def test_info_says_what_a_training_and_its_student_came_from(trained):
    folder, _ = trained
    out = folder / "out"
    told = "\n".join(map(str, describe(out)))
    assert "split          segment: 44 for train, 8 for validation, 8 for test" in told
    assert "test errors    ultra-tiny: force_rmse " in told
    for path in (out / "students" / "ultra-tiny.safetensors", out / "training" / "ultra-tiny"):
        told = "\n".join(map(str, describe(path)))
        assert "teacher        morse (analytic)" in told
        assert (
            f"data digest    {read_header(out / 'students' / 'ultra-tiny.safetensors')['record']['data_digest']}"
            in told
        )
        assert "trained on     44 structures with H 132, C 88 atoms" in told
        assert "not closer     H-H " in told
        assert "errors         in validation: force_rmse " in told
        assert "None" not in told
    (out / "stages" / "train-ultra-tiny.json").rename(folder / "kept.json")
    assert "unfinished     train-ultra-tiny, best at step " in "\n".join(map(str, describe(out)))
    (folder / "kept.json").rename(out / "stages" / "train-ultra-tiny.json")


def test_repeated_or_resumed_it_does_nothing_and_a_change_is_done_anew(trained, command):
    folder, _ = trained
    out = shutil.copytree(folder / "out", folder / "changed")  # other tests look at the original
    before = weights(out)
    assert "nothing to do" in command("train", "--resume", out).stderr
    changed = command("train", out / "recipe.yaml", "--out", out, "--set", "training.n_steps=10")
    assert changed.returncode == 0, changed.stderr
    assert any(path.name.startswith("training-ultra-tiny") for path in (out / "superseded").iterdir())
    assert weights(out) != before


def test_a_foreign_file_is_imported_and_split_at_random(trained, command):
    folder, _ = trained
    file = folder / "clusters.xyz"
    assert command("data", "export", folder / "clusters", file).returncode == 0
    text = "\n".join(
        part.partition(" segment=")[0] if "segment=" in part else part for part in file.read_text().split("\n")
    )
    file.write_text(text)
    out = folder / "from-file"
    student = folder / "out" / "students" / "ultra-tiny.safetensors"
    result = command("train", file, "--out", out, "--start-from", student, *QUICK, "--set", "training.n_steps=1")
    assert result.returncode == 0, result.stderr
    errors = json.loads((out / "errors.json").read_text())
    assert errors["split"] == "random"
    start = json.loads((folder / "out" / "errors.json").read_text())["students"]["ultra-tiny"]["test"]
    went_on = errors["students"]["ultra-tiny"]["test"]
    assert went_on["force_rmse"] == pytest.approx(start["force_rmse"], rel=0.5)  # one step from there, not from new


@pytest.mark.slow
def test_reference_labels_bring_a_baseline_and_an_assistant_more_structures(command, clusters, tmp_path):
    data, reference = clusters(tmp_path / "fast"), clusters(tmp_path / "slow", n=40, depth=2.2, seed=1)
    helped = ["--set", "assistants.ultra-tiny={student: tiny, n_copies: 1}"]
    students = ["--student", "ultra-tiny", "--student", "tiny"]
    result = command("train", data, "--out", tmp_path / "out", "--reference", reference, *students, *helped, *QUICK)
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "out" / "errors.json").read_text())["students"]
    assert list(rows) == ["tiny", "ultra-tiny", "ultra-tiny-baseline", "tiny-baseline"]
    assert [row["labels"] for row in rows.values()] == [
        "teacher and reference",
        "teacher and reference, tiny",
        "reference",
        "reference",
    ]
    assert all(row["reference_test"]["force_rmse"] > 0 for row in rows.values())
    assert "reference F" in result.stdout.replace("\n", " ") or "reference" in result.stdout
    record = json.loads((tmp_path / "out" / "stages" / "assist-ultra-tiny.json").read_text())
    assert record["facts"]["n_structures"] > 10


@pytest.mark.slow
def test_torchrun_trains_one_student_on_several_processes_and_speaks_once(command, clusters, tmp_path):
    launcher = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29531")
    data = clusters(tmp_path / "clusters")
    result = command("train", data, "--out", tmp_path / "out", *QUICK, launcher=launcher)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("errors (RMSE") == 1
    alone = command("train", data, "--out", tmp_path / "alone", *QUICK)
    assert alone.returncode == 0, alone.stderr
    both = [json.loads((tmp_path / name / "errors.json").read_text()) for name in ("out", "alone")]
    together, single = (errors["students"]["tiny"]["test"]["force_rmse"] for errors in both)
    assert together == pytest.approx(single, rel=1e-2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{data}"], "--out"),
        (["--resume", "{tmp}"], "is no run directory"),
        (["{data}", "--resume", "{tmp}"], "--resume DIR takes all settings"),
        (["{data}", "--out", "{tmp}/o", "--student", "huge"], "'original', 'tiny' or 'ultra-tiny'"),
        (["{data}", "--out", "{tmp}/o", "--validation", "0.7"], "split.validation_fraction"),
        (["{data}", "--out", "{tmp}/o", "--set", "training.n_step=3"], "did you mean 'n_steps'"),
        (["{data}", "--out", "{tmp}/o", "--set", "assistants.tiny=huge"], "there is no student 'huge'"),
        (["{data}", "--out", "{tmp}/o", "--start-from", "{tmp}/none.safetensors"], "does not exist"),
        (["{data}", "--out", "{tmp}/o", "--reference", "{tmp}/none"], "none"),
        (["{data}", "--out", "{tmp}/o", "--student", "tiny", "--start-from", "{tmp}/none"], "does not exist"),
        (["{tmp}", "--out", "{tmp}/o"], "--set importing.format=..."),
        (["{data}/manifest.json", "--out", "{tmp}/o", "--set", "importing.format=extxyz"], "manifest.json"),
        (["{tmp}/none", "--out", "{tmp}/o"], "does not exist"),
    ],
)
def test_bad_input_is_one_sentence(refusal, clusters, tmp_path, arguments, said):
    data = clusters(tmp_path / "data", n=6)
    filled = [part.format(data=data, tmp=tmp_path) for part in arguments]
    assert said in refusal("train", *filled)
    assert not (tmp_path / "o").exists()


def test_other_data_of_the_same_name_are_turned_away(refusal, clusters, tmp_path):
    recipes = [
        DataRecipe(name="x", data=str(clusters(tmp_path / n, seed=ord(n))), students={"a": {"kind": "painn"}})
        for n in "ab"
    ]
    with RunDirectory(tmp_path / "out").opened(recipes[0]):
        pass
    assert "with other data" in refusal("train", tmp_path / "b", "--out", tmp_path / "out", "--set", "name=x")
