"""The reference of one package: its modules, each with its documented members."""

import pkgutil
from importlib import import_module

_MODULE = """
## `{module}`

```{{eval-rst}}
.. automodule:: {module}
   :members:
   :show-inheritance:
```
"""


def api_page(package: str) -> str:
    """Return the page of a package as Markdown: its own sentence, then a section for each module."""
    found = import_module(package)
    modules = [m.name for m in pkgutil.walk_packages(found.__path__, f"{package}.")]
    sections = [_MODULE.format(module=name) for name in sorted(modules) if not hasattr(import_module(name), "__path__")]
    registries = _MODULE.format(module=package) if any(not name.startswith("_") for name in _own(found)) else ""
    return f"{(found.__doc__ or '').strip()}\n{registries}{''.join(sections)}"


def _own(package: object) -> list[str]:
    """Return the names that a package's own file assigns, such as a registry of kinds."""
    return [name for name, value in vars(package).items() if name.isupper() and type(value).__name__ == "Registry"]
