"""A plan as commented YAML: every setting with its sentence, for starter recipes and the manual."""

from typing import Any

import yaml

from mlff_distiller.core.plan import Plan


def commented_yaml(plan: Plan, *, indent: int = 0) -> str:
    """Return a plan as YAML, each setting preceded by its description.

    Examples
    --------
    >>> from pydantic import Field
    >>> class Bath(Plan):
    ...     temperature_K: float = Field(300.0, description="Temperature of the bath.")
    >>> print(commented_yaml(Bath()), end="")
    # Temperature of the bath.
    temperature_K: 300.0
    """
    lines: list[str] = []
    for name, field in type(plan).model_fields.items():
        if field.description and name != "kind":
            lines.append(f"{' ' * indent}# {field.description}")
        lines.append(_entry(name, getattr(plan, name), indent))
        if indent == 0 and len(type(plan).model_fields) > 1:
            lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _entry(name: str, value: Any, indent: int) -> str:
    pad = " " * indent
    if isinstance(value, Plan):
        return f"{pad}{name}:\n{commented_yaml(value, indent=indent + 2).rstrip()}"
    if isinstance(value, dict) and value:
        return "\n".join([f"{pad}{name}:", *(_entry(str(key), inner, indent + 2) for key, inner in value.items())])
    if isinstance(value, list | tuple) and value and isinstance(value[0], Plan):
        return "\n".join([f"{pad}{name}:", *(_item(inner, indent + 2) for inner in value)])
    return f"{pad}{name}: {_scalar(value)}"


def _item(plan: Plan, indent: int) -> str:
    """Return a list entry: the first setting follows the dash."""
    text = commented_yaml(plan, indent=indent + 2)
    lines = [line for line in text.splitlines() if line.strip()]
    first = next(k for k, line in enumerate(lines) if not line.lstrip().startswith("#"))
    lines.insert(0, lines.pop(first))
    lines[0] = f"{' ' * indent}- {lines[0].lstrip()}"
    return "\n".join(lines)


def _scalar(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...").strip()
