"""The reference of all recipe settings, written from the JSON schema of the plans."""

import json
from collections.abc import Iterator
from typing import Any

from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.students.painn.plan import PRESETS

Schema = dict[str, Any]

_BOUNDS = {
    "exclusiveMinimum": "> {}",
    "minimum": "≥ {}",
    "exclusiveMaximum": "< {}",
    "maximum": "≤ {}",
}
_WORDS = {
    "number": "number",
    "integer": "integer",
    "boolean": "true or false",
    "string": "text",
    "object": "mapping",
    "null": "none",
}
_DIRECTIONS = {"AtMost": "at most", "AtLeast": "at least"}


def settings_page() -> str:
    """Return the page as Markdown: one section for each part of a recipe."""
    schema = Recipe.model_json_schema()
    return "\n".join(_Page(schema["$defs"]).section(schema, "", 2)) + "\n"


def presets_table() -> str:
    """Return the sizes that the presets of PaiNN stand for, as a Markdown table."""
    names = list(next(iter(PRESETS.values())))
    rows = [[f"`{preset}`", *(str(sizes[name]) for name in names)] for preset, sizes in PRESETS.items()]
    return "\n".join(table(["`preset`", *(f"`{name}`" for name in names)], rows))


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    cells = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return ["| " + " | ".join(row) + " |" for row in cells]


class _Page:
    """Sections of models, those of nested models below them."""

    def __init__(self, definitions: dict[str, Schema]) -> None:
        self.definitions = definitions

    def section(self, model: Schema, path: str, level: int) -> Iterator[str]:
        """Yield the lines of one model and of all models inside it."""
        fields = model["properties"]
        nested = {name: models for name, field in fields.items() if (models := self.models(field))}
        plain = [self.row(name, field, model) for name, field in fields.items() if name not in nested]
        if plain:
            yield from ["", *table(["Setting", "Value", "Default", "Meaning"], plain)]
        checks = {name: models for name, models in nested.items() if models[0]["title"] in _DIRECTIONS}
        if checks:
            yield from self.matrix(fields, checks)
        for name, models in nested.items():
            if name not in checks:
                yield from self.subsection(f"{path}.{name}".lstrip("."), fields[name], models, level)

    def subsection(self, path: str, field: Schema, models: list[Schema], level: int) -> Iterator[str]:
        """Yield a heading and the models that one field may hold."""
        meaning = field.get("description") or models[0]["description"]  # pydantic keeps one of two that are the same
        yield from ["", f"{'#' * level} `{path}`", "", meaning + self.shape(field, models)]
        if len(models) == 1:
            yield from self.section(models[0], path, level + 1)
            return
        for model in models:
            kind = model["properties"]["kind"]["const"]
            yield from ["", f"{'#' * (level + 1)} `{path}`, kind `{kind}`", "", model["description"].splitlines()[0]]
            yield from self.section(model, path, level + 2)

    def shape(self, field: Schema, models: list[Schema]) -> str:
        """Say whether a field is a list or a mapping of models, and whether it may be left out."""
        several = "one of the kinds below" if len(models) > 1 else "with the settings below"
        words = {"array": f" A list; each entry is {several}.", "object": f" A name for each, {several}."}
        text = words.get(field.get("type", ""), " One of the kinds below." if len(models) > 1 else "")
        if field.get("type") == "array" and field.get("default"):
            text += f" Default: {', '.join(str(entry['kind']) for entry in field['default'])}, each with its defaults."
        return text

    def models(self, field: Schema) -> list[Schema]:
        """Return the models that a field holds, directly or as entries; none for a plain value."""
        inner = field.get("items") or next(iter(field.get("patternProperties", {}).values()), field)
        options = inner.get("oneOf", [inner])
        found = [self.definitions[o["$ref"].rpartition("/")[2]] for o in options if "$ref" in o]
        return [model for model in found if "properties" in model]

    def matrix(self, fields: dict[str, Schema], nested: dict[str, list[Schema]]) -> Iterator[str]:
        """Yield one table of the settings of all checks and one of their defaults."""
        inner = next(iter(nested.values()))[0]
        columns = list(inner["properties"])
        explained = [self.brief(name, field) for name, field in inner["properties"].items()]
        yield from [
            "",
            "Each check takes",
            "",
            *table(["Setting", "Value", "Meaning"], explained),
            "",
            "with the defaults",
        ]
        rows = []
        for name, models in nested.items():
            defaults = [_value(fields[name]["default"][column]) for column in columns]
            rows.append([f"`{name}`", _DIRECTIONS[models[0]["title"]], *defaults, fields[name]["description"]])
        yield from ["", *table(["Check", "", *(f"`{column}`" for column in columns), "Meaning"], rows)]

    def brief(self, name: str, field: Schema) -> list[str]:
        """Return name, value and meaning of a setting."""
        return [f"`{name}`", self.kind(field), field.get("description", "")]

    def row(self, name: str, field: Schema, model: Schema) -> list[str]:
        """Return the row of a plain setting."""
        default = "required" if name in model.get("required", []) else _value(field.get("default", ""))
        shown, kind, meaning = self.brief(name, field)
        return [shown, kind, "" if "const" in field else default, meaning]

    def kind(self, field: Schema) -> str:
        """Say in words what a value may be."""
        if "const" in field:
            return f"`{field['const']}`"
        if "enum" in field:
            return " or ".join(f"`{value}`" for value in field["enum"])
        if "anyOf" in field:
            return " or ".join(self.kind(option) for option in field["anyOf"])
        if "$ref" in field:
            return self.kind(self.definitions[field["$ref"].rpartition("/")[2]])
        if field.get("type") == "array":
            return f"list of: {self.kind(field['items'])}"
        words = "path" if field.get("format") == "path" else _WORDS[field["type"]]
        bounds = [text.format(_value(field[key]).strip("`")) for key, text in _BOUNDS.items() if key in field]
        return ", ".join([words, *bounds])


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, str):
        return f"`{value}`" if value else "empty"
    return f"`{json.dumps(value, ensure_ascii=False)}`"
