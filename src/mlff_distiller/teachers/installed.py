"""Installed: what mlffd wrote down of an environment that it has finished."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from mlff_distiller.core.errors import TeacherError
from mlff_distiller.core.files import write_json
from mlff_distiller.potentials.worker.environment import FINISHED

FORMAT: Final = "mlffd-environment"
VERSION: Final = 1


@dataclass(frozen=True)
class Installed:
    """What is in an environment that mlffd has made.

    Parameters
    ----------
    kind : str
        The teacher it was made for.
    requirements : tuple of str
        What pip was asked for, besides what every teacher needs.
    python : str
        Version of its Python.
    packages : tuple of str
        All packages in it, as ``pip freeze`` tells them.
    created : str
        When it was finished (UTC).

    Examples
    --------
    >>> mace = Installed("mace", ("torch", "mace_torch>=0.3"), "3.11.7", ("mace-torch==0.3.16", "torch==2.13.0"), "")
    >>> mace.versions(mace.requirements)
    ['torch 2.13.0', 'mace-torch 0.3.16']
    """

    kind: str
    requirements: tuple[str, ...]
    python: str
    packages: tuple[str, ...]
    created: str

    def versions(self, requirements: Sequence[str]) -> list[str]:
        """Return "package 1.2" for each package that requirements name."""
        pairs = (re.split(r"==| @ ", package, maxsplit=1) for package in self.packages)
        known = {package_name(pair[0]): " ".join(pair) for pair in pairs}
        return [known.get(name, name) for name in map(package_name, requirements)]

    def save(self, folder: Path) -> None:
        """Write it down, which makes the environment a finished one."""
        write_json(folder / FINISHED, {"format": FORMAT, "version": VERSION, **asdict(self)})


def installed(folder: Path) -> Installed | None:
    """Return what is in an environment that mlffd has finished, or None.

    Raises
    ------
    TeacherError
        If the record of it is damaged, or was written by a newer release.

    Examples
    --------
    >>> installed(Path("/nowhere")) is None
    True
    """
    file = folder / FINISHED
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise TeacherError(f"{file} cannot be read ({error}); make the environment anew with `--again`") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise TeacherError(f"{file} is no record of an environment; make the environment anew with `--again`")
    if not isinstance(value.get("version"), int) or value["version"] > VERSION:
        raise TeacherError(
            f"{file} has format version {value.get('version')}, this release reads up to {VERSION}; install a newer "
            "mlff-distiller"
        )
    try:
        requirements, packages = (tuple(map(str, value[name])) for name in ("requirements", "packages"))
        kind, python, created = (str(value[name]) for name in ("kind", "python", "created"))
    except (KeyError, TypeError) as error:
        raise TeacherError(f"{file} is damaged; make the environment anew with `--again`") from error
    return Installed(kind, requirements, python, packages, created)


def package_name(requirement: str) -> str:
    """Return the name of the package that a requirement names, spelled as pip compares names.

    Examples
    --------
    >>> package_name("mace_torch[fpops]>=0.3.10")
    'mace-torch'
    """
    found = re.match(r"\s*([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)", requirement)
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else requirement
