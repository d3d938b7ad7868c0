"""Settings: what a user may write, and the sentence for everything else."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from mlff_distiller.core.errors import PlanError
from mlff_distiller.core.plan import Plan, load
from mlff_distiller.core.starter import commented_yaml


class Cat(Plan):
    kind: Literal["cat"] = "cat"
    lives: int = Field(9, ge=1, description="How many are left.")


class Dog(Plan):
    kind: Literal["dog"] = "dog"
    tricks: list[str] = Field(["sit"], description="What it can do.")


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Bowl(Plan):
    volume_mL: float = Field(250.0, gt=0, description="How much it holds.")


class House(Plan):
    name: str = Field(description="Of the house.")
    bowl: Bowl = Field(Bowl(), description="For the pets.")
    pets: list[Pet] = Field([Cat()], description="Who lives there.")
    rooms: dict[str, Bowl] = Field({"kitchen": Bowl()}, description="Where the bowls are.")


def read(tmp_path: Path, text: str, *overrides: str) -> House:
    path = tmp_path / "house.yaml"
    path.write_text(text)
    return load(House, path, overrides=list(overrides))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: a\nbowl: {volume_ml: 3}", r"unknown key 'bowl.volume_ml' \(did you mean 'volume_mL'\?\)"),
        ("nam: a", r"missing|did you mean 'name'"),
        ("bowl: {}", "the key 'name' is missing"),
        ("name: a\nbowl: {volume_mL: -1}", "'bowl.volume_mL': input should be greater than 0, got -1"),
        ("name: a\nbowl: {volume_mL: .nan}", "'bowl.volume_mL': input should be a finite number"),
        ("name: a\nrooms: {hall: {volum_mL: 3}}", "unknown key 'rooms.hall.volum_mL'"),
        ("name: a\nname: b", "line 2: the key 'name' is given twice"),
        ("name: [a", "line .*not valid YAML"),
        ("name: !!int a", "not valid YAML .*'a'"),
        (f"name: {'9' * 5000}", "not valid YAML .*digits"),
        ("name: a\npets: [{kind: cow}]", "'pets.0': unknown kind 'cow'.*known: cat, dog"),
        ("name: a\npets: [{lives: 3}]", "'pets.0' needs a key 'kind'"),
        ("name: a\npets: [{kind: cat, live: 3}]", "unknown key 'pets.0.live'.*'lives'"),
        ("- 1", "holds no settings"),
        ("", "holds no settings"),
    ],
)
def test_wrong_settings_get_one_sentence(tmp_path, text, sentence):
    with pytest.raises(PlanError, match=sentence) as caught:
        read(tmp_path, text)
    assert "house.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(PlanError, match=r"does not exist.*mlffd init"):
        load(House, tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="cannot be read as text"):
        load(House, tmp_path / "binary.yaml")
    with pytest.raises(PlanError, match="cannot be read as text"):
        load(House, tmp_path)


def test_yaml_means_what_a_chemist_means(tmp_path):
    house = read(tmp_path, "name: NO\nbowl: {volume_mL: 1e-3}")
    assert house.name == "NO"
    assert house.bowl.volume_mL == 1e-3


def test_overrides_reach_into_lists_and_make_missing_sections(tmp_path):
    text = "name: a\npets: [{kind: cat}]"
    house = read(tmp_path, text, "pets.0.lives=3", "bowl.volume_mL=5", "name=b")
    assert (house.pets[0].lives, house.bowl.volume_mL, house.name) == (3, 5.0, "b")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("name", "expected KEY=VALUE"),
        ("pets.7.lives=1", "not an entry of that list"),
        ("name.x=1", "single value"),
        ("bowl.volume=1", "unknown key 'bowl.volume'"),
        ("pets.².lives=1", "not an entry of that list"),
        ("name=[a", r"--set name=\[a: line 1: not valid YAML"),
    ],
)
def test_wrong_overrides_get_one_sentence(tmp_path, override, sentence):
    with pytest.raises(PlanError, match=sentence):
        read(tmp_path, "name: a\npets: [{kind: cat}]", override)


def test_digest_depends_on_every_setting_and_nothing_else(tmp_path):
    one, same = read(tmp_path, "name: a"), read(tmp_path, "bowl: {volume_mL: 250}\nname: a")
    assert one.digest() == same.digest()
    assert one.digest() != read(tmp_path, "name: a\nbowl: {volume_mL: 251}").digest()


def test_commented_yaml_reads_back_as_the_same_plan(tmp_path):
    house = House(
        name="no: yes #", pets=[Dog(tricks=["sit", "roll: over"]), Cat(lives=2)], rooms={"a": Bowl(), "b": Bowl()}
    )
    text = commented_yaml(house)
    assert "# How many are left." in text
    assert read(tmp_path, text) == house
