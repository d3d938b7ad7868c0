"""The output directory: whose it is, what is done in it, and that nothing is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlff_distiller.core.console import Silent
from mlff_distiller.core.errors import PlanError, RunDirectoryError
from mlff_distiller.recipes.pipeline import plan_stages
from mlff_distiller.recipes.recipe import Recipe, load
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.stages import Context, Stage, run_stages
from mlff_distiller.recipes.starter import write_starter

SETTINGS = {
    "name": "water",
    "teacher": {"kind": "xtb"},
    "seeds": [{"kind": "smiles", "smiles": "O"}],
    "students": {"tiny": {"kind": "painn", "preset": "tiny"}, "small": {"kind": "painn", "preset": "ultra-tiny"}},
}


def recipe(**changes) -> Recipe:
    return Recipe.parse(SETTINGS | changes, where="test")


def digests(**changes) -> dict[str, str]:
    return {stage.name: stage.digest for stage in plan_stages(recipe(**changes), RunDirectory(Path("out")))}


@pytest.mark.parametrize(
    ("changes", "unchanged"),
    [
        ({"criteria": {"force_rmse": {"limit": 0.1}}}, {"report"}),
        (
            {"training": {"n_steps": 9}},
            {"train-tiny", "train-small", "export-tiny", "validate-tiny-nve", "time-small", "report"},
        ),
        ({"validation": {"nve": {"duration_ps": 1}}}, {"validate-tiny-nve", "validate-small-nve", "report"}),
        ({"audit": {"budget_s": 9}}, {"audit", "report"}),
        ({"split": {"test_fraction": 0.2}}, {"split", "train-tiny", "validate-small-nve", "report"}),
        ({"seed": 2}, {"sample", "audit", "label", "train-tiny", "report"}),
        ({"name": "other"}, set()),
    ],
)
def test_a_setting_changes_what_depends_on_it_and_nothing_else(changes, unchanged):
    before, after = digests(), digests(**changes)
    changed = {name for name in before if before[name] != after[name]}
    assert unchanged <= changed
    if "train-tiny" not in unchanged:
        assert "train-tiny" not in changed
    if "sample" not in unchanged:
        assert "label" not in changed
    if "validate-tiny-nve" in unchanged and "train-tiny" not in unchanged and "split" not in unchanged:
        assert "validate-tiny-errors" not in changed


def test_another_recipe_is_turned_away(tmp_path):
    directory = RunDirectory(tmp_path / "out")
    with directory.opened(recipe()):
        pass
    with directory.opened(recipe(training={"n_steps": 5})):
        pass
    with pytest.raises(RunDirectoryError, match="holds the run of recipe 'water'"), directory.opened(recipe(name="b")):
        pass
    other = recipe(teacher={"kind": "xtb", "method": "GFN1-xTB"})
    with pytest.raises(RunDirectoryError, match="another teacher or other seeds"), directory.opened(other):
        pass


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunDirectoryError, match="not empty and not a run"), RunDirectory(tmp_path).opened(recipe()):
        pass
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != ".lock") == ["thesis.tex"]


@pytest.mark.parametrize("marker", ["{", "[]", '{"name": 1}', '{"name": "water", "question": "", "version": 99}'])
def test_a_damaged_or_newer_marker_is_one_sentence(tmp_path, marker):
    (tmp_path / "run.json").write_text(marker)
    with pytest.raises(RunDirectoryError, match=r"is damaged|newer release"), RunDirectory(tmp_path).opened(recipe()):
        pass


def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="cannot write to"), RunDirectory(tmp_path / "file").opened(recipe()):
        pass


def test_two_processes_do_not_share_a_directory(tmp_path):
    holder = (
        "import sys, time, fcntl; h = open(sys.argv[1], 'w'); fcntl.lockf(h, fcntl.LOCK_EX)\n"
        "print(1, flush=True); time.sleep(60)"
    )
    tmp_path.joinpath(".lock").touch()
    process = subprocess.Popen([sys.executable, "-c", holder, tmp_path / ".lock"], stdout=subprocess.PIPE)
    with process:
        process.stdout.readline()
        with pytest.raises(RunDirectoryError, match="in use by another mlffd"), RunDirectory(tmp_path).opened(recipe()):
            pass
        process.kill()
    with RunDirectory(tmp_path).opened(recipe()):
        pass


def leave(context: Context, reporter) -> dict:
    path = context.directory.path / "result.txt"
    path.write_text(context.digest)
    return {"wrote": path.name}


def test_stages_run_once_for_the_same_inputs_and_keep_superseded_results(tmp_path):
    directory = RunDirectory(tmp_path)
    context = Context(recipe(), directory)

    def stage(settings):
        return Stage("leave", leave, settings, [], [tmp_path / "result.txt"], runs="here")

    assert run_stages([stage(1)], context, Silent()) == 1
    assert run_stages([stage(1)], context, Silent()) == 0
    assert directory.record("leave")["facts"] == {"wrote": "result.txt"}
    assert run_stages([stage(2)], context, Silent()) == 1
    assert (tmp_path / "result.txt").read_text() == stage(2).digest
    kept = list((tmp_path / "superseded").iterdir())
    assert [path.read_text() for path in kept] == [stage(1).digest]
    (tmp_path / "result.txt").unlink()
    assert run_stages([stage(2)], context, Silent()) == 1


def test_a_damaged_record_means_the_stage_runs_again(tmp_path):
    directory = RunDirectory(tmp_path)
    stage = Stage("leave", leave, 1, [], [tmp_path / "result.txt"], runs="here")
    run_stages([stage], Context(recipe(), directory), Silent())
    (tmp_path / "stages" / "leave.json").write_text("{")
    assert run_stages([stage], Context(recipe(), directory), Silent()) == 1


def test_recipe_names_the_file_and_the_nearest_key(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(SETTINGS | {"trainin": {}}))
    with pytest.raises(PlanError, match=r"recipe.yaml: unknown key 'trainin' \(did you mean 'training'\?\)"):
        load(path)
    path.write_text(json.dumps(SETTINGS | {"students": {"a/b": SETTINGS["students"]["tiny"]}}))
    with pytest.raises(PlanError, match="students"):
        load(path)


def test_file_seeds_are_found_beside_the_recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(SETTINGS | {"seeds": [{"kind": "file", "path": "water.xyz"}]}))
    (tmp_path / "water.xyz").write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    assert load(path).seeds[0].build(1)[0].formula == "H2O"


def test_the_starter_recipe_is_the_default_recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    write_starter(path, smiles="O", name="water")
    assert load(path).training == recipe().training
    with pytest.raises(PlanError, match="exists already"):
        write_starter(path, smiles="O", name="water")


@pytest.mark.parametrize("record", ["[]", "3", "{}", '{"digest": 1}', "\udcff"])
def test_whatever_stands_in_a_record_the_stage_runs_again(tmp_path, record):
    directory = RunDirectory(tmp_path)
    stage = Stage("leave", leave, 1, [], [tmp_path / "result.txt"], runs="here")
    run_stages([stage], Context(recipe(), directory), Silent())
    for name in ("leave.json", "leave.begun"):
        (tmp_path / "stages" / name).write_bytes(record.encode(errors="surrogateescape"))
    assert directory.records() == {}
    assert run_stages([stage], Context(recipe(), directory), Silent()) == 1
    assert run_stages([stage], Context(recipe(), directory), Silent()) == 0


def fill(context: Context, reporter) -> dict:
    folder = context.directory.path / "results"
    folder.mkdir(exist_ok=True)
    for name in ("a", "b"):
        assert not (folder / name).exists()
        (folder / name).touch()
    return {}


def test_a_part_that_was_deleted_is_made_again_from_the_start(tmp_path):
    folder = tmp_path / "results"
    stage = Stage("fill", fill, 1, [], [folder], runs="here", files=[folder / "a", folder / "b"])
    run_stages([stage], Context(recipe(), RunDirectory(tmp_path)), Silent())
    (folder / "a").unlink()
    assert run_stages([stage], Context(recipe(), RunDirectory(tmp_path)), Silent()) == 1
    assert sorted(p.name for p in folder.iterdir()) == ["a", "b"]
    assert len(list((tmp_path / "superseded").iterdir())) == 1


def break_off(context: Context, reporter) -> dict:
    raise KeyboardInterrupt


def test_work_begun_again_and_interrupted_stays(tmp_path):
    """Changed settings, back again, interrupted twice: the unfinished work of the present settings is kept."""
    folder = tmp_path / "results"

    def stage(work, settings):
        return Stage("fill", work, settings, [], [folder], runs="here", files=[folder / "a"])

    context = Context(recipe(), RunDirectory(tmp_path))
    run_stages([stage(fill, 1)], context, Silent())
    with pytest.raises(KeyboardInterrupt):
        run_stages([stage(break_off, 2)], context, Silent())
    folder.mkdir()
    (folder / "half").touch()
    with pytest.raises(KeyboardInterrupt):
        run_stages([stage(break_off, 2)], context, Silent())
    assert (folder / "half").exists()


def test_a_student_may_be_called_begun(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.note_begun("train-a", "digest")
    directory.write_record("train-a.begun", {"digest": "x", "elapsed_s": 1.0, "facts": {}})
    assert directory.begun("train-a") == "digest"
    assert directory.record("train-a.begun")["digest"] == "x"


def test_an_edited_factory_runs_everything_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    teacher = {"kind": "ase", "factory": "edited_teacher:make"}
    (tmp_path / "edited_teacher.py").write_text("a = 1")
    before, question = digests(teacher=teacher), recipe(teacher=teacher).question
    (tmp_path / "edited_teacher.py").write_text("a = 2")
    after = digests(teacher=teacher)
    assert all(before[name] != after[name] for name in before)
    assert recipe(teacher=teacher).question == question


def test_bounds_keep_step_counts_finite():
    md = {"kind": "md", "timestep_fs": 1e-320}
    for changes in ({"sampling": {"samplers": [md]}}, {"validation": {"nve": {"timestep_fs": 1e-320}}}):
        with pytest.raises(PlanError, match="timestep_fs"):
            recipe(**changes)
