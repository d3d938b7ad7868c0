"""Installing a teacher: real environments, real pip, small packages; whatever happens, no half looks like a whole."""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Silent
from mlff_distiller.core.errors import TeacherError
from mlff_distiller.core.lock import FileLock
from mlff_distiller.potentials.worker.environment import BEGUN, FINISHED, interpreter
from mlff_distiller.teachers import TEACHERS
from mlff_distiller.teachers.installed import installed
from mlff_distiller.teachers.installing import LOG, install, libraries
from mlff_distiller.teachers.pip import said

TORCH = f"torch=={metadata.version('torch').partition('+')[0]}"


class Listener(Silent):
    """A reporter that keeps what it is told."""

    def __init__(self):
        self.messages = []

    def message(self, text):
        self.messages.append(text)


@pytest.fixture(scope="module")
def tiny(index, tmp_path_factory):
    """The plan of a teacher whose package is not ours, with pip told to use nothing but the index."""
    decoy = tmp_path_factory.mktemp("decoy")  # what pip must not take for a part of the environment
    (decoy / "tinylib-9.0.dist-info").mkdir()
    (decoy / "tinylib-9.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: tinylib\nVersion: 9.0\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(index.plugin)
        patch.setenv("PYTHONPATH", str(decoy))
        for name, value in index.variables.items():
            patch.setenv(name, value)
        yield importlib.import_module("tinyteacher").TinyPlan


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """An installation that fails at first, with what was told of it."""
    folder, listener = tmp_path_factory.mktemp("made") / "tiny", Listener()
    failure = refused(tiny, folder, more=["no-such-package"])
    log, state = (folder / LOG).read_text(), installed(folder)
    with pytest.raises(TeacherError) as unfinished:
        interpreter(str(folder), "tiny")
    done = install(tiny, folder, reporter=listener)
    first = SimpleNamespace(sentence=failure, log=log, state=state, unfinished=str(unfinished.value))
    return SimpleNamespace(folder=folder, done=done, messages=listener.messages, first=first)


def refused(plan, folder: Path, **settings) -> str:
    with pytest.raises(TeacherError) as caught:
        install(plan, folder, **settings)
    return str(caught.value)


def test_the_teacher_runs_in_its_new_environment(tiny, made):
    teacher = tiny(environment=str(made.folder), energy_eV=-2.0).build()
    assert teacher.identity.version == f"tinylib 1 in {made.folder}"
    (labels,) = teacher.predict([Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])])
    assert labels.energy == -4.0
    teacher.close()


def test_the_record_tells_what_was_asked_and_what_came(made):
    assert installed(made.folder) == made.done
    assert made.done.kind == "tiny"
    assert made.done.requirements == ("torch", "tinylib>=1")
    assert made.done.python == ".".join(map(str, sys.version_info[:3]))
    assert {"tinylib==1.0", TORCH, f"numpy=={metadata.version('numpy')}"} <= set(made.done.packages)
    record = json.loads((made.folder / FINISHED).read_text())
    assert (record["format"], record["version"]) == ("mlffd-environment", 1)


def test_torch_comes_first_alone_and_in_the_version_of_mlffd(made):
    commands = [line for line in (made.folder / LOG).read_text().splitlines() if line.startswith("$ ")]
    assert len(commands) == 4
    assert commands[2].endswith(f" {TORCH}")
    assert {"numpy>=1.26", "tinylib>=1"} <= set(commands[3].split())
    assert "torch" not in commands[3].split()
    steps = ["making", "bringing", "installing", "installing", "loading"]
    assert [text.removeprefix("tiny: ").split()[0] for text in made.messages] == steps


def test_a_finished_environment_is_left_alone_and_made_anew_on_demand(tiny, made, tmp_path):
    listener = Listener()
    assert install(tiny, made.folder, reporter=listener) == made.done
    assert listener.messages == []
    (made.folder / "scribble.txt").write_text("a user's own")
    renewed = install(tiny, made.folder, again=True, more=["slowlib"])
    assert renewed.requirements == ("torch", "tinylib>=1", "slowlib")
    assert "slowlib==1.0" in renewed.packages
    assert not (made.folder / "scribble.txt").exists()
    assert installed(made.folder) == renewed
    other = TEACHERS.get("ase")
    assert "is the environment of teacher 'tiny'" in refused(other, made.folder)


def test_folders_and_interpreters_that_will_not_do_are_refused_untouched(tiny, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for again in (False, True):
        assert "holds something that mlffd did not make" in refused(tiny, tmp_path / "mine", again=again)
    assert "is a file" in refused(tiny, tmp_path / "mine" / "thesis.tex")
    assert "name another one" in refused(tiny, tmp_path / "a", python="python3.99")
    assert "name another one" in refused(tiny, tmp_path / "a", python=str(tmp_path / "mine" / "thesis.tex"))
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\necho 3 10 13\n")
    old.chmod(0o755)
    assert "is Python 3.10.13; name one of 3.11 or newer" in refused(tiny, tmp_path / "a", python=str(old))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "python3.10", "thesis.tex"]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / BEGUN).touch()
    (tmp_path / "b" / "python").symlink_to(sys.executable)
    assert "holds the Python that is to make it" in refused(tiny, tmp_path / "b", python=str(tmp_path / "b" / "python"))


def test_two_processes_never_install_into_one_folder(tiny, tmp_path):
    other = FileLock(tmp_path / "tiny" / BEGUN)
    other.acquire()
    assert "another process is installing" in refused(tiny, tmp_path / "tiny")
    other.release()


def test_what_pip_cannot_do_is_one_sentence_and_a_log(made):
    assert "(No matching distribution found for no-such-package)" in made.first.sentence
    assert made.first.sentence.endswith(f"all that was said is in {made.folder / LOG}")
    assert len(made.first.sentence.splitlines()) == 1
    assert "Could not find a version that satisfies" in made.first.log
    assert made.first.state is None
    assert "was not finished" in made.first.unfinished


def test_a_library_that_does_not_load_leaves_the_environment_unfinished(tiny, tmp_path):
    sentence = refused(tiny, tmp_path / "tiny", more=["tinylib==2.0.dev1"])
    assert "teacher 'tiny' does not run in it: tinylib cannot be loaded" in sentence
    assert "ImportError: libtiny.so is not there" in sentence
    assert installed(tmp_path / "tiny") is None


def test_every_teacher_names_the_libraries_that_are_to_load():
    for kind in TEACHERS.names():
        plan = TEACHERS.get(kind)
        assert bool(libraries(plan)) >= bool(plan.requirements), kind


# --- the command, stopped from outside ---------------------------------------------------------------------------


@contextmanager
def started(index, home: Path, *arguments: str, **settings):
    """Run the command; whatever becomes of the test, it does not outlive it."""
    command = [sys.executable, "-m", "mlff_distiller.cli.main", "teacher", "install", "tiny", *arguments]
    own = {"MLFFD_ENVIRONMENTS": str(home), "PYTHONPATH": str(index.plugin)}
    env = os.environ | index.variables | own | settings.pop("variables", {})
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=env, **settings) as process:
        try:
            yield process
        finally:
            process.kill()


def told(process: subprocess.Popen) -> str:
    return process.communicate(timeout=200)[1]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_end_in_the_middle_leaves_nothing_that_looks_finished_and_nothing_running(index, tmp_path, number):
    pid_file, home = tmp_path / "pid", tmp_path / "home"
    with started(index, home, "--with", "slowlib", variables={"SLOWLIB_PID": str(pid_file)}) as process:
        wait_for(pid_file.exists)
        process.send_signal(number)
        said_last = told(process).splitlines()[-1]
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert said_last == "mlffd: interrupted; run the same command again to continue"
    wait_for(lambda: not is_alive(int(pid_file.read_text())))  # nor may it write into the folder later
    assert installed(home / "tiny") is None
    with pytest.raises(TeacherError, match="was not finished"):
        interpreter(str(home / "tiny"), "tiny")
    with started(index, home, "--with", "slowlib") as again:
        assert "teacher 'tiny' is installed" in told(again)
    assert "slowlib==1.0" in installed(home / "tiny").packages


def test_a_disk_without_room_is_one_sentence(index, tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    with started(index, tmp_path / "home", preexec_fn=limited) as process:
        sentences = [line for line in told(process).splitlines() if line.startswith("mlffd: ")]
    assert process.returncode == 2
    assert len(sentences) == 1
    assert "File too large" in sentences[0]
    assert installed(tmp_path / "home" / "tiny") is None


@pytest.mark.parametrize("place", ["/proc/mlffd", "file/inside"])
def test_a_place_that_cannot_be_written_is_one_sentence(index, tmp_path, place):
    (tmp_path / "file").write_text("")
    with started(index, tmp_path, "--environment", str(tmp_path / place)) as process:
        lines = told(process).splitlines()
    assert process.returncode == 2
    assert len(lines) == 1
    assert lines[0].startswith("mlffd: cannot write the environment ")


# --- what pip says, from logs of pip 23 to 26 --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (
            "ERROR: Cannot install a==1.0 and b==2.0 because these package versions have conflicting dependencies.\n"
            "\nThe conflict is caused by:\n    a 1.0 depends on c<1\n    b 2.0 depends on c>=1\n\n"
            "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/",
            "Cannot install a==1.0 and b==2.0 because these package versions have conflicting dependencies",
        ),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)': /simple/a/\n"
            "ERROR: Could not find a version that satisfies the requirement a (from versions: none)\n"
            "ERROR: No matching distribution found for a\n",
            "No matching distribution found for a (the package index could not be reached)",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n\n"
            "[notice] A new release of pip is available: 24.2 -> 26.0\n",
            "Could not install packages due to an OSError: [Errno 28] No space left on device",
        ),
        (
            "  error: subprocess-exited-with-error\n  x Preparing metadata did not run successfully.\n"
            "ERROR: Failed to build 'a' when getting requirements to build wheel\n",
            "Failed to build 'a' when getting requirements to build wheel",
        ),
        ("Traceback (most recent call last):\n  File ...\nKeyError: 'a'\n", "KeyError: 'a'"),
        ("", ""),
    ],
)
def test_the_cause_is_found_in_what_pip_said(log, cause):
    assert said(log.splitlines()) == cause
