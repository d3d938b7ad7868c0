"""What tests of teachers share: environments that are installed, and an index of small packages to install from."""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from mlff_distiller.core.errors import TeacherError
from mlff_distiller.potentials.worker.environment import INSTALLED, interpreter, place_of

LINKED = ("numpy", "ase", "pydantic", "pyyaml")
LINKED_TOO = ("scipy", "pydantic-core", "annotated-types", "typing-extensions", "typing-inspection")

TEACHER = '''"""A teacher of a package that is not ours."""

import sys
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.potentials.base import Identity
from mlff_distiller.potentials.foreign import ForeignPotential, library
from mlff_distiller.potentials.plan import PotentialPlan


class TinyPlan(PotentialPlan):
    """An energy for each atom.

    More about it.
    """

    requirements: ClassVar = ("torch", "tinylib>=1")

    kind: Literal["tiny"] = Field("tiny", description="A tiny teacher.")
    flavor: Literal["sweet", "salty"] = Field("sweet", description="How it tastes.")
    energy_eV: float = Field(description="Energy of an atom.")

    def load(self):
        return Tiny(self)


class Tiny(ForeignPotential):
    elements = frozenset({1})
    charges = frozenset({0})
    cutoff = 3.0
    properties = frozenset({"energy", "forces"})
    is_conservative = True

    def __init__(self, plan):
        super().__init__()
        tinylib = library("tinylib", kind="tiny")
        self.identity = Identity("tiny", f"tinylib {tinylib.VERSION} in {sys.prefix}", plan.fingerprint(), "float64")
        self.plan = plan

    def evaluate(self, structures, properties):
        return [Labels(energy=self.plan.energy_eV * len(s), forces=np.zeros((len(s), 3))) for s in structures]
'''

BACKEND = """
import os, time, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    if "SLOWLIB_PID" in os.environ:
        with open(os.environ["SLOWLIB_PID"] + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(file.name, os.environ["SLOWLIB_PID"])
        time.sleep(120)
    info = "slowlib-1.0.dist-info/"
    with zipfile.ZipFile(os.path.join(folder, "slowlib-1.0-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("slowlib.py", "")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: slowlib\\nVersion: 1.0\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return "slowlib-1.0-py3-none-any.whl"
"""


class PackageIndex:
    """A package index in a folder, for real installations without a network.

    Of numpy, ase, pydantic and pyyaml it holds packages that lead to those of this environment: copies of hundreds of
    megabytes would take minutes.

    Attributes
    ----------
    plugin : Path
        Folder that, on PYTHONPATH, adds teacher "tiny" to mlffd.
    variables : dict[str, str]
        What pip is told by its environment.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "index"
        self.folder.mkdir()
        self._link_real_packages(folder / "linked")
        self.wheel("torch", metadata.version("torch").partition("+")[0], {"this_is_torch.py": ""})
        entry = "[mlff_distiller.teachers]\ntiny = tinyteacher:TinyPlan\n"
        content = {"tinylib.py": "VERSION = 1\n", "tinyteacher.py": TEACHER}
        self.plugin = folder / "plugin"
        with zipfile.ZipFile(self.wheel("tinylib", "1.0", content, entry_points=entry)) as file:
            file.extractall(self.plugin)
        broken = {"tinylib.py": "raise ImportError('libtiny.so is not there')\n"}
        self.wheel("tinylib", "2.0.dev1", content | broken)
        self._slow_source()
        self.variables = {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_NO_CACHE_DIR": "1",  # else what was built once is not built again
            "PIP_FIND_LINKS": str(self.folder),
        }

    def wheel(self, name: str, version: str, content: dict[str, str], *, entry_points: str = "") -> Path:
        """Add a package and return its file."""
        path = self.folder / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        files = content | {
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": entry_points,
        }
        with zipfile.ZipFile(path, "w") as file:
            for inner, text in files.items():
                file.writestr(inner, text)
            file.writestr(f"{info}/RECORD", "".join(f"{inner},,\n" for inner in [*files, f"{info}/RECORD"]))
        return path

    def _link_real_packages(self, linked: Path) -> None:
        linked.mkdir()
        for name in (*LINKED, *LINKED_TOO):
            package = metadata.distribution(name)
            tops = {file.parts[0] for file in package.files or ()}
            for top in tops:
                if not top.endswith(".dist-info") and top not in ("..", "__pycache__") and not (linked / top).exists():
                    (linked / top).symlink_to(Path(str(package.locate_file(top))))
        for name in LINKED:
            self.wheel(name, metadata.version(name), {f"{name}.pth": f"{linked}\n"})

    def _slow_source(self) -> None:
        files = {
            "PKG-INFO": "Metadata-Version: 2.1\nName: slowlib\nVersion: 1.0\n",
            "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "backend.py": BACKEND,
        }
        with tarfile.open(self.folder / "slowlib-1.0.tar.gz", "w:gz") as archive:
            for name, text in files.items():
                entry = tarfile.TarInfo(f"slowlib-1.0/{name}")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))


@pytest.fixture(scope="session")
def index(tmp_path_factory) -> PackageIndex:
    """An index from which the teacher "tiny" can be installed without a network."""
    return PackageIndex(tmp_path_factory.mktemp("index"))


@pytest.fixture(scope="session")
def environment() -> Callable[[str], str]:
    """Return the folder of a teacher's environment; the test is skipped where it is not installed."""

    def folder(kind: str) -> str:
        try:
            interpreter(INSTALLED, kind)
        except TeacherError as error:
            pytest.skip(str(error))
        return str(place_of(INSTALLED, kind))

    return folder
