"""A teacher of another package: the example of the documentation, registered by entry point, passes the same suite."""

import doctest
import os
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "do" / "own-teacher.md"
SUITE = """
from mlff_distiller.teachers import TEACHERS

SpringsPlan = TEACHERS.get("springs")
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with the package that the page shows, as pip would leave it."""
    page = PAGE.read_text(encoding="utf-8")
    examples = doctest.DocTestParser().get_examples(page[page.index("## A kind of its own") :])
    module, suite = "".join(example.source for example in examples).split("water = Structure")
    (tmp_path / "springs.py").write_text(module)
    (tmp_path / "test_springs.py").write_text(SUITE + suite[suite.index("from mlff_distiller.teachers.contract") :])
    info = tmp_path / "springs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: springs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mlff_distiller.teachers]\nsprings = springs:SpringsPlan\n")
    return tmp_path


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", *arguments]
    env = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def test_the_example_passes_the_suite(package: Path) -> None:
    done = run("pytest", "-q", "-p", "no:cacheprovider", "test_springs.py", folder=package)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_in_an_environment_without_its_package_it_says_what_to_install(package: Path) -> None:
    recipe = package / "recipe.yaml"
    recipe.write_text(
        f"name: own\nteacher: {{kind: springs, environment: {sys.prefix}}}\n"
        "seeds: [{kind: smiles, smiles: O}]\nstudents: {tiny: {kind: painn}}\n"
    )
    done = run("mlff_distiller.cli.main", "teacher", "info", str(recipe), folder=package)
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "SpringsPlan of springs cannot be loaded by" in said
    assert "install the package that it belongs to in the environment of the teacher" in said
