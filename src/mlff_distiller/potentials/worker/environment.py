"""Environments of potentials: where they lie, and the interpreter that one has."""

import os
from pathlib import Path
from typing import Final

from mlff_distiller.core.errors import TeacherError

INSTALLED: Final = "installed"
"""The word of a recipe for the environment that ``mlffd teacher install`` makes where no other place is named."""

BEGUN: Final = "mlffd-environment.lock"
"""File of an environment that mlffd makes; there from the beginning, and locked while the work goes on."""

FINISHED: Final = "mlffd-environment.json"
"""File of an environment that mlffd has made, written last: without it the environment is not whole."""

OLDEST_PYTHON: Final = (3, 11)
"""The oldest version of Python that an environment may have."""

_INTERPRETERS: Final = ("bin/python", "bin/python3", "Scripts/python.exe", "python.exe")  # the last is conda's, Windows


def environments_home() -> Path:
    """Return the folder of installed environments: ``$MLFFD_ENVIRONMENTS``, or ``mlffd/environments`` in user data.

    Examples
    --------
    >>> environments_home().is_absolute()
    True
    """
    own = os.environ.get("MLFFD_ENVIRONMENTS")
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return (Path(own) if own else Path(data, "mlffd", "environments")).expanduser().absolute()


def place_of(environment: str, kind: str) -> Path:
    """Return the folder or file that the setting ``environment`` of a teacher means.

    Examples
    --------
    >>> place_of("installed", "mace") == environments_home() / "mace"
    True
    >>> place_of("/opt/mace", "mace").as_posix()
    '/opt/mace'
    """
    if environment == INSTALLED:
        return environments_home() / kind
    return Path(environment).expanduser().absolute()  # links are kept: through them Python finds its environment


def is_unfinished(folder: Path) -> bool:
    """Return whether the installation of this environment was begun, and neither finished nor given up."""
    return os.path.exists(folder / BEGUN) and not os.path.exists(folder / FINISHED)


def interpreter(environment: str, kind: str) -> Path:
    """Return the Python interpreter of an environment.

    Parameters
    ----------
    environment : str
        Folder of a virtual or conda environment, an interpreter itself, or "installed".
    kind : str
        Kind of the teacher that is to run in it.

    Raises
    ------
    TeacherError
        If there is none, or its installation was interrupted; the message says how to get one.

    Examples
    --------
    >>> import sys
    >>> interpreter(sys.prefix, "mace").name
    'python'
    >>> interpreter("/nowhere", "mace")
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.TeacherError: the environment /nowhere of teacher 'mace' does not exist; correct the
    setting 'environment', or make it with `mlffd teacher install mace --environment /nowhere`
    """
    place = place_of(environment, kind)
    command = f"mlffd teacher install {kind}" + ("" if environment == INSTALLED else f" --environment {place}")
    if os.path.isfile(place):
        if os.access(place, os.X_OK):
            return place
        raise TeacherError(f"{place} is not a program; name the folder of an environment, or its Python interpreter")
    if is_unfinished(place):
        raise TeacherError(f"the installation of teacher '{kind}' in {place} was not finished; run `{command}` again")
    found = interpreter_in(place)
    if found is None:
        raise TeacherError(_absence(place, environment, kind, command))
    return found


def interpreter_in(folder: Path) -> Path | None:
    """Return the interpreter in a folder, or None where there is none."""
    return next((folder / name for name in _INTERPRETERS if os.access(folder / name, os.X_OK)), None)


def _absence(place: Path, environment: str, kind: str, command: str) -> str:
    """Say why there is no interpreter."""
    if not os.path.isdir(place):
        if environment == INSTALLED:
            return f"teacher '{kind}' is not installed ({place} does not exist); run `{command}`"
        advice = f"correct the setting 'environment', or make it with `{command}`"
        return f"the environment {place} of teacher '{kind}' does not exist; {advice}"
    dangling = [place / name for name in _INTERPRETERS if os.path.islink(place / name)]
    if dangling:  # as after an upgrade of the system's Python
        advice = f"run `{command} --again`" if os.path.exists(place / FINISHED) else "make the environment anew"
        return f"{dangling[0]} leads to {os.path.realpath(dangling[0])}, which is gone; {advice}"
    return f"{place} holds no Python interpreter (bin/python); name the folder of a virtual or conda environment"
