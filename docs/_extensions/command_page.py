"""The reference of the command line, written from the commands themselves."""

from typing import Any

import typer
from settings_page import table

from mlff_distiller.cli.main import app


def command_page() -> str:
    """Return the page as Markdown: one section for each command, with its arguments and options."""
    group: Any = typer.main.get_command(app)
    lines = [group.help, "", *_parameters(group, "mlffd")]
    for name, command in group.commands.items():
        lines += ["", f"## `mlffd {name}`", "", command.help, "", *_parameters(command, name)]
    return "\n".join(lines) + "\n"


def _parameters(command: Any, name: str) -> list[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [[f"`{shown}`", meaning] for shown, meaning in filter(None, records)]
    return table(["Argument or option", "Meaning"], rows)
