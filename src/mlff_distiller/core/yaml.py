"""Reading YAML as recipes mean it: YAML 1.2 booleans and numbers, and no key twice.

PyYAML follows YAML 1.1, where the SMILES ``NO`` is a boolean and ``1e-3`` a string.
"""

import re
from typing import Any

import yaml

from mlff_distiller.core.errors import PlanError


class _Loader(yaml.SafeLoader):
    """A safe loader with its own implicit types."""


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$", re.IGNORECASE), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:null|~|)$", re.IGNORECASE), ["n", "N", "~", ""]
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|nan)$", re.IGNORECASE),
    list("-+.0123456789"),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool):
            raise PlanError(f"line {key_node.start_mark.line + 1}: a key must be a plain word, not {key!r}")
        if key in seen:
            raise PlanError(f"line {key_node.start_mark.line + 1}: the key '{key}' is given twice; keep one")
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse(text: str) -> Any:
    r"""Return the value of a YAML text.

    Raises
    ------
    PlanError
        If the text is not YAML, or a key is given twice; the message names the line.

    Examples
    --------
    >>> parse("smiles: NO\nrate: 1e-3")
    {'smiles': 'NO', 'rate': 0.001}
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise PlanError(f"{line}not valid YAML ({error.problem}); check the indentation and quotes") from error
    except yaml.YAMLError as error:
        raise PlanError(f"not valid YAML ({str(error).splitlines()[0]})") from error
    except ValueError as error:  # of a forced type (!!int abc) or of a number with thousands of digits
        raise PlanError(f"not valid YAML ({error}); correct the number") from error
