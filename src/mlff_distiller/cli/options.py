"""Options of commands from the fields of a plan: what a setting means is written once, in the plan."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mlff_distiller.core.errors import PlanError
from mlff_distiller.core.plan import Plan, option

Command = Callable[..., Any]


def with_plan(cls: type[Plan]) -> Callable[[Command], Command]:
    """Give a command one option for each plain field of a plan; the command gets the plan as ``plan``.

    A list is given with commas, with or without blanks. Options that are not given are left to the plan's defaults.
    Fields that are plans themselves have no options.

    Examples
    --------
    >>> from pydantic import Field
    >>> class Bath(Plan):
    ...     temperature_K: float = Field(300.0, gt=0, description="Temperature.")
    >>> @with_plan(Bath)
    ... def heat(plan: Bath) -> float:
    ...     return plan.temperature_K
    >>> list(inspect.signature(heat).parameters), heat(temperature_K="350")
    (['temperature_K'], 350.0)
    """
    fields = {name: field for name, field in cls.model_fields.items() if not _is_plan(field.annotation)}

    def decorate(command: Command) -> Command:
        own = [p for name, p in inspect.signature(command).parameters.items() if name != "plan"]
        options = [_parameter(name, field) for name, field in fields.items()]

        @wraps(command)
        def called(**values: Any) -> Any:
            given = {name: values.pop(name, None) for name in fields}
            plan = _parsed(cls, {name: value for name, value in given.items() if value not in (None, False)})
            return command(plan=plan, **values)

        signature = inspect.Signature([*own, *options])
        called.__signature__ = signature  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return called

    return decorate


def _parsed(cls: type[Plan], given: dict[str, Any]) -> Plan:
    lists = {name for name in given if get_origin(_bare(cls.model_fields[name].annotation)) is tuple}
    items = {name: [item.strip() for item in given[name].split(",")] for name in lists}
    try:
        return cls.parse(given | items, where="")
    except PlanError as error:
        text = str(error).removeprefix(": ")
        for name in cls.model_fields:
            text = text.replace(f"'{name}", f"'{option(name)}")
        raise PlanError(text) from error


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    bare = _bare(field.annotation)
    kind: Any = bool if bare is bool else str if field.is_required() else str | None
    default: Any = inspect.Parameter.empty if field.is_required() else False if bare is bool else None
    choices = "|".join(get_args(bare)) if get_origin(bare) is Literal else None
    if get_origin(bare) is tuple and get_origin(get_args(bare)[0]) is Literal:
        choices = ",".join(get_args(get_args(bare)[0]))
    text = (field.description or "").replace("\n", " ")
    if not field.is_required() and field.default not in (None, (), False):
        text += f" [default: {field.default}]"
    shown = typer.Option(option(name), help=text, metavar=choices, show_default=False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, shown])


def _bare(annotation: Any) -> Any:
    """Return the type without ``| None``."""
    inner = [a for a in get_args(annotation) if a is not type(None)]
    return inner[0] if type(None) in get_args(annotation) and len(inner) == 1 else annotation


def _is_plan(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
