"""Sphinx extension: a line ``<!-- generated: NAME -->`` of a page becomes what the code says of itself.

The settings, the commands and the data format are described once, beside the code that reads them.
"""

import re
from collections.abc import Callable
from typing import Any

from api_page import api_page
from command_page import command_page
from format_page import columns_table
from settings_page import presets_table, settings_page

_BARS = re.compile(r"\|(\w+)\|")
_MARK = re.compile(r"^<!-- generated: (\w+) ?([\w.]*) -->$", re.MULTILINE)
_WRITERS: dict[str, Callable[..., str]] = {
    "settings": settings_page,
    "presets": presets_table,
    "commands": command_page,
    "columns": columns_table,
    "api": api_page,
}


def expand(text: str) -> str:
    """Return a page with all marks replaced."""
    return _MARK.sub(lambda mark: _WRITERS[mark[1]](*mark[2].split()), text)


def setup(app: Any) -> dict[str, bool]:
    """Register the replacement with Sphinx."""
    app.connect("source-read", _on_source_read)
    app.connect("autodoc-process-docstring", _keep_bars)
    return {"parallel_read_safe": True}


def _on_source_read(app: Any, docname: str, source: list[str]) -> None:
    if _MARK.search(source[0]):
        app.env.note_reread()  # what the code says may change without the page
        source[0] = expand(source[0])


def _keep_bars(app: Any, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Let the absolute value ``|x|`` stand; reStructuredText would take it for a substitution."""
    lines[:] = [line if line.lstrip().startswith((">>>", "...")) else _BARS.sub(r"\|\1\|", line) for line in lines]
