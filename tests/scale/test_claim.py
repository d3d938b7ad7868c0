"""A directory belongs to one set of inputs."""

from pathlib import Path

import pytest

from mlff_distiller.core.errors import DataError
from mlff_distiller.scale.claim import CLAIM, claim_directory


def test_the_same_inputs_are_welcome(tmp_path: Path) -> None:
    claim_directory(tmp_path, {"seed": 1, "plan": "a"}, is_new=True)
    claim_directory(tmp_path, {"plan": "a", "seed": 1}, is_new=False)


def test_others_are_named(tmp_path: Path) -> None:
    claim_directory(tmp_path, {"seed": 1, "plan": "a", "teacher": "t"}, is_new=True)
    with pytest.raises(DataError, match="another seed and plan; choose another directory"):
        claim_directory(tmp_path, {"seed": 2, "plan": "b", "teacher": "t"}, is_new=False)


def test_a_new_start_replaces_the_claim(tmp_path: Path) -> None:
    claim_directory(tmp_path, {"seed": 1}, is_new=True)
    claim_directory(tmp_path, {"seed": 2}, is_new=True)
    claim_directory(tmp_path, {"seed": 2}, is_new=False)


@pytest.mark.parametrize("content", [None, "not json"])
def test_content_without_a_claim(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / CLAIM).write_text(content)
    with pytest.raises(DataError, match="does not say what it was made from"):
        claim_directory(tmp_path, {"seed": 1}, is_new=False)
