"""``mlffd teacher`` as a user meets it: what there is, what it can do, what is installed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlff_distiller.potentials.worker.environment import BEGUN
from mlff_distiller.teachers.installed import Installed

PLAN = '''
from typing import ClassVar, Literal
from pydantic import Field
from mlff_distiller.potentials.foreign import library
from mlff_distiller.potentials.plan import PotentialPlan

class TinyPlan(PotentialPlan):
    """An energy for each atom.

    More about it.
    """
    requirements: ClassVar = ("torch", "tinylib>=1")
    kind: Literal["tiny"] = Field("tiny", description="A tiny teacher.")
    flavor: Literal["sweet", "salty"] = Field("sweet", description="How it tastes.")
    energy_eV: float = Field(description="Energy of an atom.")
    cold: bool = Field(False, description="Whether it is cold.")

    def load(self):
        library("tinylib.inner", kind="tiny")
'''
ENTRY_POINTS = "[mlff_distiller.teachers]\ntiny = tinyteacher:TinyPlan\n"
RECIPE = """
name: water
teacher: {kind: xtb, method: GFN1-xTB}
seeds: [{kind: smiles, smiles: O}]
students: {tiny: {kind: painn, preset: tiny}}
"""


@pytest.fixture
def plugin(tmp_path) -> Path:
    """A folder with an installed package that adds a teacher."""
    info = tmp_path / "plugin" / "tinyteacher-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tinyteacher\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "plugin" / "tinyteacher.py").write_text(PLAN)
    return tmp_path / "plugin"


@pytest.fixture
def mlffd(plugin, tmp_path):
    """The command, with a home of environments that is empty at first."""
    own = {"COLUMNS": "140", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(plugin), "MLFFD_ENVIRONMENTS": str(tmp_path)}

    def run(*arguments) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "mlff_distiller.cli.main", "teacher", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | own, timeout=120, check=False)

    return run


def done(result: subprocess.CompletedProcess) -> str:
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def refused(result: subprocess.CompletedProcess) -> str:
    assert result.returncode == 2, result.stderr + result.stdout
    (said,) = result.stderr.splitlines()
    assert said.startswith("mlffd: ")
    return said


def save(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    packages = ("numpy==2.4.6", "tinylib==1.4.2", "torch @ file:///wheels/torch-2.13.0.whl")
    Installed("tiny", ("torch", "tinylib>=1"), "3.13.1", packages, "2026-11-22T00:00:00Z").save(folder)


def row(table: str, name: str) -> str:
    return next(line for line in table.splitlines() if re.match(rf" {name} ", line))


def test_every_command_explains_itself(mlffd):
    listed = done(mlffd("--help"))
    for command in ("list", "info", "install"):
        assert re.search(rf"^  {command} ", listed, re.MULTILINE)
        assert "Usage" in done(mlffd(command, "--help"))


def test_the_list_says_what_each_is_and_what_is_there(mlffd, tmp_path):
    told = done(mlffd("list"))
    assert re.search(r"GFN1-xTB.* here +not needed", row(told, "xtb"))
    assert re.search(r"An energy for each atom +not here +not installed", row(told, "tiny"))
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / BEGUN).touch()
    assert "not finished" in row(done(mlffd("list")), "tiny")
    save(tmp_path / "tiny")
    assert "installed, Python 3.13.1" in row(done(mlffd("list")), "tiny")
    (tmp_path / "tiny" / "mlffd-environment.json").write_text("{")
    assert "damaged" in row(done(mlffd("list")), "tiny")


def test_a_package_that_adds_a_teacher_and_is_broken_hides_no_other(mlffd, plugin):
    entry_points = plugin / "tinyteacher-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text(f"{ENTRY_POINTS}broken = no_such_module:Plan\n")
    told = done(mlffd("list"))
    assert "cannot be used: ModuleNotFoundError" in row(told, "broken")
    assert "not installed" in row(told, "tiny")


def test_an_environment_made_by_hand_is_seen(mlffd, tmp_path):
    (tmp_path / "xtb").symlink_to(sys.prefix)
    assert "made by hand" in row(done(mlffd("list")), "xtb")


def test_the_list_loads_no_heavy_library():
    code = (
        "import sys; sys.argv = ['mlffd', 'teacher', 'list']\n"
        "from mlff_distiller.cli.main import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'jax', 'h5py', 'rdkit', 'tblite'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert " xtb " in result.stdout


def test_info_of_a_kind_tells_needs_settings_and_versions(mlffd, tmp_path):
    told = done(mlffd("info", "tiny"))
    assert "tiny: An energy for each atom" in told
    assert "torch, tinylib>=1" in row(told, "needs")
    assert "versions" not in told
    assert re.search(r"sweet +How it tastes\. \(sweet, salty\)", row(told, "flavor"))
    assert "required" in row(told, "energy_eV")
    assert "false" in row(told, "cold")
    assert re.search(r"600\.0 +Longest", row(told, "time_limit_s"))
    assert told.index(" energy_eV ") < told.index(" time_limit_s ")
    save(tmp_path / "tiny")
    versions = row(done(mlffd("info", "tiny")), "versions")
    assert re.search(r"Python 3\.13\.1, torch file:///wheels/torch-2\.13\.0\.whl, tinylib 1\.4\.2", versions)


def test_info_of_a_recipe_tells_what_its_teacher_can_do(mlffd, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    told = done(mlffd("info", recipe))
    assert "GFN1-xTB, tblite" in row(told, "version")
    assert re.search(r"atomic energies, energy, forces, stress", row(told, "properties"))
    assert "yes" in row(told, "conservative")
    assert "any" in row(told, "charges")
    assert "not local" in row(told, "cutoff")
    assert "all" in row(told, "elements") or "Rn" in told


def test_wrong_names_are_one_sentence(mlffd, tmp_path):
    assert "did you mean 'xtb'" in refused(mlffd("info", "xbt"))
    assert "did you mean 'tiny'" in refused(mlffd("install", "tinny"))
    assert "does not exist" in refused(mlffd("info", tmp_path / "none.yaml"))


def test_a_teacher_that_needs_nothing_is_said_so(mlffd, tmp_path):
    assert "'xtb' needs no environment of its own; there is nothing to install" in done(mlffd("install", "xtb"))
    assert not (tmp_path / "xtb").exists()


def test_an_environment_that_is_there_is_not_touched(mlffd, tmp_path):
    save(tmp_path / "tiny")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "tiny").iterdir()}
    told = done(mlffd("install", "tiny"))
    assert "was there already; --again makes it anew: Python 3.13.1" in told
    assert "environment: installed" in told
    assert "other requirements" not in told
    told = done(mlffd("install", "tiny", "--environment", tmp_path / "tiny", "--with", "numpy<2"))
    assert "It was made for other requirements: torch 'tinylib>=1'" in told
    assert f"environment: {tmp_path / 'tiny'}" in told
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"format": "mlffd-environment", "version": 2}', "install a newer mlff-distiller"),
        ('{"format": "mlffd-environment", "version": 1}', "is damaged"),
        ('{"format": "other"}', "is no record of an environment"),
        ("[", "cannot be read"),
    ],
)
def test_a_record_that_cannot_be_read_is_one_sentence(mlffd, tmp_path, content, sentence):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "mlffd-environment.json").write_text(content)
    assert sentence in refused(mlffd("install", "tiny"))
