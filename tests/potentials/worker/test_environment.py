"""Environments: the interpreter of a folder, a program or the word "installed", and a sentence where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlff_distiller.core.errors import TeacherError
from mlff_distiller.potentials.worker.environment import BEGUN, FINISHED, environments_home, interpreter


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MLFFD_ENVIRONMENTS", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """A real virtual environment; pip is left out because it takes seconds."""
    folder = tmp_path_factory.mktemp("bare") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def prefix_of(python: Path) -> Path:
    command = [python, "-I", "-c", "import sys; print(sys.prefix)"]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())


def sentence(environment: str, kind: str = "mace") -> str:
    with pytest.raises(TeacherError) as caught:
        interpreter(environment, kind)
    return str(caught.value)


def test_home_follows_the_variables(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFFD_ENVIRONMENTS", "~/mine")
    assert environments_home() == Path.home() / "mine"
    monkeypatch.delenv("MLFFD_ENVIRONMENTS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert environments_home() == tmp_path / "mlffd" / "environments"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert environments_home() == Path.home() / ".local" / "share" / "mlffd" / "environments"


def test_the_interpreter_found_runs_in_its_environment_however_it_is_named(bare, home, monkeypatch):
    named = [interpreter(str(bare), "mace"), interpreter(str(bare / "bin" / "python"), "mace")]
    home.mkdir()
    (home / "mace").symlink_to(bare)  # a user may put an environment there by hand
    named.append(interpreter("installed", "mace"))
    monkeypatch.chdir(bare.parent)
    named.append(interpreter(bare.name, "mace"))
    assert all(python.is_absolute() for python in named)
    assert [prefix_of(python).resolve() for python in named] == [bare.resolve()] * 4


def test_an_environment_whose_only_name_is_python3_is_found(bare, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(bare / "bin" / "python3")
    assert interpreter(str(tmp_path), "mace") == tmp_path / "bin" / "python3"


def test_what_is_not_there_is_said_with_the_command_that_makes_it(home, tmp_path):
    assert sentence("installed") == (
        f"teacher 'mace' is not installed ({home / 'mace'} does not exist); run `mlffd teacher install mace`"
    )
    assert f"`mlffd teacher install orb --environment {tmp_path / 'none'}`" in sentence(str(tmp_path / "none"), "orb")
    (tmp_path / "empty").mkdir()
    assert "holds no Python interpreter" in sentence(str(tmp_path / "empty"))
    (tmp_path / "notes.txt").write_text("hello")
    assert "is not a program" in sentence(str(tmp_path / "notes.txt"))


def test_an_interrupted_installation_is_refused_until_it_is_finished(bare, home):
    (home / "mace").mkdir(parents=True)
    (home / "mace" / "bin").symlink_to(bare / "bin")
    (home / "mace" / BEGUN).touch()
    assert "was not finished; run `mlffd teacher install mace` again" in sentence("installed")
    assert f"--environment {home / 'mace'}` again" in sentence(str(home / "mace"))
    (home / "mace" / FINISHED).write_text("{}")
    assert interpreter("installed", "mace") == home / "mace" / "bin" / "python"


def test_an_interpreter_that_an_upgrade_took_away_is_named(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(tmp_path / "python3.10")
    assert f"leads to {tmp_path / 'python3.10'}, which is gone; make the environment anew" in sentence(str(tmp_path))
    (tmp_path / FINISHED).write_text("{}")
    assert sentence(str(tmp_path)).endswith(f"run `mlffd teacher install mace --environment {tmp_path} --again`")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_folder_that_may_not_be_entered_is_refused(tmp_path):
    tmp_path.chmod(0)
    try:
        assert "holds no Python interpreter" in sentence(str(tmp_path))
    finally:
        tmp_path.chmod(0o755)
