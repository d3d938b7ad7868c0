"""Steps of an installation: a module of another Python, such as pip, run to its end and understood when it fails."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

# Runs a module, and ends it and all it has started as soon as the pipe from mlffd is closed, however that happened.
# Its standard input is empty for others: nobody is there to answer a question.
_RUN: Final = """
import os, runpy, signal, sys, threading
lifeline = os.dup(0)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
def watch():
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""

# Python's own settings are for the environment of mlffd; pip's (index, proxy, constraints) are the user's wish.
_NOT_INHERITED: Final = ("PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__")
_SHOWN: Final = ("Collecting", "Downloading", "Building", "Installing")
_LONGEST_NOTE: Final = 60


class StepFailed(Exception):
    """A step ended with an error; the text says which, in a few words."""


def run_module(python: str, arguments: Sequence[str], *, log: Path, note: Callable[[str], None]) -> None:
    """Run a module of an interpreter, nothing of this process's Python being visible to it.

    Parameters
    ----------
    python : str
        The interpreter.
    arguments : sequence of str
        Name of the module, and what it is told.
    log : Path
        File that everything it says is added to.
    note : callable
        Gets a few words about what is being done.

    Raises
    ------
    StepFailed
        If it ends with an error.

    Examples
    --------
    >>> import sys
    >>> run_module(sys.executable, ["json.tool", "--nonsense"], log=Path(os.devnull), note=print)
    Traceback (most recent call last):
    ...
    mlff_distiller.teachers.pip.StepFailed: ...unrecognized arguments: --nonsense
    """
    lines: list[str] = []
    with log.open("ab") as file:
        file.write(f"$ {python} -m {' '.join(arguments)}\n".encode())
        process = _started([python, "-I", "-c", _RUN, *arguments])
        try:
            for line in process.stdout or ():
                file.write(line)
                file.flush()
                lines.append(line.decode(errors="replace").rstrip())
                if lines[-1].split(" ", 1)[0] in _SHOWN:
                    note(lines[-1][:_LONGEST_NOTE])
            code = process.wait()
        finally:
            _end(process)
    if code:
        raise StepFailed(said(lines) or f"exit code {code}")


def said(lines: Sequence[str]) -> str:
    """Return the one line of what pip said that names the cause.

    Examples
    --------
    >>> said(["Collecting a", "ERROR: No matching distribution found for a", "[notice] A new release of pip is there"])
    'No matching distribution found for a'
    """
    spoken = [line.strip() for line in lines if line.strip()]
    causes = [line.partition(": ")[2] for line in spoken if re.match(r"(ERROR|error): ", line)]
    causes = [cause for cause in causes if not _is_vague(cause)]
    others = [line for line in spoken if not re.match(r"(\[?notice|note:|hint:|WARNING:|ERROR:|error:)", line)]
    cause = (causes or others or [""])[-1].rstrip(".")
    offline = any("connection broken by" in line for line in spoken)
    return f"{cause} (the package index could not be reached)" if offline else cause


def _is_vague(cause: str) -> bool:
    return cause.startswith(("ResolutionImpossible", "subprocess-exited-with-error", "metadata-generation-failed"))


def _started(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={name: value for name, value in os.environ.items() if name not in _NOT_INHERITED},
        start_new_session=True,  # Ctrl-C is for us, who then end it
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:  # not yet reaped, so that the group's number is still its own
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
