"""Run by `make wheel` in a clean environment: the wheel holds every module, its data files and the command."""

import pkgutil
import subprocess
import sys
from importlib import import_module, resources
from pathlib import Path

import mlff_distiller

names = [m.name for m in pkgutil.walk_packages(mlff_distiller.__path__, "mlff_distiller.")]
for name in names:
    import_module(name)
assert "site-packages" in mlff_distiller.__file__, "not the installed wheel"
assert len(names) > 60, f"only {len(names)} modules: a package is missing from the wheel"
assert resources.files("mlff_distiller").joinpath("py.typed").is_file()
assert resources.files("mlff_distiller.core.html").joinpath("style.css").is_file()
command = Path(sys.executable).with_name("mlffd")
assert subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout.startswith("mlffd")
print(f"wheel: {len(names)} modules imported")
