"""The manual is true: its examples run, its recipes and commands are accepted, the files it names exist."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
import typer
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser

from mlff_distiller.cli.main import app
from mlff_distiller.core import yaml
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.trial_recipe import TrialRecipe
from mlff_distiller.students.painn.plan import PRESETS, PaiNNPlan

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.md") if "_build" not in path.parts)
TOP = ["ARCHITECTURE.md", "CONTRIBUTING.md"]
BASE = {
    "name": "base",
    "teacher": {"kind": "xtb"},
    "seeds": [{"kind": "smiles", "smiles": "O"}],
    "students": {"tiny": {"kind": "painn", "preset": "tiny"}},
}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def pages_with(language: str) -> list[str]:
    return [page for page in [*PAGES, *TOP] if blocks(page, language)]


@pytest.mark.parametrize("page", pages_with("python"))
def test_examples_run(page, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    document = Sybil([PythonCodeBlockParser(doctest_optionflags=FLAGS)], path=str(ROOT)).parse(ROOT / page)
    examples = list(document.examples())
    for example in examples:
        example.evaluate()
    assert examples


@pytest.mark.parametrize("page", pages_with("yaml"))
def test_recipes_are_accepted(page):
    for block in blocks(page, "yaml"):
        settings = yaml.parse(block)
        if "potentials" in settings:
            TrialRecipe.parse(settings, where=page)
        else:
            Recipe.parse(BASE | settings, where=page)


@pytest.mark.parametrize("page", pages_with("console"))
def test_commands_are_accepted(page):
    group = typer.main.get_command(app)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in "".join(blocks(page, "console")).splitlines():
        assert line.startswith("$ "), line
        program, *arguments = shlex.split(line[2:], comments=True)
        if program == "mlffd":
            group.commands[arguments[0]].make_context(arguments[0], arguments[1:])
        elif program == "make":
            assert set(arguments) <= set(targets), line


@pytest.mark.parametrize("page", [*TOP, *PAGES])
def test_links_between_pages_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", text):
        start = DOCS if target.startswith("/") else (ROOT / page).parent
        assert (start / f"{target.lstrip('/')}.md").exists(), target


@pytest.mark.parametrize("page", TOP)
def test_files_that_are_named_exist(page):
    named = re.findall(r"`([\w.-]+(?:/[\w.-]+)*/?)`", (ROOT / page).read_text())
    paths = [name for name in named if ("/" in name or name.endswith((".py", ".md"))) and "NAME" not in name]
    places = (ROOT, ROOT / "src" / "mlff_distiller")
    missing = [name for name in paths if not any((place / name).exists() for place in places)]
    assert paths
    assert not missing


def test_every_setting_is_in_the_reference(extension):
    page = extension.expand((DOCS / "reference" / "recipe.md").read_text())
    schema = Recipe.model_json_schema()
    settings = {name for part in [schema, *schema["$defs"].values()] for name in part.get("properties", {})}
    assert len(settings) > 60
    assert [name for name in settings if f"`{name}`" not in page and f".{name}`" not in page] == []
    assert "| `electronic_temperature_K` | number, ≥ 0, ≤ 50000 | `300` |" in page
    assert "| `force_rmse` | at most | `0.2` | `0.4` | `true` |" in page


def test_every_command_is_in_the_reference(extension):
    page = extension.expand((DOCS / "reference" / "command-line.md").read_text())
    for name in typer.main.get_command(app).commands:
        assert f"## `mlffd {name}`" in page
    assert "`--set KEY=VALUE`" in page


def test_every_package_is_in_the_reference(extension):
    rooms = {path.parent.name for path in (ROOT / "src" / "mlff_distiller").glob("*/__init__.py")} - {"cli"}
    listed = {path.stem for path in (DOCS / "reference" / "api").glob("*.md")} - {"index"}
    assert listed == rooms
    index = (DOCS / "reference" / "api" / "index.md").read_text().split()
    assert rooms <= set(index)
    for room in rooms:
        page = extension.expand((DOCS / "reference" / "api" / f"{room}.md").read_text())
        assert f".. automodule:: mlff_distiller.{room}." in page


@pytest.mark.parametrize("page", ["docs/understand/student.md", "docs/decisions/0003-student-sizes.md"])
def test_parameter_counts_are_those_of_the_code(page):
    rows = re.findall(r"^\| (\d+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", (ROOT / page).read_text(), re.MULTILINE)
    assert len(rows) == 4
    for n_elements, *counts in rows:
        found = [sum(p.numel() for p in PaiNNPlan(preset=name).build(int(n_elements)).parameters()) for name in PRESETS]
        assert found == [int(count.replace(",", "")) for count in counts]
