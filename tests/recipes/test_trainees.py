"""Who is trained in which order, and what a training depends on."""

from pathlib import Path

import pytest

from mlff_distiller.core.errors import PlanError
from mlff_distiller.recipes.data_recipe import DataRecipe
from mlff_distiller.recipes.pipeline import plan_stages
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.trainees import trainees

SETTINGS = {
    "name": "water",
    "teacher": {"kind": "xtb"},
    "seeds": [{"kind": "smiles", "smiles": "O"}],
    "students": {name: {"kind": "painn"} for name in ("small", "middle", "large")},
}


def recipe(**changes) -> Recipe:
    return Recipe.parse(SETTINGS | changes, where="test")


def stages(**changes) -> list:
    return plan_stages(recipe(**changes), RunDirectory(Path("out")))


def test_assistants_come_first_and_their_training_is_a_parent():
    helped = {"small": "middle", "middle": {"student": "large", "n_copies": 1}}
    assert [who.name for who in trainees(recipe(assistants=helped))] == ["large", "middle", "small"]
    found = {stage.name: stage for stage in stages(assistants=helped)}
    order = list(found)
    assert order.index("train-large") < order.index("assist-middle") < order.index("train-middle")
    assert found["train-large"] in found["assist-middle"].parents
    other = {stage.name: stage.digest for stage in stages(assistants={**helped, "small": "large"})}
    assert other["train-middle"] == found["train-middle"].digest
    assert other["train-small"] != found["train-small"].digest


@pytest.mark.parametrize(
    ("assistants", "said"),
    [
        ({"small": "huge"}, "there is no student 'huge'"),
        ({"tiny": "large"}, "there is no student 'tiny'"),
        ({"small": "large", "large": "small"}, "wait for each other"),
        ({"small": "small"}, "wait for each other"),
        ({"small": {"student": "large", "n_copies": 0}}, "n_copies"),
    ],
)
def test_assistants_that_cannot_be_are_refused(assistants, said):
    with pytest.raises(PlanError, match=said):
        recipe(assistants=assistants)


def test_a_baseline_needs_a_free_name():
    training = {"reference_data": "dft"}
    assert [who.name for who in trainees(recipe(training=training))][3:] == [
        f"{name}-baseline" for name in SETTINGS["students"]
    ]
    assert len(trainees(recipe(training={**training, "baseline": False}))) == 3
    students = {"a": {"kind": "painn"}, "a-baseline": {"kind": "painn"}}
    with pytest.raises(PlanError, match="is the name of a baseline"):
        recipe(students=students, training=training)


def test_the_content_of_a_start_decides_not_its_place(tmp_path):
    digests = []
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
        located = recipe(training={"start_from": name}).located(tmp_path)
        assert located.training.start_from == str(tmp_path / name)
        found = plan_stages(located, RunDirectory(Path("out")))
        digests.append(next(stage.digest for stage in found if stage.kind == "train"))
    assert digests[0] == digests[1] != digests[2]


def test_data_recipes_split_by_what_the_data_say_unless_told():
    settings = {"name": "x", "data": "d", "students": {"a": {"kind": "painn"}}}
    assert DataRecipe.parse(settings | {"split": {"test_fraction": 0.2}}, where="").split.kind == "auto"
    assert DataRecipe.parse(settings | {"split": {"kind": "formula"}}, where="").split.kind == "formula"
    with pytest.raises(PlanError, match="did you mean 'training'"):
        DataRecipe.parse(settings | {"trainin": {}}, where="")
