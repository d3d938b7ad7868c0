"""What is named on the command line is found to be a student, a calculator, a teacher, a run or a recipe."""

from pathlib import Path

import pytest

from mlff_distiller.core.errors import DistillerError
from mlff_distiller.recipes.pipeline import plan_trial_stages
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.stages import _groups
from mlff_distiller.recipes.trial_target import named, trial_of

ETHANE = [{"kind": "smiles", "smiles": "CC"}]


def test_several_targets_of_different_kinds_stand_beside_each_other(tmp_path: Path) -> None:
    student, settings = tmp_path / "tiny.safetensors", tmp_path / "loose.yaml"
    student.write_bytes(b"")
    settings.write_text("kind: xtb\naccuracy: 2.0\n")
    targets = [str(student), "ase.calculators.emt:EMT", "xtb", str(settings)]
    recipe = trial_of(targets, teacher="xtb", seeds=ETHANE)
    assert {name: plan.kind for name, plan in recipe.potentials.items()} == {
        "tiny": "student",
        "EMT": "ase",
        "xtb": "xtb",
        "loose": "xtb",
    }
    assert recipe.potentials["loose"].accuracy == 2.0
    assert recipe.potentials["tiny"].precision == "float32"


def test_two_of_one_name_are_told_apart() -> None:
    assert trial_of(["xtb", "xtb"], teacher="xtb", seeds=ETHANE).names == ["xtb", "xtb-2"]


def test_paths_in_a_recipe_count_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "trial.yaml").write_text(
        "name: a\npotentials: {s: {kind: student, model: s.safetensors}}\ndata: frames.xyz\n"
    )
    (tmp_path / "s.safetensors").write_bytes(b"")
    recipe = trial_of([str(tmp_path / "trial.yaml")])
    assert recipe.data == str(tmp_path / "frames.xyz")
    assert recipe.potentials["s"].model == str(tmp_path / "s.safetensors")


@pytest.mark.parametrize(
    ("targets", "more", "message"),
    [
        (["gaussian"], {}, "'gaussian' is no student file"),
        (["missing.safetensors"], {}, "there is no student file missing.safetensors"),
        (["xtb"], {}, "say what to validate on"),
        (["xtb"], {"seeds": ETHANE}, "say what to validate on"),
        (["missing.yaml"], {}, "missing.yaml"),
        (["xtb"], {"seeds": ETHANE, "teacher": "xtb", "overrides": ["validation.nvee.duration_ps=1"]}, "nve"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(targets, more, message) -> None:
    with pytest.raises(DistillerError, match=message) as caught:
        trial_of(targets, **more)
    assert "\n" not in str(caught.value)


def test_a_file_of_settings_needs_a_kind(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("accuracy: 2.0\n")
    with pytest.raises(DistillerError, match="has no `kind`"):
        named(str(tmp_path / "a.yaml"))


def test_each_check_is_a_stage_and_depends_on_its_own_settings() -> None:
    def digests(*overrides: str) -> dict[str, str]:
        recipe = trial_of(["ase.calculators.emt:EMT"], teacher="xtb", seeds=ETHANE, overrides=overrides)
        return {stage.name: stage.digest for stage in plan_trial_stages(recipe, RunDirectory(Path("out")))}

    before, after = digests(), digests("validation.nve.duration_ps=20")
    changed = {name for name in before if before[name] != after[name]}
    assert {"validate-EMT-nve", "report"} <= changed
    assert not {"sample", "label", "validate-EMT-errors", "time-EMT"} & changed
    assert {name for name in before if before[name] != digests("timing.duration_s=9")[name]} == {"time-EMT", "report"}


def test_a_check_never_runs_beside_one_that_it_builds_on() -> None:
    recipe = trial_of(["xtb", "ase.calculators.emt:EMT"], teacher="xtb", seeds=ETHANE)
    groups = list(_groups(plan_trial_stages(recipe, RunDirectory(Path("out")))))
    for group in groups:
        assert not {parent.name for stage in group for parent in stage.parents} & {stage.name for stage in group}
    together = next(group for group in groups if len(group) > 1)
    assert {stage.student for stage in together} == {"xtb", "EMT"}
