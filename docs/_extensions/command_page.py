"""The reference of the command line, written from the commands themselves."""

from typing import Any

import typer
from settings_page import table

from mlff_distiller.cli.main import app


def command_page() -> str:
    """Return the page as Markdown: one section for each command, with its arguments and options."""
    group: Any = typer.main.get_command(app)
    return "\n".join([group.help, "", *_parameters(group, "mlffd"), *_sections(group, "mlffd")]) + "\n"


def _sections(group: Any, path: str) -> list[str]:
    """Return the sections of all commands of a group, and of the groups within it."""
    lines: list[str] = []
    context = group.make_context(path, [], resilient_parsing=True)
    for name in group.list_commands(context):
        command, full = group.get_command(context, name), f"{path} {name}"
        lines += ["", f"## `{full}`", "", command.help, ""]
        lines += _sections(command, full) if hasattr(command, "list_commands") else _parameters(command, name)
    return lines


def _parameters(command: Any, name: str) -> list[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [[f"`{shown}`", meaning] for shown, meaning in filter(None, records)]
    return table(["Argument or option", "Meaning"], rows)
