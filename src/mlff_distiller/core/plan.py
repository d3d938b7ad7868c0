"""Plans: every user setting is a field of a frozen model, declared once.

The field's type, bounds, default and sentence feed the YAML reader, ``--set``, the starter recipe, the JSON
schema, the manual page and the digest; nothing is written down twice.
"""

import os
from collections.abc import Collection
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Self, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlff_distiller.core import yaml
from mlff_distiller.core.errors import PlanError
from mlff_distiller.core.provenance import content_digest, digest
from mlff_distiller.core.registry import Registry, nearest

P = TypeVar("P", bound="Plan")


class Plan(BaseModel):
    """Base of all settings: frozen, no unknown keys, no infinities.

    Examples
    --------
    >>> class Bath(Plan):
    ...     temperature_K: float = Field(300.0, gt=0, description="Temperature of the bath.")
    >>> Bath(temperature_K=350).temperature_K
    350.0
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @classmethod
    def parse(cls, value: Any, *, where: str) -> Self:
        """Validate plain data (from YAML or JSON).

        Raises
        ------
        PlanError
            With the path of the offending key, and the nearest known key where one is unknown.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise PlanError(f"{where}: {_sentence(cls, error)}") from error

    def digest(self) -> str:
        """Return a SHA-256 over all settings, defaults included."""
        return digest(self.model_dump(mode="json"))


class FilePlan(Plan):
    """Base of settings some of which are paths: they count from the folder of the recipe, and their content matters.

    Examples
    --------
    >>> class Weights(FilePlan):
    ...     paths = ("file",)
    ...     file: str = Field("model.pt", description="File of the weights.")
    >>> Weights().located(Path("/recipes")).file
    '/recipes/model.pt'
    """

    paths: ClassVar[tuple[str, ...]] = ()
    """Names of the settings that are paths."""

    files: ClassVar[tuple[str, ...]] = ()
    """Names of the settings that may be a path of a file: a path where there is such a file, else any other name."""

    def located(self, folder: Path) -> Self:
        """Return the same settings with paths resolved against a folder."""
        given = {name: getattr(self, name) for name in (*self.paths, *self.files)}
        named = {name: value for name, value in given.items() if isinstance(value, str)}
        found = {name: _existing(value, folder) for name, value in named.items() if name in self.files}
        found |= {name: absolute(folder, value) for name, value in named.items() if name in self.paths}
        return self.model_copy(update={name: str(path) for name, path in found.items() if path is not None})

    def content(self, *, exclude: Collection[str] = ()) -> dict[str, Any]:
        """Return the settings as plain data, files by the digest of their content: moved weights are the same weights.

        Parameters
        ----------
        exclude : collection of str
            Settings that are left out.
        """
        settings = self.model_dump(mode="json", exclude=set(exclude))
        named = {*self.paths, *self.files}
        return {name: _content(value) if name in named else value for name, value in settings.items()}


def absolute(folder: Path, value: str) -> Path:
    """Return a path that counts from a folder; links are kept, for through them Python finds environments.

    Examples
    --------
    >>> absolute(Path("/recipes"), "../data").as_posix()
    '/data'
    """
    return Path(os.path.abspath(folder / Path(value).expanduser()))


def _existing(value: str, folder: Path = Path()) -> Path | None:
    """Return the file that a setting names, or the folder if it is written as a path; None for any other name."""
    path = absolute(folder, value)
    return path if path.is_file() or ("/" in value and path.is_dir()) else None


def _content(value: Any) -> Any:
    path = _existing(value) if isinstance(value, str) and value else None
    return value if path is None else f"sha256:{content_digest(path)}"


def option(field: str) -> str:
    """Return the command-line form of a setting's name.

    Examples
    --------
    >>> option("energy_unit")
    '--energy-unit'
    """
    return "--" + field.replace("_", "-")


def kinds(registry: Registry) -> Any:
    """Return the field type "one of the plans in this registry, told apart by their key ``kind``".

    Examples
    --------
    >>> from mlff_distiller.teachers import TEACHERS
    >>> class Recipe(Plan):
    ...     teacher: kinds(TEACHERS)
    >>> Recipe.parse({"teacher": {"kind": "xtb"}}, where="recipe.yaml").teacher.method
    'GFN2-xTB'
    """
    plans = tuple(registry.all())
    return plans[0] if len(plans) == 1 else Annotated[Union[plans], Field(discriminator="kind")]  # noqa: UP007 - built at run time


def load(cls: type[P], path: Path, *, overrides: list[str] | None = None) -> P:
    """Read a plan from a YAML file, with ``a.b=value`` overrides applied on top.

    Raises
    ------
    PlanError
        If the file is missing or malformed, or a setting is wrong; the message names the file and the key.
    """
    return cls.parse(overridden(read(path), overrides), where=str(path))


def read(path: Path) -> dict[str, Any]:
    """Read the settings of a YAML file as plain data, not yet checked.

    Raises
    ------
    PlanError
        If the file is missing, malformed or empty.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PlanError(f"{path} does not exist; check the path, or write a starter recipe with `mlffd init`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path} cannot be read as text ({getattr(error, 'strerror', None) or 'not UTF-8'})") from error
    try:
        value = yaml.parse(text)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise PlanError(f"{path} holds no settings; write a starter recipe with `mlffd init`")
    return value


def overridden(settings: dict[str, Any], overrides: Collection[str] | None) -> dict[str, Any]:
    """Return settings with ``a.b=value`` overrides put into them.

    Raises
    ------
    PlanError
        If an override is malformed or leads nowhere.

    Examples
    --------
    >>> overridden({"training": {"n_steps": 9}}, ["training.n_steps=8000", "seed=2"])
    {'training': {'n_steps': 8000}, 'seed': 2}
    """
    for override in overrides or ():
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            raise PlanError(f"--set {override}: expected KEY=VALUE, for instance training.n_steps=8000")
        try:
            put(settings, key, yaml.parse(text), where=f"--set {override}")
        except PlanError as error:
            said = str(error)
            raise PlanError(said if said.startswith("--set") else f"--set {override}: {said}") from error
    return settings


def put(settings: dict[str, Any], key: str, value: Any, *, where: str) -> None:
    """Put a value under a dotted key, in place.

    Parameters
    ----------
    settings : dict
        Settings as plain data.
    key : str
        For instance ``sampling.samplers.0.amplitude``.
    value : object
        Plain data.
    where : str
        What an error begins with.

    Raises
    ------
    PlanError
        If the key leads into a single value or beyond a list.

    Examples
    --------
    >>> settings = {}
    >>> put(settings, "split.test_fraction", 0.2, where="--test")
    >>> settings
    {'split': {'test_fraction': 0.2}}
    """
    *path, last = key.split(".")
    inner: Any = settings
    for name in path:
        inner = _step(inner, name, where)
    if isinstance(inner, list):
        _step(inner, last, where)
        inner[int(last)] = value
    else:
        inner[last] = value


def _step(inner: Any, key: str, where: str) -> Any:
    if isinstance(inner, list):
        if not key.isdecimal() or int(key) >= len(inner):
            raise PlanError(f"{where}: '{key}' is not an entry of that list; it has 0 to {len(inner) - 1}")
        return inner[int(key)]
    following = inner.setdefault(key, {})
    if following is None:
        following = inner[key] = {}
    if not isinstance(following, dict | list):
        raise PlanError(f"{where}: '{key}' is a single value and has no keys below it")
    return following


def _sentence(cls: type[BaseModel], error: ValidationError) -> str:
    """Say the first fault of a validation in one sentence."""
    first = error.errors(include_url=False)[0]
    path, model = _follow(cls, first["loc"])
    name, kind = path or "the recipe", first["type"]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if kind == "extra_forbidden":
        known = list(model.model_fields) if model else []
        return f"unknown key '{path}'{nearest(path.rpartition('.')[2], known)}; known: {', '.join(known)}{more}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tags = [tag.strip(" '") for tag in first.get("ctx", {}).get("expected_tags", "").split(",") if tag.strip()]
        tag = first.get("ctx", {}).get("tag", "")
        known_tags = f"; known: {', '.join(tags)}" if tags else ""
        if kind == "union_tag_not_found":
            return f"'{name}' needs a key 'kind' that says what it is{known_tags}{more}"
        return f"'{name}': unknown kind '{tag}'{nearest(tag, tags)}{known_tags}{more}"
    if kind == "missing":
        return f"the key '{path}' is missing{more}"
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if kind == "value_error" else f", got {first['input']!r:.60}"
    return f"'{name}': {message[:1].lower()}{message[1:]}{shown}{more}"


def _follow(cls: Any, loc: tuple[int | str, ...]) -> tuple[str, type[BaseModel] | None]:
    """Return the dotted path a user would write, and the model that holds its last key."""
    path: list[str] = []
    current, holder = cls, None
    for part in loc:
        options = _models(current)
        tagged = [m for m in options if _kind(m) == part]
        if len(options) > 1 and tagged:  # pydantic puts the union's tag into the path; the user did not write it
            current = tagged[0]
            continue
        holder = next((m for m in options if part in m.model_fields), options[0] if options else None)
        path.append(str(part))
        current = holder.model_fields[part].annotation if holder and part in holder.model_fields else _inner(current)
    return ".".join(path), holder


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return [model for option in get_args(annotation) for model in _models(option)]
    return []


def _kind(model: type[BaseModel]) -> Any:
    field = model.model_fields.get("kind")
    return field.default if field else None


def _inner(annotation: Any) -> Any:
    """Return the item type of a list, tuple or dict."""
    arguments = [a for a in get_args(annotation) if a is not Ellipsis]
    return arguments[-1] if arguments else None
